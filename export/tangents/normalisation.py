"""Tangents of normalisations.

With xhat = (x - mean) r, r = 1 / sqrt(variance + epsilon), the mean over the normalised axes:

    d xhat = (t - mean(t) - xhat mean(xhat t)) r

and without the two terms of the mean where it is not subtracted (RMSNormalization).
"""

from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import attribute, describe
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.parameters import (
    attributes_of,
    require_constant_parameters,
    require_single_output,
)
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir


@rule("BatchNormalization")
def batch_normalisation(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The same normalisation without its means and biases, so that it folds into a convolution before it."""
    t = require_constant_parameters(node, tangents)
    if attribute(node, "training_mode", 0):
        raise UnsupportedGraphError(
            f"{describe(node)} must use its running statistics to be differentiated; got one in training "
            "mode; export the classifier in eval mode"
        )
    require_single_output(node)
    x, scale, variance = node.inputs[0], node.inputs[1], node.inputs[4]
    assert x is not None and scale is not None and variance is not None
    known = ctx.const_value(scale)
    zeros = ctx.op("Sub", scale, scale) if known is None else ctx.constant(np.zeros_like(known))
    inputs = (ctx.merged(t, x), scale, zeros, zeros, variance)
    settings = attributes_of(node, "training_mode", "momentum")
    return [ctx.split(ctx.op("BatchNormalization", *inputs, **settings), node.outputs[0])]


@rule("InstanceNormalization")
def instance_normalisation(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """Normalised over the positions of each channel."""
    t = require_constant_parameters(node, tangents)
    x, scale = node.inputs[0], node.inputs[1]
    assert x is not None and scale is not None
    rank = ctx.rank(x)
    per_channel = _per_channel(ctx, scale, rank)
    return [_normalised(ctx, node, x, t, range(2, rank), 1e-5, per_channel)]


@rule("LayerNormalization", "RMSNormalization")
def layer_normalisation(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """Normalised over the axes from ``axis`` on."""
    t = require_constant_parameters(node, tangents)
    require_single_output(node)
    x, scale = node.inputs[0], node.inputs[1]
    assert x is not None and scale is not None
    rank = ctx.rank(x)
    axis = int(attribute(node, "axis", -1)) % rank
    centred = node.op_type == "LayerNormalization"
    return [_normalised(ctx, node, x, t, range(axis, rank), 1e-5, scale, centred=centred)]


@rule("GroupNormalization")
def group_normalisation(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """Normalised over groups of channels, with one scale per channel (opset 21)."""
    t = require_constant_parameters(node, tangents)
    x, scale = node.inputs[0], node.inputs[1]
    assert x is not None and scale is not None
    groups = int(attribute(node, "num_groups", 1))
    grouped = ctx.op("Reshape", x, ctx.constant(np.array([0, groups, -1], np.int64)))
    split = ctx.op("Reshape", t, ctx.constant(np.array([0, 0, groups, -1], np.int64)))
    result = ctx.as_tangent(_normalised(ctx, node, grouped, split, [2], 1e-5, None, like=x), x)
    return [ctx.times(result, _per_channel(ctx, scale, ctx.rank(x)))]


def _normalised(
    ctx: RuleContext,
    node: "ir.Node",
    x: "ir.Value",
    t: "ir.Value",
    axes: "Sequence[int]",
    epsilon: float,
    scale: "ir.Value | None",
    *,
    centred: bool = True,
    like: "ir.Value | None" = None,
) -> "ir.Value":
    """Return the tangent of scale * xhat.

    Args:
        ctx: the rule's context.
        node: for its epsilon.
        x: the input.
        t: its tangent.
        axes: the normalised axes of x.
        epsilon: where the node gives none.
        scale: broadcast to x; None for none.
        centred: whether the mean is subtracted.
        like: a tensor of x's type, where x itself is new.
    """
    axes = list(axes)
    number = ctx.number(float(attribute(node, "epsilon", epsilon)), x if like is None else like)
    centre = ctx.op("Sub", x, ctx.reduce("ReduceMean", x, axes)) if centred else x
    variance = ctx.reduce("ReduceMean", ctx.op("Mul", centre, centre), axes)
    r = ctx.op("Reciprocal", ctx.op("Sqrt", ctx.op("Add", variance, number)))
    xhat = ctx.op("Mul", centre, r)
    shifted = [axis + 1 for axis in axes]
    moved = ctx.op("Mul", xhat, ctx.reduce("ReduceMean", ctx.op("Mul", t, xhat), shifted))
    if centred:
        moved = ctx.op("Add", moved, ctx.reduce("ReduceMean", t, shifted))
    gain = r if scale is None else ctx.op("Mul", r, scale)
    return ctx.times(ctx.op("Sub", t, moved), gain)


def _per_channel(ctx: RuleContext, values: "ir.Value", rank: int) -> "ir.Value":
    """Return one value per channel in a shape to broadcast with ``[B, C, ...]`` of ``rank``."""
    shape = [-1, *[1] * (rank - 2)]
    known = ctx.const_value(values)
    if known is not None:
        return ctx.constant(known.reshape(shape))
    return ctx.op("Reshape", values, ctx.constant(np.array(shape, np.int64)))
