"""The values of short constants and of what nodes make of them, so that the sizes of results can be read.

What is not here is not known, and a size that is not known is refused. Only what exporters make shapes of is
here: https://onnx.ai/onnx/operators/, opset 13 and later. And only what comes out alike everywhere, to the
last bit: with a power or a logarithm that another library rounds otherwise, a file could say one size here
and another one there. No rule makes anything much longer than ``SHORT`` on the way.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.onnx import arithmetic
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
    if not _elements(dims):
        # Of sides without a place on another one, numpy has a largest product, and a file has not.
        return np.empty(dims, dtype) if max(dims) <= SHORT else None
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


def values_made(node: Fields, inputs: Sequence[Values | None]) -> Sequence[Values] | None:
    """Return the values of a node's outputs, in their order; None if they are not known.

    Args:
        node: what makes them.
        inputs: values of its inputs, without those that are left out; None for what is not known.
    """
    rule = _RULES.get(node["op_type"])
    if rule is None or any(each is None for each in inputs):
        return None
    there = iter(inputs)
    given = [next(there) if name else None for name in node["input"]]
    try:
        with np.errstate(all="ignore"):
            made = rule(node, *given)
    except (ValueError, IndexError, TypeError, AttributeError, ArithmeticError):
        return None  # onnxruntime will refuse the node
    outputs = made if isinstance(made, list) else [made]
    fit = len(outputs) == len(node["output"])
    known = [each for each in outputs if each is not None and each.size <= SHORT]
    return known if fit and len(known) == len(outputs) else None


def values_of_shape(node: Fields, shape: Sequence[int]) -> Values:
    """Return what a Shape or Size node says of a tensor of this very shape."""
    if node["op_type"] == "Size":
        return np.array(_elements(shape), np.int64)
    last = _attribute(node, "end", len(shape))
    return np.array(shape[_attribute(node, "start", 0) : last], np.int64)


def _elements(dims: Sequence[int]) -> int:
    return math.prod(int(size) for size in dims)


def _attribute(node: Fields, name: str, default: int) -> int:
    for attribute in node["attribute"]:
        if attribute.get("name") == name:
            value: int = attribute.get("i", default)
            return value
    return default


def _numbers(node: Fields, name: str) -> list[int] | None:
    return next((list(each["ints"]) for each in node["attribute"] if each.get("name") == name), None)


def _together(rule: Callable[..., Values | None]) -> Callable[..., Values | None]:
    """Return a rule for inputs that are brought to one shape, if that is short, and hold numbers only."""

    def made(node: Fields, *values: Values) -> Values | None:
        if _elements(np.broadcast_shapes(*(each.shape for each in values))) > SHORT:
            return None
        if any(each.dtype.kind == "f" and np.isnan(each).any() for each in values):
            return None
        return rule(*values)

    return made


def _constant_of_shape(node: Fields, shape: Values) -> Values | None:
    if shape.ndim != 1 or (shape < 0).any() or _elements(shape.tolist()) > SHORT:
        return None
    given = [each["t"] for each in node["attribute"] if "t" in each]
    value = values_of_tensor(given[0]) if given else np.zeros(1, np.float32)
    return None if value is None else np.full(shape, value.reshape(-1)[0])


def _cast(node: Fields, values: Values) -> Values | None:
    dtype = _DTYPES.get(_attribute(node, "to", 0))
    return None if dtype is None else arithmetic.cast(values, np.dtype(dtype))


def _remainder(node: Fields, left: Values, right: Values) -> Values | None:
    if not right.all():
        return None
    as_in_c = _attribute(node, "fmod", 0)
    rule = arithmetic.remainder_of_c if as_in_c else arithmetic.remainder
    return _together(rule)(node, left, right) if as_in_c or left.dtype.kind != "f" else None


def _reshaped(node: Fields, values: Values, shape: Values) -> Values:
    keeps = not _attribute(node, "allowzero", 0)
    wanted = [values.shape[i] if size == 0 and keeps else int(size) for i, size in enumerate(shape)]
    return values.reshape(wanted)


def _flattened(node: Fields, values: Values) -> Values | None:
    axis = _attribute(node, "axis", 1)
    if not -values.ndim <= axis <= values.ndim:
        return None
    axis += values.ndim if axis < 0 else 0
    return values.reshape(_elements(values.shape[:axis]), -1) if values.size else None


def _transposed(node: Fields, values: Values) -> Values:
    order = _numbers(node, "perm")
    return np.transpose(values, order or None)


def _unsqueezed(node: Fields, values: Values, axes: Values) -> Values:
    return np.expand_dims(values, tuple(int(axis) for axis in axes.reshape(-1)))


def _squeezed(node: Fields, values: Values, axes: Values | None = None) -> Values | None:
    if axes is not None and not axes.size:
        return None  # all axes of onnxruntime, none of the standard
    return np.squeeze(values, None if axes is None else tuple(int(axis) for axis in axes.reshape(-1)))


def _sliced(
    node: Fields,
    values: Values,
    starts: Values,
    ends: Values,
    axes: Values | None = None,
    steps: Values | None = None,
) -> Values:
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    cuts = [slice(None)] * values.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        side, back = values.shape[int(axis)], step < 0
        # Counted from the end, then brought into the axis; Python differs backwards. A largest number as the
        # end of a way backwards is read in two ways.
        if back and end > side:
            raise ValueError("not the same everywhere")
        first, last = (int(each) + side if each < 0 else int(each) for each in (start, end))
        first = min(max(first, 0), side - 1 if back else side)
        last = min(max(last, -1 if back else 0), side)
        cuts[int(axis)] = slice(first, None if back and last < 0 else last, int(step))
    return values[tuple(cuts)]


def _split(node: Fields, values: Values, sizes: Values | None = None) -> list[Values] | None:
    axis, count = _attribute(node, "axis", 0), len(node["output"])
    side = values.shape[axis]
    if sizes is None:
        each = -(-side // count)
        sizes = np.array([min(each, side - each * i) for i in range(count)])
    if (sizes < 0).any() or int(sizes.sum()) != side or len(sizes) != count:
        return None
    return list(np.split(values, np.cumsum(sizes)[:-1], axis))


def _expanded(node: Fields, values: Values, shape: Values) -> Values | None:
    wanted = np.broadcast_shapes(values.shape, tuple(int(size) for size in shape))
    return np.broadcast_to(values, wanted) if _elements(wanted) <= SHORT else None


def _tiled(node: Fields, values: Values, times: Values) -> Values | None:
    if len(times) != values.ndim or (times < 0).any() or values.size * _elements(times.tolist()) > SHORT:
        return None
    return np.tile(values, [int(each) for each in times])


def _range(node: Fields, start: Values, limit: Values, step: Values) -> Values | None:
    if start.dtype.kind not in "iu" or any(each.size != 1 for each in (start, limit, step)):
        return None
    whole = arithmetic.ranged(*(int(each.reshape(-1)[0]) for each in (start, limit, step)))
    return np.array(whole, start.dtype) if whole is not None and len(whole) <= SHORT else None


def _reduced(make: Callable[..., Values | None]) -> Callable[..., Values | None]:
    """Return a rule for a reduction of whole numbers: the order of sums must not matter."""

    def made(node: Fields, values: Values, given: Values | None = None) -> Values | None:
        listed = _numbers(node, "axes") if given is None else [int(axis) for axis in given.reshape(-1)]
        if values.dtype.kind not in "iu" or not values.size:
            return None
        if not listed and _attribute(node, "noop_with_empty_axes", 0):
            return values
        keepdims = bool(_attribute(node, "keepdims", 1))
        found = make(values, axis=tuple(listed) if listed else None, keepdims=keepdims)
        return None if found is None else np.asarray(found, values.dtype)

    return made


def _chosen(choice: Values, left: Values, right: Values) -> Values:
    return np.where(choice, left, right)


def _gathered(node: Fields, values: Values, at: Values) -> Values | None:
    axis = _attribute(node, "axis", 0)
    return np.take(values, at, axis=axis) if values.size * max(1, at.size) <= SHORT**2 else None


_RULES: dict[str, Callable[..., "Values | list[Values] | None"]] = {
    "Abs": lambda node, values: arithmetic.absolute(values),
    "Add": _together(arithmetic.added),
    "And": _together(lambda left, right: np.logical_and(left, right)),
    "Cast": _cast,
    "Ceil": lambda node, values: np.ceil(values),
    "Concat": lambda node, *parts: np.concatenate(parts, axis=_attribute(node, "axis", 0)),
    "ConstantOfShape": _constant_of_shape,
    "Div": _together(arithmetic.divided),
    "Equal": _together(lambda left, right: left == right),
    "Expand": _expanded,
    "Flatten": _flattened,
    "Floor": lambda node, values: np.floor(values),
    "Gather": _gathered,
    "Greater": _together(lambda left, right: left > right),
    "GreaterOrEqual": _together(lambda left, right: left >= right),
    "Identity": lambda node, values: values,
    "Less": _together(lambda left, right: left < right),
    "LessOrEqual": _together(lambda left, right: left <= right),
    "Max": _together(lambda *values: np.maximum.reduce(np.broadcast_arrays(*values))),
    "Min": _together(lambda *values: np.minimum.reduce(np.broadcast_arrays(*values))),
    "Mod": _remainder,
    "Mul": _together(arithmetic.multiplied),
    "Neg": lambda node, values: arithmetic.negative(values),
    "Not": lambda node, values: np.logical_not(values),
    "Or": _together(lambda left, right: np.logical_or(left, right)),
    "Range": _range,
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(arithmetic.multiplied_along),
    "ReduceSum": _reduced(arithmetic.summed),
    "Reshape": _reshaped,
    "Round": lambda node, values: np.rint(values),
    "Shape": lambda node, values: values_of_shape(node, values.shape),
    "Sign": lambda node, values: np.sign(values),
    "Size": lambda node, values: values_of_shape(node, values.shape),
    "Slice": _sliced,
    "Split": _split,
    "Squeeze": _squeezed,
    "Sub": _together(arithmetic.subtracted),
    "Tile": _tiled,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "Where": _together(_chosen),
    "Xor": _together(lambda left, right: np.logical_xor(left, right)),
}
