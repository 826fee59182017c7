"""Which numbers made of sizes depend on the batch, told from the nodes that make them.

Equal values for a few batches do not tell: ``ceil(batch / 16)`` is 1 for all of 1 to 16.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.export.graph.reading import SIZES

_Array = NDArray[Any]
_Open = NDArray[np.bool_]

_ELEMENTWISE = frozenset(
    (
        *("Abs", "Add", "And", "Cast", "Ceil", "Div", "Equal", "Floor", "Greater", "GreaterOrEqual"),
        *("Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow"),
        *("Reciprocal", "Round", "Sign", "Sqrt", "Sub", "Sum", "Where", "Xor"),
    )
)
_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def depend_on_batch(proto: Any, runs: Mapping[str, Sequence[_Array]], onnx: Any) -> set[str]:
    """Name the tensors of which a number may be another one for another batch.

    The first size of anything does, unless it is known to be fixed; of the other sizes those do that differ
    between the runs; and so does what is made of them.

    Args:
        proto: ``onnx.ModelProto`` with the batch open.
        runs: what the tensors that are made of sizes and constants hold, for several batches, by name.
        onnx: the package.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    first = {name: tensor.dims[0] for name, tensor in constants.items() if len(tensor.dims)}
    for value in proto.graph.value_info:
        dims = value.type.tensor_type.shape.dim
        if len(dims) and dims[0].HasField("dim_value"):
            first[value.name] = dims[0].dim_value
    for node in proto.graph.node:
        if node.op_type == "Constant":
            constants.update(
                (node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value"
            )
    held = {name: arrays[0] for name, arrays in runs.items()}
    read = {name for node in proto.graph.node if held.keys() & set(node.output) for name in node.input}
    held |= {
        name: onnx.numpy_helper.to_array(tensor)
        for name, tensor in constants.items()
        if name in read - held.keys()
    }
    marks: dict[str, _Open] = {}
    for node in proto.graph.node:
        for place, name in enumerate(node.output):
            if name in runs:
                marks[name] = _marked(node, place, marks, held, first, runs[name], onnx)
    return {name for name, mark in marks.items() if mark.any()}


def _marked(
    node: Any,
    place: int,
    marks: Mapping[str, _Open],
    held: Mapping[str, _Array],
    first: Mapping[str, int],
    arrays: Sequence[_Array],
    onnx: Any,
) -> _Open:
    """Return which numbers of an output depend on the batch."""
    shape, everywhere = arrays[0].shape, np.ones(arrays[0].shape, bool)
    if any(array.shape != shape for array in arrays):
        # Of no numbers at all, it must count too.
        return np.ones(shape or (1,), bool) if everywhere.size else np.ones(1, bool)
    said = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type in SIZES:
        differ = np.any([array != arrays[0] for array in arrays], axis=0)
        if node.op_type != "Shape":
            return everywhere if node.input[0] not in first else np.asarray(differ, bool)
        if said.get("start", 0) == 0 and node.input[0] not in first and differ.size:
            differ[0] = True
        return np.asarray(differ, bool)
    names = list(node.input)
    if not any(name in marks and marks[name].any() for name in names):
        return np.zeros(shape, bool)
    if place or not all(name in held for name in names):
        return everywhere
    given = [marks.get(name, np.zeros(held[name].shape, bool)) for name in names]
    made = _followed(node.op_type, said, given, [held[name] for name in names], shape)
    return made if made is not None and made.shape == shape else everywhere


def _followed(
    op: str, said: Mapping[str, Any], given: Sequence[_Open], values: Sequence[_Array], shape: tuple[int, ...]
) -> _Open | None:
    if op in _ELEMENTWISE:
        return np.asarray(reduce(np.logical_or, given), bool)
    if op == "Concat" and all(one.ndim == 1 for one in given):
        return np.concatenate(list(given))
    data, asked = given[0], given[1:]
    if any(one.any() for one in asked):
        return None
    if op in _RESHAPES and data.size == np.prod(shape, dtype=np.int64):
        return data.reshape(shape)
    if op == "Gather" and data.ndim == 1:
        return np.asarray(data[values[1]], bool)
    if op == "Slice" and data.ndim == 1 and len(values) > 2:
        start, stop = (int(value.reshape(-1)[0]) for value in values[1:3])
        step = int(values[4].reshape(-1)[0]) if len(values) > 4 else 1
        return data[start:stop:step]
    return None
