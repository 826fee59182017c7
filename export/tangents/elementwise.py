"""Tangents of arithmetic, elementwise, with broadcasting."""

from collections.abc import Callable
from functools import reduce
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir

    Factor = Callable[[RuleContext, ir.Value, ir.Value], ir.Value]


@rule("Add", "Sum")
def add(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The sum of the tangents."""
    terms = _operands(ctx, node, tangents)
    total = reduce(ctx.plus, [t for t, _ in terms])
    return [ctx.spread(total, node.outputs[0], *[x for _, x in terms])]


@rule("Sub")
def sub(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The difference of the tangents."""
    terms = _operands(ctx, node, tangents)
    if len(terms) == 2:
        return [ctx.plus(terms[0][0], terms[1][0], minus=True)]
    t, x = terms[0]
    if tangents[0] is None:
        t = ctx.times(t, ctx.number(-1.0, x))
    return [ctx.spread(t, node.outputs[0], x)]


@rule("Mul")
def mul(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """t_a b + a t_b."""
    a, b = _pair(node)
    if a is b and tangents[0] is not None:
        return [ctx.times(tangents[0], ctx.op("Add", a, a))]
    rank = ctx.rank(node.outputs[0])
    terms = [
        ctx.times(ctx.aligned(t, ctx.rank(own), rank), other)
        for t, own, other in ((tangents[0], a, b), (tangents[1], b, a))
        if t is not None
    ]
    return [reduce(ctx.plus, terms)]


@rule("Div")
def div(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """(t_a - y t_b) / b."""
    (a, b), y = _pair(node), node.outputs[0]
    rank = ctx.rank(y)
    known = ctx.const_value(b)
    inverse = ctx.op("Reciprocal", b) if known is None else ctx.constant(np.reciprocal(np.asarray(known)))
    terms = []
    if tangents[0] is not None:
        terms.append(ctx.times(ctx.aligned(tangents[0], ctx.rank(a), rank), inverse))
    if tangents[1] is not None:
        slope = ctx.op("Neg", ctx.op("Mul", y, inverse))
        terms.append(ctx.times(ctx.aligned(tangents[1], ctx.rank(b), rank), slope))
    return [reduce(ctx.plus, terms)]


@rule("Pow")
def power(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """t_a b a^(b-1) + t_b y log a, without the NaN of 0 / 0 at a = 0, as torch has it."""
    (a, b), y = _pair(node), node.outputs[0]
    rank = ctx.rank(y)
    terms = []
    if tangents[0] is not None:
        t = ctx.aligned(tangents[0], ctx.rank(a), rank)
        factor = _power_slope(ctx, a, b)
        if factor is not None:
            terms.append(ctx.times(t, factor))
    if tangents[1] is not None:
        zero = ctx.number(0.0, a)
        log = ctx.op("Mul", y, ctx.op("Log", a))
        factor = ctx.op("Where", ctx.op("Equal", a, zero), zero, log)
        terms.append(ctx.times(ctx.aligned(tangents[1], ctx.rank(b), rank), factor))
    return [reduce(ctx.plus, terms) if terms else None]


def _power_slope(ctx: RuleContext, a: "ir.Value", b: "ir.Value") -> "ir.Value | None":
    known = ctx.const_value(b)
    exponents = None if known is None else np.unique(np.asarray(known, np.float64))
    if exponents is not None and exponents.size == 1 and known is not None and known.ndim == 0:
        if exponents[0] == 0:
            return None
        if exponents[0] == 2:
            return ctx.op("Add", a, a)
    exponent = ctx.cast_like(b, a) if b.dtype != a.dtype else b
    lower = ctx.op("Sub", exponent, ctx.number(1.0, a))
    slope = ctx.op("Mul", exponent, ctx.op("Pow", a, lower))
    if exponents is not None and 0 not in exponents:
        return slope
    zero = ctx.number(0.0, a)
    return ctx.op("Where", ctx.op("Equal", exponent, zero), zero, slope)


@rule("Max", "Min")
def extremum(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The tangent of the operand that wins; several that are equal share."""
    y = node.outputs[0]
    values = [value for value in node.inputs if value is not None]
    if len(values) == 1:
        return [tangents[0]]
    if len(values) == 2:
        return [_winner_of_two(ctx, node, tangents)]
    wins = [ctx.cast_like(ctx.op("Equal", value, y), y) for value in values]
    share = ctx.op("Reciprocal", ctx.op("Sum", *wins))
    rank = ctx.rank(y)
    terms = [
        ctx.times(ctx.aligned(t, ctx.rank(value), rank), ctx.op("Mul", win, share))
        for t, value, win in zip(tangents, values, wins, strict=True)
        if t is not None
    ]
    return [reduce(ctx.plus, terms)]


def _winner_of_two(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "ir.Value":
    """Return t_a (1 + s) / 2 + t_b (1 - s) / 2 with s the sign of a - b, turned for a minimum."""
    a, b = _pair(node)
    rank = ctx.rank(node.outputs[0])
    half = ctx.number(0.5, a)
    order = (a, b) if node.op_type == "Max" else (b, a)
    lean = ctx.op("Mul", ctx.op("Sign", ctx.op("Sub", *order)), half)
    terms = [
        ctx.times(ctx.aligned(t, ctx.rank(x), rank), ctx.op(op_type, half, lean))
        for t, x, op_type in ((tangents[0], a, "Add"), (tangents[1], b, "Sub"))
        if t is not None
    ]
    return reduce(ctx.plus, terms)


@rule("Where")
def where(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The tangent on the chosen side."""
    condition, y = node.inputs[0], node.outputs[0]
    assert condition is not None
    rank = ctx.rank(y)
    sides: list[ir.Value | None] = []
    for t, x in zip(tangents[1:], node.inputs[1:], strict=True):
        sides.append(None if t is None or x is None else ctx.aligned(t, ctx.rank(x), rank))
    chosen = ctx.choose(condition, *sides)
    used = [x for t, x in zip(sides, node.inputs[1:], strict=True) if t is not None and x is not None]
    return [ctx.spread(chosen, y, condition, *used)]


# f'(x) by operator, from x and y = f(x).
_SLOPES: "dict[str, Factor]" = {
    "Neg": lambda ctx, x, y: ctx.number(-1.0, x),
    "Abs": lambda ctx, x, y: ctx.op("Sign", x),
    "Reciprocal": lambda ctx, x, y: ctx.op("Neg", ctx.op("Mul", y, y)),
    "Sqrt": lambda ctx, x, y: ctx.op("Div", ctx.number(0.5, x), y),
    "Exp": lambda ctx, x, y: y,
    "Log": lambda ctx, x, y: ctx.op("Reciprocal", x),
    "Sin": lambda ctx, x, y: ctx.op("Cos", x),
    "Cos": lambda ctx, x, y: ctx.op("Neg", ctx.op("Sin", x)),
    "Erf": lambda ctx, x, y: ctx.op("Mul", _bell(ctx, x), ctx.number(2 / sqrt(pi), x)),
}


def _bell(ctx: RuleContext, x: "ir.Value") -> "ir.Value":
    return ctx.op("Exp", ctx.op("Neg", ctx.op("Mul", x, x)))


@rule(*_SLOPES)
def unary(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """T f'(x)."""
    (x,), (t,) = node.inputs, tangents
    assert x is not None and t is not None
    return [ctx.times(t, _SLOPES[node.op_type](ctx, x, node.outputs[0]))]


@rule("Ceil", "Floor", "Round", "Sign")
def steps(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """Zero wherever there is a derivative."""
    return [None]


def _pair(node: "ir.Node") -> "tuple[ir.Value, ir.Value]":
    a, b = node.inputs
    assert a is not None and b is not None
    return a, b


def _operands(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[tuple[ir.Value, ir.Value]]":
    """Return (tangent in the rank of the output, operand) for each operand that has a tangent."""
    rank = ctx.rank(node.outputs[0])
    pairs = zip(tangents, node.inputs, strict=True)
    return [(ctx.aligned(t, ctx.rank(x), rank), x) for t, x in pairs if t is not None and x is not None]
