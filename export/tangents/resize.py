"""Tangent of Resize: in every mode a fixed weighted sum of pixels, so the tangent is resized alike."""

from typing import TYPE_CHECKING

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import attribute, describe, input_of
from edgeosr.export.tangents.axes import from_front, ints
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir

_ROI, _SCALES, _SIZES = 1, 2, 3
# The extrapolation value is left out: outside of the picture the tangent is zero.
_ATTRIBUTES = (
    "antialias",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "keep_aspect_ratio_policy",
    "mode",
    "nearest_mode",
)
_AXES_SINCE = 18


@rule("Resize")
def resize(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The same Resize on directions and images in one axis."""
    x, y, t = node.inputs[0], node.outputs[0], tangents[0]
    if any(other is not None for other in tangents[1:]):
        raise UnsupportedGraphError(
            f"the region or size of {describe(node)} depends on the cut; it must not, to be differentiated"
        )
    assert x is not None and t is not None
    rank = ctx.rank(x)
    axes = attribute(node, "axes", None)
    scales, sizes, roi = (_given(ctx, node, index) for index in (_SCALES, _SIZES, _ROI))
    _require_whole_batch(ctx, node, scales, axes, rank)
    merged = ctx.merged(t, x)
    if sizes is not None and axes is None:
        if ctx.opset >= _AXES_SINCE and roi is None:
            axes, sizes = range(1, rank), _behind_the_first(ctx, sizes, rank)
        else:
            # The sizes begin with the batch's, and here directions and images share that axis.
            first = ctx.op("Gather", ctx.op("Shape", merged), ints(ctx, 0), axis=0)
            sizes = ctx.op("Concat", first, _behind_the_first(ctx, sizes, rank), axis=0)
    settings = {name: found.value for name in _ATTRIBUTES if (found := node.attributes.get(name)) is not None}
    if axes is not None:
        settings["axes"] = [int(axis) for axis in axes]
    inputs = [merged, roi, scales] if sizes is None else [merged, roi, scales, sizes]
    return [ctx.split(ctx.op("Resize", *inputs, **settings), y)]


def _given(ctx: RuleContext, node: "ir.Node", index: int) -> "ir.Value | None":
    """Return an input that says something: writers leave one out, or give it no elements."""
    value = input_of(node, index)
    array = None if value is None else ctx.const_value(value)
    return None if array is not None and array.size == 0 else value


def _require_whole_batch(
    ctx: RuleContext, node: "ir.Node", scales: "ir.Value | None", axes: "list[int] | None", rank: int
) -> None:
    array = None if scales is None else ctx.const_value(scales)
    if array is None:
        return
    numbers = range(rank) if axes is None else from_front(axes, rank)
    if any(axis == 0 and scale != 1 for axis, scale in zip(numbers, array.ravel(), strict=True)):
        raise UnsupportedGraphError(
            f"{describe(node)} resizes its first axis, the batch; only later axes can be differentiated"
        )


def _behind_the_first(ctx: RuleContext, sizes: "ir.Value", rank: int) -> "ir.Value":
    array = ctx.const_value(sizes)
    if array is not None:
        return ints(ctx, *array.ravel().tolist()[1:])
    return ctx.op("Slice", sizes, ints(ctx, 1), ints(ctx, rank))
