"""Tangents of operators that cut, pick, join or surround: the same operator, one axis later."""

from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import attribute, describe, input_of, static_shape
from edgeosr.export.tangents.axes import axis_of, constant_input, from_front, ints
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir


@rule("Slice")
def slice_(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same starts, ends and steps."""
    x, starts, ends, t = node.inputs[0], node.inputs[1], node.inputs[2], tangents[0]
    assert x is not None and starts is not None and ends is not None and t is not None
    steps = input_of(node, 4)
    if input_of(node, 3) is not None:
        axes = constant_input(ctx, node, 3, "axes")
    else:
        axes = np.arange(_length(ctx, node, starts))
    numbers = from_front(axes.ravel().tolist(), ctx.rank(x))
    fixed = all(ctx.is_narrow(value) for value in (starts, ends, steps) if value is not None)
    if 0 in numbers or not fixed:
        t = ctx.full(t, x)
    # ONNX wants all of them in one type.
    kind = np.int32 if starts.dtype is not None and starts.dtype.name == "INT32" else np.int64
    shifted = ctx.constant(np.array([axis + 1 for axis in numbers], kind))
    return [ctx.op("Slice", t, starts, ends, shifted, *([] if steps is None else [steps]))]


def _length(ctx: RuleContext, node: "ir.Node", starts: "ir.Value") -> int:
    array = ctx.const_value(starts)
    shape = static_shape(starts)
    if array is not None:
        return array.size
    if shape and shape[0] is not None:
        return shape[0]
    raise UnsupportedGraphError(
        f"{describe(node)} slices a number of axes that only a run knows; export the classifier with the "
        "axes named"
    )


@rule("Split")
def split(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """One slice for each output."""
    x, t = node.inputs[0], tangents[0]
    assert x is not None and t is not None
    axis = axis_of(node, ctx.rank(x), 0)
    if axis == 0:
        t = ctx.full(t, x)
    parts: list[ir.Value | None] = []
    start = ints(ctx, 0)
    for output in node.outputs:
        end = _plus(ctx, start, _size(ctx, output, axis))
        parts.append(ctx.op("Slice", t, start, end, ints(ctx, axis + 1)))
        start = end
    return parts


@rule("Gather")
def gather(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same indices."""
    x, indices, t = node.inputs[0], node.inputs[1], tangents[0]
    assert x is not None and indices is not None and t is not None
    axis = axis_of(node, ctx.rank(x), 0)
    if axis == 0 or not ctx.is_narrow(indices):
        t = ctx.full(t, x)
    return [ctx.op("Gather", t, indices, axis=axis + 1)]


@rule("Concat")
def concat(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """Zeros stand where an input has no tangent: they are padded onto its neighbour, which needs no shape."""
    values = [value for value in node.inputs if value is not None]
    rank = ctx.rank(values[0])
    axis = axis_of(node, rank, 0)
    whole = axis == 0 or sum(t is not None for t in tangents) > 1
    pieces: list[ir.Value] = []
    before = ints(ctx, 0)
    for place, (value, t) in enumerate(zip(values, tangents, strict=True)):
        if t is None:
            before = _plus(ctx, before, _size(ctx, value, axis))
            continue
        after = ints(ctx, 0)
        if all(later is None for later in tangents[place + 1 :]):
            for later in values[place + 1 :]:
                after = _plus(ctx, after, _size(ctx, later, axis))
        t = ctx.full(t, value) if whole else t
        pieces.append(_padded(ctx, t, rank, axis, before, after))
        before = ints(ctx, 0)
    return [pieces[0] if len(pieces) == 1 else ctx.op("Concat", *pieces, axis=axis + 1)]


def _padded(
    ctx: RuleContext, t: "ir.Value", rank: int, axis: int, before: "ir.Value", after: "ir.Value"
) -> "ir.Value":
    first, last = ctx.const_value(before), ctx.const_value(after)
    if first is not None and last is not None:
        if not first.any() and not last.any():
            return t
        pads = [0] * (2 * rank + 2)
        pads[axis + 1], pads[axis + rank + 2] = int(first[0]), int(last[0])
        return ctx.op("Pad", t, ints(ctx, *pads))
    ahead, between, behind = [0] * (axis + 1), [0] * rank, [0] * (rank - axis - 1)
    parts = [ints(ctx, *ahead), before, ints(ctx, *between), after]
    return ctx.op("Pad", t, ctx.op("Concat", *parts, *([ints(ctx, *behind)] if behind else []), axis=0))


@rule("Pad")
def pad(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same border; where it is a constant the tangent's is zero."""
    x, pads, t = node.inputs[0], node.inputs[1], tangents[0]
    if len(tangents) > 2 and tangents[2] is not None:
        raise UnsupportedGraphError(
            f"the border value of {describe(node)} depends on the cut; it must be fixed"
        )
    assert x is not None and pads is not None and t is not None
    rank, mode = ctx.rank(x), str(attribute(node, "mode", "constant"))
    axes = list(range(rank))
    if input_of(node, 3) is not None:
        axes = from_front(constant_input(ctx, node, 3, "axes").ravel().tolist(), rank)
    array = ctx.const_value(pads)
    if array is not None:
        borders = np.zeros((2, rank + 1), np.int64)
        borders[:, [axis + 1 for axis in axes]] = array.reshape(2, -1)
        t = ctx.full(t, x) if borders[:, 1].any() else t
        return [ctx.op("Pad", t, ints(ctx, *borders.ravel().tolist()), mode=mode)]
    t = ctx.full(t, x) if 0 in axes else t
    if len(axes) < rank:
        zero = ctx.number(0, x)
        return [ctx.op("Pad", t, pads, zero, ints(ctx, *(axis + 1 for axis in axes)), mode=mode)]
    halves = [ctx.op("Slice", pads, ints(ctx, start), ints(ctx, start + rank)) for start in (0, rank)]
    shifted = ctx.op("Concat", ints(ctx, 0), halves[0], ints(ctx, 0), halves[1], axis=0)
    return [ctx.op("Pad", t, shifted, mode=mode)]


def _size(ctx: RuleContext, value: "ir.Value", axis: int) -> "ir.Value":
    """Return the size of an axis as a vector of one number: a constant if the graph fixes it."""
    shape = static_shape(value)
    size = None if shape is None else shape[axis]
    if size is not None:
        return ints(ctx, size)
    return ctx.op("Gather", ctx.shape_of(value), ints(ctx, axis), axis=0)


def _plus(ctx: RuleContext, one: "ir.Value", other: "ir.Value") -> "ir.Value":
    a, b = ctx.const_value(one), ctx.const_value(other)
    return ctx.op("Add", one, other) if a is None or b is None else ints(ctx, int(a[0]) + int(b[0]))
