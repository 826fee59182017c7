"""What a tangent rule writes with: nodes, constants, shapes, and the layouts of a tangent."""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import constant, describe_value, static_shape
from edgeosr.export.graph.writer import NodeWriter

if TYPE_CHECKING:
    import onnx_ir as ir

# Outputs of these say how large a tensor is, not what is in it.
_SIZES = ("Shape", "Size")
# The first input does not have the type of the output.
_OTHER_TYPES = (*_SIZES, "Cast", "Greater", "Less", "Equal", "And", "Or", "Not", "ArgMax", "ConstantOfShape")


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
        # The float types of values written here, whose own is not inferred.
        self._kinds: dict[ir.Value, ir.DataType | None] = {}
        # t -> (base, factor) for a tangent t = base * factor.
        self._factors: dict[ir.Value, tuple[ir.Value, ir.Value | None]] = {}
        self._memo: dict[Hashable, Any] = {}

    def op(
        self, op_type: str, *values: "ir.Value | None", name: str | None = None, **attributes: Any
    ) -> "ir.Value":
        """Add one node with one output; an input of None is left out."""
        # The writer's inputs are declared without None, which onnx-ir takes for one that is left out.
        output = self._writer.op(op_type, *values, name=name, **attributes)  # type: ignore[arg-type]
        if op_type not in _SIZES and self._touched(values):
            self._batched.add(output)
        self._kinds[output] = self._kind(op_type, values)
        return output

    def reduce(
        self, op_type: str, value: "ir.Value", axes: Sequence[int], *, keepdims: bool = True
    ) -> "ir.Value":
        """Add a reduction over ``axes``, in the form that the model's opset has."""
        output = self._writer.reduce(op_type, value, axes, keepdims=keepdims)
        if value in self._batched:
            self._batched.add(output)
        self._kinds[output] = self._kind(op_type, [value])
        return output

    def constant(self, array: NDArray[Any]) -> "ir.Value":
        """Return an initialiser of this value; equal ones are shared."""
        return self._writer.constant(array)

    def number(self, number: float, like: "ir.Value") -> "ir.Value":
        """Return a scalar constant of the float type of another tensor."""
        kind = self._kinds.get(like) or like.dtype
        return self.constant(np.array(number, np.float32 if kind is None else kind.numpy()))

    def cast_like(self, value: "ir.Value", like: "ir.Value") -> "ir.Value":
        """Return a value, such as a mask, in the float type of another tensor (CastLike needs opset 15)."""
        kind = self._kinds.get(like) or like.dtype
        cast = self.op("Cast", value, to=1 if kind is None else kind.value)
        self._kinds[cast] = kind
        return cast

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

    def aligned(self, t: "ir.Value", rank: int, wanted: int) -> "ir.Value":
        """Return a tangent of a tensor of ``rank`` for broadcasting with one of rank ``wanted``."""
        if rank >= wanted:
            return t
        return self.op("Unsqueeze", t, self.constant(np.arange(1, 1 + wanted - rank, dtype=np.int64)))

    def spread(self, t: "ir.Value", target: "ir.Value", *primals: "ir.Value") -> "ir.Value":
        """Return a tangent in the shape of a result that more than its own operands was broadcast to.

        Args:
            t: the tangent, of the rank of ``target`` + 1, and of the shape that ``primals`` broadcast to.
            target: the result.
            primals: the operands that went into ``t``.
        """
        covered = [_names(primal) for primal in primals if self.rank(primal)]
        wanted = _names(target)
        missing = [axis for axis in range(-len(wanted), 0) if wanted[axis] != "1"]
        missing = [
            axis for axis in missing if not any(-axis <= len(n) and n[axis] == wanted[axis] for n in covered)
        ]
        # Along the batch, an open first axis, a tangent may be 1.
        if all(axis == -len(wanted) and not wanted[axis].isdigit() for axis in missing):
            return t
        wide = self.op("Expand", t, self.shape_of(target))
        self._batched.add(wide)
        return wide

    def times(self, t: "ir.Value", factor: "ir.Value") -> "ir.Value":
        """Return a tangent multiplied by a tensor that has no directions, such as f'(x).

        Factors of one tangent are multiplied with each other first: those products are K times smaller, and
        a chain like x * sigmoid(x) needs one product of the tangent's size.
        """
        base, own = self._factors.get(t, (t, None))
        return self._scaled(base, factor if own is None else self._product(own, factor))

    def plus(self, one: "ir.Value", other: "ir.Value", *, minus: bool = False) -> "ir.Value":
        """Return the sum, or the difference, of two tangents of the same rank."""
        op_type = "Sub" if minus else "Add"
        (base, a), (base_b, b) = (self._factors.get(t, (t, None)) for t in (one, other))
        like = a if a is not None else b
        if base is not base_b or like is None:
            if self.K == 1 and one in self._merged and other in self._merged:
                return self._unmerged(self.op(op_type, self._merged[one], self._merged[other]))
            return self.op(op_type, one, other)
        unit = self.number(1.0, like)
        return self._scaled(base, self.op(op_type, unit if a is None else a, unit if b is None else b))

    def choose(self, condition: "ir.Value", one: "ir.Value | None", other: "ir.Value | None") -> "ir.Value":
        """Return tangents chosen by a condition without directions; a missing one is zero."""
        found = one if one is not None else other
        assert found is not None
        pairs = [None if t is None else self._factors.get(t, (t, None)) for t in (one, other)]
        bases = {pair[0] for pair in pairs if pair is not None}
        if len(bases) > 1:
            return self.op("Where", condition, one, other)
        like = next((pair[1] for pair in pairs if pair is not None and pair[1] is not None), None)
        scalar = self.number(1.0, found if like is None else like)
        zero = self.number(0.0, found if like is None else like)
        sides = [zero if pair is None else (scalar if pair[1] is None else pair[1]) for pair in pairs]
        return self._scaled(bases.pop(), self.op("Where", condition, *sides))

    def _scaled(self, base: "ir.Value", factor: "ir.Value") -> "ir.Value":
        if self.K == 1 and base in self._merged:
            # A single direction needs no axis of its own: without it the layers' layout can be kept.
            t = self._unmerged(self.op("Mul", self._merged[base], factor))
        else:
            t = self.op("Mul", base, factor)
        self._factors[t] = (base, factor)
        return t

    def _product(self, one: "ir.Value", other: "ir.Value") -> "ir.Value":
        a, b = self.const_value(one), self.const_value(other)
        if a is not None and b is not None:
            return self.constant(np.multiply(np.asarray(a), np.asarray(b)))
        return self.op("Mul", one, other)

    def merged(self, t: "ir.Value", primal: "ir.Value") -> "ir.Value":
        """Return a tangent ``[K, B, ...]`` as ``[K * B, ...]``; a narrow one as ``[K, ...]``."""
        if t not in self._merged:
            if self.K == 1:
                merged = self.op("Squeeze", t, self._first_axis())
            else:
                merged = self.op("Reshape", t, self._sizes(primal, [-1]))
            self._merged[t] = merged
        return self._merged[t]

    def split(self, merged: "ir.Value", primal: "ir.Value") -> "ir.Value":
        """Return ``[K * B, ...]`` as the tangent ``[K, B, ...]`` of ``primal``; the inverse of ``merged``."""
        if self.K == 1:
            return self._unmerged(merged)
        t = self.as_tangent(merged, primal)
        self._merged[t] = merged
        return t

    def _unmerged(self, merged: "ir.Value") -> "ir.Value":
        """Return what is merged as the tangent of a single direction."""
        t = self.op("Unsqueeze", merged, self._first_axis())
        self._merged[t] = merged
        return t

    def _first_axis(self) -> "ir.Value":
        return self.constant(np.zeros(1, np.int64))

    def as_tangent(self, value: "ir.Value", primal: "ir.Value") -> "ir.Value":
        """Return a value that holds a tangent of ``primal`` in another shape, reshaped to ``[K, B, ...]``."""
        return self.op("Reshape", value, self._sizes(primal, [self.K, -1]))

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

    def _kind(self, op_type: str, values: "Sequence[ir.Value | None]") -> "ir.DataType | None":
        """Return the float type of a new node's output, None if it is not that of an input."""
        if op_type in _OTHER_TYPES:
            return None
        value = values[1] if op_type in ("Where", "CastLike") else values[0]
        return None if value is None else self._kinds.get(value) or value.dtype

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
