"""Tangents of convolutions: the same convolution without its bias, all directions in one batch."""

from typing import TYPE_CHECKING

from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.parameters import attributes_of, require_constant_parameters
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir


@rule("Conv", "ConvTranspose")
def convolution(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The same convolution without its bias."""
    t = require_constant_parameters(node, tangents)
    x, weight = node.inputs[0], node.inputs[1]
    assert x is not None and weight is not None
    merged = ctx.op(node.op_type, ctx.merged(t, x), weight, **attributes_of(node))
    return [ctx.split(merged, node.outputs[0])]
