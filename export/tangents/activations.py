"""Tangents of activations: the input's tangent times the derivative, read from the output where it can be.

A derivative that is read from the output leaves the activation as the only reader of its input, so that a
runtime can fuse it with the convolution before it. At a kink it is what torch's autograd gives
(``edgeosr.scoring.activations``).
"""

from collections.abc import Callable
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import attribute, describe, input_of
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir

    Slope = Callable[["_Formula"], ir.Value]

_HUGE = 1e30  # a bound of Clip beyond this bounds nothing
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # ONNX's defaults


class _Formula:
    """A derivative in the making, from x and y = f(x). Plain numbers are constants."""

    def __init__(self, ctx: RuleContext, node: "ir.Node") -> None:
        x = node.inputs[0]
        assert x is not None
        self.ctx, self.node, self.x, self.y = ctx, node, x, node.outputs[0]

    def op(self, op_type: str, *inputs: "ir.Value | float") -> "ir.Value":
        edges = [self.ctx.number(edge, self.x) if isinstance(edge, float) else edge for edge in inputs]
        return self.ctx.op(op_type, *edges)

    def setting(self, name: str, default: float) -> float:
        return float(attribute(self.node, name, default))


def _relu(f: _Formula) -> "ir.Value":
    # onnxruntime's Greater and Cast take half the time of its Sign.
    return f.ctx.cast_like(f.op("Greater", f.y, 0.0), f.x)


def _leaky_relu(f: _Formula) -> "ir.Value":
    alpha = f.setting("alpha", 0.01)
    # With a slope from 0 on, the output has the sign of the input.
    return f.op("Where", f.op("Greater", f.y if alpha >= 0 else f.x, 0.0), 1.0, alpha)


def _elu(f: _Formula) -> "ir.Value":
    alpha = f.setting("alpha", 1.0)
    if alpha >= 0:  # alpha exp(x) = y + alpha below 0
        return f.op("Where", f.op("Greater", f.y, 0.0), 1.0, f.op("Add", f.y, alpha))
    below = f.op("Mul", f.op("Exp", f.op("Min", f.x, 0.0)), alpha)
    return f.op("Where", f.op("Greater", f.x, 0.0), 1.0, below)


def _selu(f: _Formula) -> "ir.Value":
    alpha, gamma = f.setting("alpha", _SELU_ALPHA), f.setting("gamma", _SELU_GAMMA)
    below = f.op("Mul", f.op("Exp", f.op("Min", f.x, 0.0)), alpha * gamma)
    return f.op("Where", f.op("Greater", f.x, 0.0), gamma, below)


def _celu(f: _Formula) -> "ir.Value":
    return f.op("Exp", f.op("Min", f.op("Mul", f.x, 1 / f.setting("alpha", 1.0)), 0.0))


def _sigmoid(f: _Formula) -> "ir.Value":
    return f.op("Sub", f.y, f.op("Mul", f.y, f.y))


def _hard_sigmoid(f: _Formula) -> "ir.Value":
    inside = f.op("And", f.op("Greater", f.y, 0.0), f.op("Less", f.y, 1.0))
    return f.op("Where", inside, f.setting("alpha", 0.2), 0.0)


def _hard_swish(f: _Formula) -> "ir.Value":
    slope = f.op("Add", f.op("Mul", f.x, 1 / 3), 0.5)
    inside = f.op("Where", f.op("Greater", f.x, -3.0), slope, 0.0)
    return f.op("Where", f.op("Less", f.x, 3.0), inside, 1.0)


def _swish(f: _Formula) -> "ir.Value":
    alpha = f.setting("alpha", 1.0)
    gate = f.op("Sigmoid", f.op("Mul", f.x, alpha))
    bend = f.op("Mul", f.op("Mul", f.y, alpha), f.op("Sub", 1.0, gate))
    return f.op("Add", gate, bend)


def _mish(f: _Formula) -> "ir.Value":
    t = f.op("Tanh", f.op("Softplus", f.x))
    gate = f.op("Mul", f.op("Mul", f.x, f.op("Sigmoid", f.x)), f.op("Sub", 1.0, f.op("Mul", t, t)))
    return f.op("Add", t, gate)


