"""Tangents of reductions, of softmax and of its logarithm."""

from typing import TYPE_CHECKING

import numpy as np

from edgeosr.export.graph.reading import attribute
from edgeosr.export.tangents.axes import axes_of, axis_of, ints
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir

# Keeps 0 / 0 away; float32's smallest normal number is nothing beside any norm that is not zero.
_TINY = float(np.finfo(np.float32).tiny)


class _Reduction:
    """What a reduction node reduces: its values, the axes counted from the front, and its form."""

    def __init__(self, ctx: RuleContext, node: "ir.Node") -> None:
        x = node.inputs[0]
        assert x is not None
        self.ctx, self.x, self.y = ctx, x, node.outputs[0]
        self.rank = ctx.rank(x)
        self.keepdims = bool(attribute(node, "keepdims", 1))
        axes = axes_of(ctx, node, 1, self.rank)
        everything = not attribute(node, "noop_with_empty_axes", 0)
        self.axes = axes or (list(range(self.rank)) if everything else [])

    def kept(self) -> "ir.Value":
        """Return the node's output with its reduced axes kept at 1, to be broadcast against the input."""
        if self.keepdims or not self.axes:
            return self.y
        return self.ctx.op("Unsqueeze", self.y, ints(self.ctx, *self.axes))

    def reduced(self, op_type: str, t: "ir.Value", keepdims: bool | None = None) -> "ir.Value":
        """Reduce a tangent of the input over the node's axes."""
        if not self.axes:
            return t
        keep = self.keepdims if keepdims is None else keepdims
        return self.ctx.reduce(op_type, t, [axis + 1 for axis in self.axes], keepdims=keep)


@rule("ReduceSum", "ReduceMean")
def linear_reduction(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The same reduction of the tangent."""
    reduction, t = _start(ctx, node, tangents)
    return [reduction.reduced(node.op_type, t)]


@rule("ReduceMax", "ReduceMin")
def extreme(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The mean of the tangents at the places that hold the extreme (torch's amax shares between ties)."""
    reduction, t = _start(ctx, node, tangents)
    if not reduction.axes:
        return [t]
    x = reduction.x
    assert x.dtype is not None
    held = ctx.op("Cast", ctx.op("Equal", x, reduction.kept()), to=x.dtype.value)
    number = ctx.reduce("ReduceSum", held, reduction.axes, keepdims=True)
    return [reduction.reduced("ReduceSum", ctx.times(t, ctx.op("Div", held, number)))]


@rule("ReduceL2")
def l2(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """sum(x t) / y; zero where all of x is zero, as in torch."""
    reduction, t = _start(ctx, node, tangents)
    norm = ctx.op("Max", reduction.kept(), ctx.number(_TINY, reduction.x))
    return [reduction.reduced("ReduceSum", ctx.times(t, ctx.op("Div", reduction.x, norm)))]


@rule("ReduceL1")
def l1(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """sum(sign(x) t)."""
    reduction, t = _start(ctx, node, tangents)
    return [reduction.reduced("ReduceSum", ctx.times(t, ctx.op("Sign", reduction.x)))]


@rule("ReduceSumSquare")
def sum_of_squares(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """2 sum(x t)."""
    reduction, t = _start(ctx, node, tangents)
    return [reduction.reduced("ReduceSum", ctx.times(t, ctx.op("Add", reduction.x, reduction.x)))]


@rule("ReduceLogSumExp")
def log_sum_exp(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """sum(exp(x - y) t): the weights are a softmax."""
    reduction, t = _start(ctx, node, tangents)
    weights = ctx.op("Exp", ctx.op("Sub", reduction.x, reduction.kept()))
    return [reduction.reduced("ReduceSum", ctx.times(t, weights))]


@rule("Softmax")
def softmax(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """For the output y: y (t - sum(y t))."""
    x, y, t = node.inputs[0], node.outputs[0], tangents[0]
    assert x is not None and t is not None
    axis = axis_of(node, ctx.rank(x), -1) + 1
    mean = ctx.reduce("ReduceSum", ctx.op("Mul", y, t), [axis], keepdims=True)
    return [ctx.op("Mul", y, ctx.op("Sub", t, mean))]


@rule("LogSoftmax")
def log_softmax(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """For the output y: t - sum(exp(y) t)."""
    x, y, t = node.inputs[0], node.outputs[0], tangents[0]
    assert x is not None and t is not None
    axis = axis_of(node, ctx.rank(x), -1) + 1
    weighted = ctx.op("Mul", ctx.op("Exp", y), t)
    return [ctx.op("Sub", t, ctx.reduce("ReduceSum", weighted, [axis], keepdims=True))]


def _start(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "tuple[_Reduction, ir.Value]":
    """Read a reduction node; its tangent is whole along each axis that is reduced."""
    reduction, t = _Reduction(ctx, node), tangents[0]
    assert t is not None
    return reduction, ctx.full(t, reduction.x) if 0 in reduction.axes else t
