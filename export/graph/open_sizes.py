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
# The shape of what these make does not depend on the values they read, only on shapes.
_OF_SHAPES = frozenset((*_ELEMENTWISE, *SIZES, "Clip", "Concat", "Flatten", "Gather", "Transpose"))
# Of others, it does from this input on; of those not named, from the first.
_SHAPED_BY = {
    **dict.fromkeys(("Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze"), 1),
    **dict.fromkeys(("Tile", "TopK", "Unsqueeze"), 1),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), 1),
}
# What they are told, entry by entry, are the sides of what they make.
_BY_ENTRIES = ("ConstantOfShape", "Expand", "Reshape", "Tile")


def depend_on_batch(
    proto: Any, runs: Mapping[str, Sequence[_Array]], batches: Sequence[int], onnx: Any
) -> set[str]:
    """Name the tensors of which a number may be another one for another batch, or of another count.

    The first size of anything does, unless it is known to be fixed; of the other sizes those do that differ
    between the runs, and those of what was shaped by such a number; and so does what is made of them.

    Args:
        proto: ``onnx.ModelProto`` with the batch open.
        runs: what the tensors that are made of sizes and constants hold, for several batches, by name.
        batches: of the runs, in their order.
        onnx: the package.
    """
    return _Marker(proto, runs, batches, onnx).found()


class _Marker:
    """Walks through a graph once and marks what may depend on the batch.

    ``_marks`` are the numbers, ``_loose`` the tensors (of any kind) that may have another shape.
    """

    def __init__(
        self, proto: Any, runs: Mapping[str, Sequence[_Array]], batches: Sequence[int], onnx: Any
    ) -> None:
        self._nodes, self._runs, self._onnx = list(proto.graph.node), runs, onnx
        self._batches = np.asarray(batches)
        self._marks: dict[str, _Open] = {}
        self._loose: set[str] = set()
        constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._sides: dict[str, list[int | None]] = {name: list(one.dims) for name, one in constants.items()}
        for value in (*proto.graph.input, *proto.graph.value_info):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                self._sides[value.name] = [
                    dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim
                ]
        for node in self._nodes:
            if node.op_type == "Constant":
                constants.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
        held = {name: arrays[0] for name, arrays in runs.items()}
        read = {name for node in self._nodes if held.keys() & set(node.output) for name in node.input}
        self._held = held | {
            name: onnx.numpy_helper.to_array(tensor)
            for name, tensor in constants.items()
            if name in read - held.keys()
        }

    def found(self) -> set[str]:
        """Mark all, and name what is marked."""
        for node in self._nodes:
            if self._is_loose(node):
                self._loose.update(name for name in node.output if name)
            for place, name in enumerate(node.output):
                if name in self._runs:
                    self._marks[name] = self._marked(node, place, self._runs[name])
                    shapes = {array.shape for array in self._runs[name]}
                    if len(shapes) > 1:
                        self._loose.add(name)
        return {name for name in self._marks if self._moves(name)}

    def _moves(self, name: str) -> bool:
        # Of no numbers at all, it must count too.
        return name in self._loose or (name in self._marks and bool(self._marks[name].any()))

    def _is_loose(self, node: Any) -> bool:
        """Tell whether what a node makes may have another shape for another batch, beside its first side."""
        if node.op_type not in SIZES and not self._loose.isdisjoint(node.input):
            return True
        if node.op_type in _OF_SHAPES:
            return False
        asked = list(node.input)[_SHAPED_BY.get(node.op_type, 0) :]
        moving = [name for name in asked if self._moves(name)]
        return bool(moving) and not (node.op_type in _BY_ENTRIES and all(map(self._shows, moving)))

    def _shows(self, name: str) -> bool:
        """Tell whether runs show all that depends on the batch in a shape.

        They do if each such side is a multiple of the batch; and of the first side it is known anyway, if no
        other is left to be computed.
        """
        arrays, mark = self._runs.get(name), self._marks.get(name)
        if name in self._loose or arrays is None or mark is None or mark.ndim != 1:
            return False
        values = np.stack(arrays)[:, mark].astype(np.float64)
        shares = values / self._batches[:, None]
        if bool((shares == shares[0]).all()):
            return True
        return not mark[1:].any() and not bool((np.stack(arrays) == -1).any())

    def _marked(self, node: Any, place: int, arrays: Sequence[_Array]) -> _Open:
        """Return which numbers of an output depend on the batch."""
        shape, everywhere = arrays[0].shape, np.ones(arrays[0].shape, bool)
        if any(array.shape != shape for array in arrays):
            return everywhere
        said = {one.name: self._onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type in SIZES:
            differ = np.asarray(np.any([array != arrays[0] for array in arrays], axis=0), bool)
            of_axes = self._open_sides(node.input[0], said, differ)
            return of_axes if node.op_type == "Shape" else np.asarray(differ | of_axes.any(), bool)
        names = list(node.input)
        if not any(self._moves(name) for name in names):
            return np.zeros(shape, bool)
        if place or not all(name in self._held for name in names) or not self._loose.isdisjoint(names):
            return everywhere
        given = [self._marks.get(name, np.zeros(self._held[name].shape, bool)) for name in names]
        made = _followed(node.op_type, said, given, [self._held[name] for name in names], shape)
        return made if made is not None and made.shape == shape else everywhere

    def _open_sides(self, name: str, said: Mapping[str, Any], differ: _Open) -> _Open:
        """Return which sides of a tensor may depend on the batch: those that Shape gives, or all for Size."""
        sides = self._sides.get(name)
        if sides is None:
            # The first side is among them, unless a start above 0 says that it is not.
            loose = name in self._loose or said.get("start", 0) < 0
            first = np.arange(differ.size).reshape(differ.shape) == 0 if not said.get("start", 0) else False
            return np.asarray(differ | first | loose, bool)
        rank = len(sides)
        start, end = (_within(said.get(key, default), rank) for key, default in (("start", 0), ("end", rank)))
        if differ.ndim == 0:  # Size: of all
            start, end = 0, rank
        fixed = np.array([side is not None for side in sides], bool)[start:end]
        axes = np.arange(rank)[start:end]
        opened = ~fixed & ((axes == 0) | (name in self._loose))
        return opened if differ.ndim == 0 else np.asarray(differ | opened, bool)


def _within(axis: int, rank: int) -> int:
    """Return where an axis of Shape is cut, as its definition clamps it."""
    return min(max(axis + rank if axis < 0 else axis, 0), rank)


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
        if any(value.size != 1 for value in values[1:]):
            return None
        start, stop = (int(value.reshape(-1)[0]) for value in values[1:3])
        step = int(values[4].reshape(-1)[0]) if len(values) > 4 else 1
        return data[start:stop:step]
    return None
