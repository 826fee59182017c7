"""Tangents of operators that move, copy or rename numbers: the same operator, one axis later."""

from math import prod
from typing import TYPE_CHECKING

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.observed_shapes import observe_shapes
from edgeosr.export.graph.reading import attribute, describe, static_shape
from edgeosr.export.graph.writer import import_onnx_ir
from edgeosr.export.tangents.axes import axes_of, constant_input, ints, prepended
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir


@rule("Identity", "Dropout")
def unchanged(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The tangent itself (dropout does nothing at inference); its mask has none."""
    training = node.inputs[2] if node.op_type == "Dropout" and len(node.inputs) > 2 else None
    if training is not None and constant_input(ctx, node, 2, "training mode").any():
        raise UnsupportedGraphError(
            f"{describe(node)} is in training mode, so that its output is random; "
            "export the classifier in evaluation mode"
        )
    return [tangents[0], *[None] * (len(node.outputs) - 1)]


@rule("Cast")
def cast(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The tangent in the new type."""
    assert tangents[0] is not None
    return [ctx.op("Cast", tangents[0], to=int(attribute(node, "to", 1)))]


@rule("CastLike")
def cast_like(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The tangent in the type of the second input."""
    return [ctx.op("CastLike", tangents[0], node.inputs[1])]


@rule("Reshape", "Flatten")
def reshape(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The tangent with its directions in front of the output's shape."""
    x, y, t = node.inputs[0], node.outputs[0], tangents[0]
    assert x is not None and t is not None
    if y.shape is None:
        ctx.memo(observe_shapes, lambda: _observe_all(node))
    source, target = static_shape(x), static_shape(y)
    kept = _behind_the_first(source, target)
    if kept is not None:
        return [ctx.op("Reshape", t, ints(ctx, 0, 0, *kept))]
    t = ctx.full(t, x)
    if target is not None and target.count(None) <= 1:
        return [ctx.op("Reshape", t, ints(ctx, ctx.K, *(-1 if size is None else size for size in target)))]
    return [ctx.op("Reshape", t, prepended(ctx, ctx.K, ctx.shape_of(y)))]


def _observe_all(node: "ir.Node") -> None:
    """Look up what inference lost at this node and behind it, once a graph."""
    graph = node.graph
    if graph is not None and not isinstance(graph, import_onnx_ir().Function):
        observe_shapes(graph, [value for each in graph for value in each.outputs])


def _behind_the_first(
    source: tuple[int | None, ...] | None, target: tuple[int | None, ...] | None
) -> list[int] | None:
    """Return the sizes of the target after its first if they share the source's first axis, else None."""
    if not source or not target:
        return None
    before = [size for size in source[1:] if size is not None]
    after = [size for size in target[1:] if size is not None]
    whole = len(before) == len(source) - 1 and len(after) == len(target) - 1
    return after if whole and 0 < prod(before) == prod(after) else None


@rule("Transpose")
def transpose(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The directions stay in front."""
    x, t = node.inputs[0], tangents[0]
    assert x is not None and t is not None
    order = attribute(node, "perm", None) or reversed(range(ctx.rank(x)))
    moved = [int(axis) for axis in order]
    if moved and moved[0] != 0:
        t = ctx.full(t, x)
    return [ctx.op("Transpose", t, perm=[0, *(axis + 1 for axis in moved)])]


@rule("Squeeze")
def squeeze(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same axes."""
    x, t = node.inputs[0], tangents[0]
    assert x is not None and t is not None
    axes = axes_of(ctx, node, 1, ctx.rank(x))
    if axes is None:
        shape = ctx.shape(x)
        if None in shape:
            raise UnsupportedGraphError(
                f"{describe(node)} squeezes every axis of size 1, and {x.name!r} has sizes that only a run "
                "knows; export the classifier with the axes named"
            )
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    return [ctx.op("Squeeze", t, ints(ctx, *(axis + 1 for axis in axes))) if axes else t]


@rule("Unsqueeze")
def unsqueeze(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The same axes."""
    x, t = node.inputs[0], tangents[0]
    assert x is not None and t is not None
    array = constant_input(ctx, node, 1, "axes")
    rank = ctx.rank(x) + array.size
    axes = [int(axis) % rank for axis in array.ravel()]
    if 0 in axes:
        t = ctx.full(t, x)
    return [ctx.op("Unsqueeze", t, ints(ctx, *(axis + 1 for axis in axes)))]


@rule("Expand")
def expand(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same expansion."""
    x, y, t, wanted = node.inputs[0], node.outputs[0], tangents[0], node.inputs[1]
    assert x is not None and wanted is not None and t is not None
    more = ctx.rank(y) - ctx.rank(x)
    if more:
        t = ctx.aligned(ctx.full(t, x), ctx.rank(x), ctx.rank(y))
    shape = static_shape(y)
    if shape and None not in shape[1:]:
        behind = [size for size in shape[1:] if size is not None]
        # The first axis is left alone where it is as long as before, and where all samples share a tangent.
        if ctx.is_narrow(t) or (not more and _same_first(x, y)):
            return [ctx.op("Expand", t, ints(ctx, 1, 1, *behind))]
        if shape[0] is not None:
            return [ctx.op("Expand", t, ints(ctx, 1, shape[0], *behind))]
    return [ctx.op("Expand", t, prepended(ctx, 1, wanted))]


def _same_first(x: "ir.Value", y: "ir.Value") -> bool:
    """Tell whether two tensors are known to be equally long along their first axes."""
    if not x.shape or not y.shape:
        return False
    one, other = x.shape[0], y.shape[0]
    return one == other and (isinstance(one, int) or one.value is not None)


@rule("Tile")
def tile(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same repeats, once along the directions."""
    x, repeats, t = node.inputs[0], node.inputs[1], tangents[0]
    assert x is not None and repeats is not None and t is not None
    array = ctx.const_value(repeats)
    if array is None or array.size == 0 or array.ravel()[0] != 1:
        t = ctx.full(t, x)
    return [ctx.op("Tile", t, prepended(ctx, 1, repeats))]


@rule("DepthToSpace", "SpaceToDepth")
def blocks(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same operator on directions and images in one axis."""
    x, y, t = node.inputs[0], node.outputs[0], tangents[0]
    assert x is not None and t is not None
    size = int(attribute(node, "blocksize", 1))
    merged = ctx.merged(t, x)
    if node.op_type == "SpaceToDepth":
        return [ctx.split(ctx.op("SpaceToDepth", merged, blocksize=size), y)]
    mode = str(attribute(node, "mode", "DCR"))
    return [ctx.split(ctx.op("DepthToSpace", merged, blocksize=size, mode=mode), y)]
