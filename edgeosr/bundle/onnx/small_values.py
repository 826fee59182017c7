"""The values of short constants and of what nodes make of them, so that the sizes of results can be read.

What is not here is not known, and a size that is not known is refused. Only what exporters make shapes of is
here: https://onnx.ai/onnx/operators/, opset 13 and later.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.onnx.wire import Fields

# Longer constants are not kept: a shape is short.
SHORT = 64
Values = NDArray[Any]
_DTYPES = {1: "<f4", 2: "|u1", 3: "|i1", 6: "<i4", 7: "<i8", 9: "|b1", 10: "<f2", 11: "<f8"}


def values_of_tensor(tensor: Fields) -> Values | None:
    """Return a checked TensorProto's values, in its shape; None if they are many."""
    dtype, dims = _DTYPES[tensor["data_type"]], tensor["dims"]
    if _elements(dims) > SHORT:
        return None
    raw = tensor.get("raw_data")
    if raw is not None:
        return np.frombuffer(raw, dtype).reshape(dims)
    typed = tensor["float_data"] or tensor["int32_data"] or tensor["int64_data"] or tensor["double_data"]
    if dtype == "<f2":  # as the bits of whole numbers
        return None
    with np.errstate(all="ignore"):
        return (
            np.array(typed, np.float64 if dtype in ("<f4", "<f8") else np.int64).astype(dtype).reshape(dims)
        )


def values_of_constant(node: Fields) -> Values | None:
    """Return what a Constant node's one attribute says; None if they are many."""
    (attribute,) = node["attribute"]
    if "t" in attribute:
        return values_of_tensor(attribute["t"])
    name = attribute.get("name", "")
    dtype = np.int64 if "_int" in name else np.float32
    if name.endswith("s"):
        many = attribute["ints"] or attribute["floats"]
        return np.array(many, dtype) if len(many) <= SHORT else None
    return np.array(attribute.get("i", attribute.get("f", 0)), dtype)


def values_made(node: Fields, inputs: Sequence[Values | None]) -> Values | None:
    """Return the values of a node's only output; None if they are not known."""
    rule = _RULES.get(node["op_type"])
    if rule is None or len(node["output"]) != 1 or any(each is None for each in inputs):
        return None
    try:
        with np.errstate(all="ignore"):
            made = rule(node, *inputs)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None  # onnxruntime will refuse the node
    return made if made is not None and made.size <= SHORT else None


def _elements(dims: Sequence[int]) -> int:
    count = 1
    for size in dims:
        count *= size
    return count


def _attribute(node: Fields, name: str, default: int) -> int:
    for attribute in node["attribute"]:
        if attribute.get("name") == name:
            value: int = attribute.get("i", default)
            return value
    return default


def _constant_of_shape(node: Fields, shape: Values) -> Values | None:
    if shape.ndim != 1 or (shape < 0).any() or _elements(shape.tolist()) > SHORT:
        return None
    given = [each["t"] for each in node["attribute"] if "t" in each]
    value = values_of_tensor(given[0]) if given else np.zeros(1, np.float32)
    return None if value is None else np.full(shape, value.reshape(-1)[0])


def _cast(node: Fields, values: Values) -> Values | None:
    dtype = _DTYPES.get(_attribute(node, "to", 0))
    return None if dtype is None else values.astype(dtype)


def _divided(node: Fields, left: Values, right: Values) -> Values | None:
    if left.dtype.kind not in "iu":
        quotient: Values = left / right
        return quotient
    if not right.all():
        return None
    whole: Values = np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))
    return whole.astype(left.dtype)


def _reshaped(node: Fields, values: Values, shape: Values) -> Values:
    wanted = [values.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)]
    return values.reshape(wanted)


def _unsqueezed(node: Fields, values: Values, axes: Values) -> Values:
    return np.expand_dims(values, tuple(int(axis) for axis in axes.reshape(-1)))


def _squeezed(node: Fields, values: Values, *axes: Values) -> Values:
    return np.squeeze(values, tuple(int(axis) for axis in axes[0].reshape(-1)) if axes else None)


def _sliced(node: Fields, values: Values, starts: Values, ends: Values, *more: Values) -> Values:
    axes = more[0] if more else np.arange(len(starts))
    steps = more[1] if len(more) > 1 else np.ones(len(starts), np.int64)
    cuts = [slice(None)] * values.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Where a step backwards ends before the first place, Python would count from the end.
        last = None if step < 0 and int(end) < -values.shape[int(axis)] else int(end)
        cuts[int(axis)] = slice(int(start), last, int(step))
    return values[tuple(cuts)]


def _chosen(node: Fields, which: Values, left: Values, right: Values) -> Values:
    return np.where(which, left, right)


_RULES: dict[str, Callable[..., Values | None]] = {
    "Add": lambda node, left, right: left + right,
    "Cast": _cast,
    "Concat": lambda node, *parts: np.concatenate(parts, axis=_attribute(node, "axis", 0)),
    "ConstantOfShape": _constant_of_shape,
    "Div": _divided,
    "Equal": lambda node, left, right: left == right,
    "Gather": lambda node, values, at: np.take(values, at, axis=_attribute(node, "axis", 0)),
    "Identity": lambda node, values: values,
    "Max": lambda node, *values: np.maximum.reduce(np.broadcast_arrays(*values)),
    "Min": lambda node, *values: np.minimum.reduce(np.broadcast_arrays(*values)),
    "Mul": lambda node, left, right: left * right,
    "Neg": lambda node, values: -values,
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Squeeze": _squeezed,
    "Sub": lambda node, left, right: left - right,
    "Unsqueeze": _unsqueezed,
    "Where": _chosen,
}