def _gelu(f: _Formula) -> "ir.Value":
    if attribute(f.node, "approximate", "none") == "tanh":
        return _gelu_tanh(f)
    error = f.op("Erf", f.op("Mul", f.x, 1 / sqrt(2)))
    cumulative = f.op("Mul", f.op("Add", error, 1.0), 0.5)
    density = f.op("Exp", f.op("Mul", f.op("Mul", f.x, f.x), -0.5))
    return f.op("Add", cumulative, f.op("Mul", f.op("Mul", f.x, density), 1 / sqrt(2 * pi)))


def _gelu_tanh(f: _Formula) -> "ir.Value":
    # Beyond |x| = 12 the derivative is 0 or 1 in fp32; without the bound x^2 (1 - t^2) is inf * 0 there.
    x = f.op("Min", f.op("Max", f.x, -12.0), 12.0)
    factor, cubic = sqrt(2 / pi), 0.044715
    square = f.op("Mul", x, x)
    inner = f.op("Add", f.op("Mul", square, factor * cubic), factor)
    t = f.op("Tanh", f.op("Mul", x, inner))
    slope = f.op("Add", f.op("Mul", square, 3 * factor * cubic), factor)
    weighted = f.op("Mul", f.op("Mul", x, slope), f.op("Sub", 1.0, f.op("Mul", t, t)))
    return f.op("Mul", f.op("Add", f.op("Add", t, weighted), 1.0), 0.5)


def _tanh(f: _Formula) -> "ir.Value":
    return f.op("Sub", 1.0, f.op("Mul", f.y, f.y))


def _softplus(f: _Formula) -> "ir.Value":
    return f.op("Sigmoid", f.x)


def _softsign(f: _Formula) -> "ir.Value":
    rest = f.op("Sub", 1.0, f.op("Abs", f.y))  # 1 / (1 + |x|)
    return f.op("Mul", rest, rest)


_SLOPES: "dict[str, Slope]" = {
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "Sigmoid": _sigmoid,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Swish": _swish,
    "Mish": _mish,
    "Gelu": _gelu,
    "Tanh": _tanh,
    "Softplus": _softplus,
    "Softsign": _softsign,
}


@rule(*_SLOPES)
def activation(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """T f'(x)."""
    t = tangents[0]
    assert t is not None
    return [ctx.times(t, _SLOPES[node.op_type](_Formula(ctx, node)))]


@rule("PRelu")
def prelu(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """t_x (1 above 0, else the slope) + t_slope min(x, 0)."""
    f = _Formula(ctx, node)
    slope = node.inputs[1]
    assert slope is not None
    terms = []
    if tangents[0] is not None:
        terms.append(ctx.times(tangents[0], f.op("Where", f.op("Greater", f.x, 0.0), 1.0, slope)))
    if tangents[1] is not None:
        t = ctx.aligned(tangents[1], ctx.rank(slope), ctx.rank(f.y))
        terms.append(ctx.times(t, f.op("Min", f.x, 0.0)))
    return [terms[0] if len(terms) == 1 else ctx.plus(*terms)]


@rule("Clip")
def clip(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The tangent strictly between the bounds, 0 at them and outside."""
    t = tangents[0]
    if t is None or any(other is not None for other in tangents[1:]):
        raise UnsupportedGraphError(
            f"the bounds of {describe(node)} must not depend on the image to be differentiated; got bounds "
            "computed from it; choose a cut behind this node"
        )
    f = _Formula(ctx, node)
    low, high = (_bound(ctx, input_of(node, index)) for index in (1, 2))
    conditions = []
    if low is not None:
        conditions.append(ctx.op("Greater", f.y, low))
    if high is not None:
        conditions.append(ctx.op("Less", f.y, high))
    if not conditions:
        return [t]
    inside = conditions[0] if len(conditions) == 1 else ctx.op("And", *conditions)
    return [ctx.times(t, ctx.cast_like(inside, f.x))]


def _bound(ctx: RuleContext, value: "ir.Value | None") -> "ir.Value | None":
    """Return a bound that bounds something."""
    known = ctx.const_value(value)
    return None if known is not None and np.abs(np.asarray(known, np.float64)) > _HUGE else value
