"""Which tensors of a foreign graph can be its class scores, each brought to ``[batch, classes]``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import ExportError
from edgeosr.export.graph.observed_shapes import observe_shapes
from edgeosr.export.graph.reading import PASS_THROUGH
from edgeosr.export.graph.writer import NodeWriter, find_value, import_onnx_ir

if TYPE_CHECKING:
    import onnx_ir as ir

# On the way up from an output without a batch axis: what may have taken it away.
_RESHAPING = (*PASS_THROUGH, "Squeeze", "Reshape", "Flatten", "Transpose")
_PREFIX = "class_scores"
_AS_ROWS = "/as_rows"


@dataclass(frozen=True)
class _Scores:
    """``batch``: the axis of the batch; None where there is none. ``classes``: C."""

    value: "ir.Value"
    batch: int | None
    classes: int


def keep_class_scores(model: "ir.Model", path: Path, *, classes: int | None, named: str | None) -> list[str]:
    """Leave those outputs only that can be class scores, each float32 ``[batch, C]``, in place.

    Scores ``[batch, C, 1, 1]``, transposed ones and those of a batch of 1 without a batch axis are brought
    to that form by nodes behind them.

    Args:
        model: of opset 13 or later, with inferred shapes.
        path: the file, for messages.
        classes: C; None if nobody knows. If some outputs have it, the others are left out.
        named: the tensor that is the scores, an output or an inner one; None to look at the outputs.

    Returns:
        A sentence if one of several was taken for its number of values alone; else nothing.

    Raises:
        ExportError: nothing can be class scores of 2 or more classes, or ``named`` cannot; the message says
            what there is.
    """
    outputs = [find_value(model, named)] if named is not None else list(model.graph.outputs)
    observe_shapes(model.graph, outputs)
    found = [scores for value in outputs if (scores := _scores(model, value)) is not None]
    if not found:
        what = "class scores as an output" if named is None else f"class scores in the tensor {named!r}"
        raise ExportError(
            f"expected {what}, float32 [batch, classes] with 2 or more classes; {path} has "
            f"{', '.join(map(described, outputs)) or 'no output'}; {_way_out(model, outputs)}"
        )
    fitting = [scores for scores in found if scores.classes == classes]
    model.graph.outputs[:] = [_two_axes(model, scores) for scores in fitting or found]
    if len(fitting) != 1 or len(found) == 1:
        return []
    own = given_name(fitting[0].value)
    others = ", ".join(described(scores.value) for scores in found if scores is not fitting[0])
    return [f"the output {own!r} is taken, which alone has {classes} values; not {others}"]


def _way_out(model: "ir.Model", outputs: "Sequence[ir.Value]") -> str:
    """Say what to do about outputs that are no class scores, or hardly."""
    ir = import_onnx_ir()
    for value in outputs:
        before = _before_cast(value)
        if value.dtype in (ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16) and _scores(
            model, before
        ):
            return (
                f"{given_name(value)!r} is cast from {before.name!r}, which is float32: name that one with "
                f"--logits {before.name}"
            )
    for value in outputs:
        sizes = list(value.shape or ())[1:]
        if sizes and all(size == 1 for size in sizes):
            return (
                "a network of two classes with one output x needs two: export it with [0, x] as output, or "
                "[-x, x], where x is what comes before a sigmoid"
            )
    return (
        "export the classifier with its logits as output, or name the tensor that holds them with --logits "
        "TENSOR"
    )


def _before_cast(value: "ir.Value") -> "ir.Value":
    """Return what a tensor is cast from, over several casts; itself if it is not."""
    node = value.producer()
    while node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def given_name(value: "ir.Value") -> str:
    """Return the name that an output has in the file, before it was brought to two axes."""
    return str(value.name).removesuffix(_AS_ROWS)


def described(value: "ir.Value") -> str:
    """Name a tensor with its type and shape, for people."""
    kind = "of unknown type"
    if value.dtype is not None:
        kind = _TYPES.get(value.dtype.name, value.dtype.name.lower())
    shape = "of unknown shape" if value.shape is None else _spelled(value.shape)
    return f"{given_name(value)!r} {kind} {shape}"


_TYPES = {"FLOAT": "float32", "DOUBLE": "float64"}


def _spelled(shape: "ir.Shape") -> str:
    sizes = (size if isinstance(size, int) else getattr(size, "value", None) or "?" for size in shape)
    return "[" + ", ".join(map(str, sizes)) + "]"


def _scores(model: "ir.Model", value: "ir.Value") -> _Scores | None:
    ir = import_onnx_ir()
    if value.dtype != ir.DataType.FLOAT or value.shape is None:
        return None
    sizes = list(value.shape)
    opened = [axis for axis, size in enumerate(sizes) if not isinstance(size, int)]
    large = [axis for axis, size in enumerate(sizes) if isinstance(size, int) and size != 1]
    if len(opened) == 1 and len(large) == 1:
        return _Scores(value, opened[0], _whole(sizes[large[0]]))
    if opened or len(large) != 1:
        return None
    (axis,) = large
    classes = _whole(sizes[axis])
    if axis > 0:
        return _Scores(value, 0, classes)
    if len(sizes) > 1:
        return _Scores(value, len(sizes) - 1, classes)
    return _before_squeezed(model, value) or _Scores(value, None, classes)


def _before_squeezed(model: "ir.Model", value: "ir.Value") -> _Scores | None:
    """Return the scores that a batch of one lost its axis of: the nearest tensor above that has it."""
    node = value.producer()
    if node is None or node.op_type not in _RESHAPING or node.inputs[0] is None:
        return None
    above = node.inputs[0]
    observe_shapes(model.graph, [above])
    return _scores(model, above)


def _two_axes(model: "ir.Model", scores: _Scores) -> "ir.Value":
    ir = import_onnx_ir()
    value, shape = scores.value, scores.value.shape
    assert shape is not None
    if len(shape) == 2 and scores.batch == 0:
        return value
    writer = NodeWriter(model, f"{_PREFIX}/{value.name}")
    moved = value
    if scores.batch:
        others = [axis for axis in range(len(shape)) if axis != scores.batch]
        moved = writer.op("Transpose", value, perm=[scores.batch, *others])
    rows = writer.constant(np.array([-1, scores.classes], np.int64))
    result = writer.op("Reshape", moved, rows, name=f"{value.name}{_AS_ROWS}")
    writer.append()
    batch = 1 if scores.batch is None else shape[scores.batch]
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([batch, scores.classes])
    return result


def _whole(size: object) -> int:
    assert isinstance(size, int)
    return size
