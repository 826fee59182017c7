"""What a tangent rule writes with: nodes, constants, shapes, and the layouts of a tangent."""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph_reading import constant, describe_value, static_shape
from edgeosr.export.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx_ir as ir

# Outputs of these say how large a tensor is, not what is in it.
_SIZES = ("Shape", "Size")


class RuleContext:
    """Writes the nodes of tangents into a model; see ``rules.py`` for what a tangent is.

    Attributes:
        K: how many directions there are, the first axis of every tangent.
        opset: of the model.
    """

    def __init__(self, model: "ir.Model", directions: int, prefix: str) -> None:
        """Prepare to write into ``model``; every name will start with ``prefix``."""
        self.K = directions
        self.opset: int = model.opset_imports.get("", 0)
        self._writer = NodeWriter(model, prefix)
        self._model = model
        # Values that may hold one entry per sample; those of the model itself, found once.
        self._batched: set[ir.Value] = set(model.graph.inputs)
        for node in model.graph:
            if node.op_type not in _SIZES and (self._touched(node.inputs) or self._has_subgraph(node)):
                self._batched.update(node.outputs)
        self._merged: dict[ir.Value, ir.Value] = {}
        self._memo: dict[Hashable, Any] = {}

    def op(
        self, op_type: str, *values: "ir.Value | None", name: str | None = None, **attributes: Any
    ) -> "ir.Value":
        """Add one node with one output; an input of None is left out."""
        output = self._writer.op(op_type, *values, name=name, **attributes)  # type: ignore[arg-type]
        if op_type not in _SIZES and self._touched(values):
            self._batched.add(output)
        return output

    def reduce(
        self, op_type: str, value: "ir.Value", axes: Sequence[int], *, keepdims: bool = True
    ) -> "ir.Value":
        """Add a reduction over ``axes``, in the form that the model's opset has."""
        output = self._writer.reduce(op_type, value, axes, keepdims=keepdims)
        if value in self._batched:
            self._batched.add(output)
        return output

    def constant(self, array: NDArray[Any]) -> "ir.Value":
        """Return an initialiser of this value; equal ones are shared."""
        return self._writer.constant(array)

    def number(self, number: float, like: "ir.Value") -> "ir.Value":
        """Return a scalar constant of the float type of a primal tensor."""
        return self.constant(np.array(number, np.float32 if like.dtype is None else like.dtype.numpy()))

    def const_value(self, value: "ir.Value | None") -> NDArray[np.generic] | None:
        """Return what an initialiser or a Constant node holds, else None."""
        return constant(value)

    def shape(self, value: "ir.Value") -> list[int | None]:
        """Return the sizes of a primal tensor, None for each that is not fixed.

        Raises:
            UnsupportedGraphError: not even its rank is known.
        """
        sizes = static_shape(value)
        if sizes is None:
            raise UnsupportedGraphError(
                f"the rank of {describe_value(value)} must be known to differentiate it; shape inference "
                "does not find it; export the classifier again with fixed sizes but for the batch"
            )
        return list(sizes)

    def rank(self, value: "ir.Value") -> int:
        """Return how many axes a primal tensor has; raises as ``shape``."""
        return len(self.shape(value))

    def memo(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what ``make`` gave for this key the first time."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def shape_of(self, primal: "ir.Value") -> "ir.Value":
        """Return the sizes of a primal tensor as an int64 vector in the graph."""
        found: ir.Value = self.memo(("shape", primal), lambda: self.op("Shape", primal))
        return found

    def is_narrow(self, t: "ir.Value") -> bool:
        """Tell whether a tangent may have size 1 where its primal has the batch."""
        return t not in self._batched

    def full(self, t: "ir.Value", primal: "ir.Value") -> "ir.Value":
        """Return a tangent in its full shape ``[K, *shape of the primal]``."""
        if not self.is_narrow(t):
            return t
        wide = self.op("Expand", t, self.shape_of(primal))
        self._batched.add(wide)
        return wide

    def lift(self, primal: "ir.Value") -> "ir.Value":
        """Return a primal tensor with the axis of directions in front, size 1."""
        axes = self.constant(np.zeros(1, np.int64))
        lifted: ir.Value = self.memo(("lift", primal), lambda: self.op("Unsqueeze", primal, axes))
        return lifted

    def aligned(self, t: "ir.Value", rank: int, wanted: int) -> "ir.Value":
        """Return a tangent of a tensor of ``rank`` for broadcasting with one of rank ``wanted``."""
        if rank >= wanted:
            return t
        return self.op("Unsqueeze", t, self.constant(np.arange(1, 1 + wanted - rank, dtype=np.int64)))

    def broadcast(self, t: "ir.Value", primal: "ir.Value", target: "ir.Value") -> "ir.Value":
        """Return a tangent of an operand for the result that it was broadcast to.

        Args:
            t: the tangent ``[K, *S]``.
            primal: the operand, of shape S.
            target: the result, of the shape that S broadcasts to.
        """
        rank = self.rank(target)
        t = self.aligned(t, self.rank(primal), rank)
        own = [1] * (rank - self.rank(primal)) + self.shape(primal)
        names = ["1"] * (rank - self.rank(primal)) + _names(primal)
        pairs = zip(own, names, self.shape(target), _names(target), strict=True)
        # What is 1 along the first axis, the batch, may stay so.
        if all(name == other or (axis == 0 and one == 1) for axis, (one, name, _, other) in enumerate(pairs)):
            return t
        wide = self.op("Expand", t, self.shape_of(target))
        self._batched.add(wide)
        return wide

    def merged(self, t: "ir.Value", primal: "ir.Value") -> "ir.Value":
        """Return a tangent ``[K, B, ...]`` as ``[K * B, ...]``; a narrow one as ``[K, ...]``."""
        if t not in self._merged:
            merged = self.op("Reshape", t, self._sizes(primal, [-1]))
            self._merged[t] = merged
        return self._merged[t]

    def split(self, merged: "ir.Value", primal: "ir.Value") -> "ir.Value":
        """Return ``[K * B, ...]`` as the tangent ``[K, B, ...]`` of ``primal``; the inverse of ``merged``."""
        t = self.op("Reshape", merged, self._sizes(primal, [self.K, -1]))
        self._merged[t] = merged
        return t

    def _sizes(self, primal: "ir.Value", leading: list[int]) -> "ir.Value":
        """Return the vector of ``leading`` and all but the first size of a primal tensor."""
        sizes = [size for size in self.shape(primal)[1:] if size is not None]
        front = np.array(leading, np.int64)
        if len(sizes) == self.rank(primal) - 1:
            return self.constant(np.concatenate([front, np.array(sizes, np.int64)]))

        def make() -> "ir.Value":
            start, end = (self.constant(np.array([at], np.int64)) for at in (1, np.iinfo(np.int64).max))
            return self.op(
                "Concat", self.constant(front), self.op("Slice", self.shape_of(primal), start, end), axis=0
            )

        found: ir.Value = self.memo(("sizes", primal, tuple(leading)), make)
        return found

    def finish(self, *kept: "ir.Value") -> None:
        """Put what was written behind the graph's last node, but for nodes that ``kept`` does not need."""
        graph = self._model.graph
        count, known = len(graph), set(graph.initializers)
        self._writer.append()
        for node in reversed(list(graph)[count:]):
            if node.outputs[0] not in kept and not node.outputs[0].uses():
                graph.remove(node, safe=True)
        for name in set(graph.initializers) - known:
            if not graph.initializers[name].uses():
                del graph.initializers[name]

    def _touched(self, values: "Sequence[ir.Value | None]") -> bool:
        return any(value in self._batched for value in values if value is not None)

    @staticmethod
    def _has_subgraph(node: "ir.Node") -> bool:
        return any(attribute.type.name in ("GRAPH", "GRAPHS") for attribute in node.attributes.values())


def _names(value: "ir.Value") -> list[str]:
    """Return each size of a tensor as text; unnamed unknown ones differ from all others."""
    assert value.shape is not None
    texts = []
    for axis, dim in enumerate(value.shape):
        text = str(dim) if isinstance(dim, int) else dim.value
        texts.append(text or f"{value.name}:{axis}")
    return texts
