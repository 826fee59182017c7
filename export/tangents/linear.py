"""Tangents of products: each side that varies adds one product."""

import string
from functools import reduce
from typing import TYPE_CHECKING

from edgeosr.export.graph.reading import attribute
from edgeosr.export.tangents.axes import ints
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir


@rule("MatMul")
def matmul(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """d(A B) = dA B + A dB; vectors and leading axes broadcast as MatMul has them."""
    a, b = node.inputs
    assert a is not None and b is not None
    rank_a, rank_b = ctx.rank(a), ctx.rank(b)
    rank = max(rank_a, rank_b, 2)
    terms = []
    if tangents[0] is not None:
        # A narrow tangent's first axis must not be summed, and must stay the first axis of the product.
        stays = rank_a > 1 and (rank_a >= rank_b if ctx.is_narrow(b) else rank_a == rank_b > 2)
        t = tangents[0] if stays else ctx.full(tangents[0], a)
        if rank_a == 1 and rank_b > 2:
            row = ctx.op("MatMul", ctx.aligned(t, 1, rank), b)
            terms.append(ctx.op("Squeeze", row, ints(ctx, -2)))
        else:
            terms.append(ctx.op("MatMul", ctx.aligned(t, max(rank_a, 2), rank_b), b))
    if tangents[1] is not None:
        stays = rank_b > 2 and (rank_b >= rank_a if ctx.is_narrow(a) else rank_b == rank_a)
        t = tangents[1] if stays else ctx.full(tangents[1], b)
        if rank_b == 1:
            t = ctx.op("Unsqueeze", t, ints(ctx, *range(1, rank - 1), rank))
            terms.append(ctx.op("Squeeze", ctx.op("MatMul", a, t), ints(ctx, -1)))
        else:
            terms.append(ctx.op("MatMul", a, ctx.aligned(t, rank_b, rank_a)))
    return [_total(ctx, terms)]


@rule("Gemm")
def gemm(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """For Y = alpha A' B' + beta C: alpha dA' B' + alpha A' dB' + beta dC, transposed as the node says."""
    a, b, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert a is not None and b is not None
    alpha, beta = float(attribute(node, "alpha", 1.0)), float(attribute(node, "beta", 1.0))
    flip_a, flip_b = bool(attribute(node, "transA", 0)), bool(attribute(node, "transB", 0))
    terms = []
    if tangents[0] is not None and not flip_a:
        t = tangents[0] if ctx.is_narrow(b) else ctx.full(tangents[0], a)
        product = ctx.op("Gemm", ctx.merged(t, a), b, alpha=alpha, transB=int(flip_b))
        terms.append(ctx.split(product, y))
    elif tangents[0] is not None:
        left = ctx.op("Transpose", ctx.full(tangents[0], a), perm=[0, 2, 1])
        right = ctx.op("Transpose", b, perm=[1, 0]) if flip_b else b
        terms.append(_scaled(ctx, ctx.op("MatMul", left, right), alpha, y))
    if tangents[1] is not None:
        left = ctx.op("Transpose", a, perm=[1, 0]) if flip_a else a
        right = ctx.full(tangents[1], b)
        if flip_b:
            right = ctx.op("Transpose", right, perm=[0, 2, 1])
        terms.append(_scaled(ctx, ctx.op("MatMul", left, right), alpha, y))
    if len(tangents) > 2 and tangents[2] is not None:
        c = node.inputs[2]
        assert c is not None
        t = ctx.aligned(ctx.full(tangents[2], c), ctx.rank(c), 2)
        if not terms:
            t = ctx.op("Expand", t, ctx.shape_of(y))
        terms.append(_scaled(ctx, t, beta, y))
    return [_total(ctx, terms)]


@rule("Einsum")
def einsum(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """For each operand the same sum with its tangent in its place; a new letter stands for the directions."""
    equation = str(attribute(node, "equation", "")).replace(" ", "")
    left, arrow, output = equation.partition("->")
    operands = left.split(",")
    if not arrow:  # the letters that appear once, in order, behind what an ellipsis stands for
        letters = sorted(
            letter for letter in set(left) & set(string.ascii_letters) if left.count(letter) == 1
        )
        output = ("..." if "..." in left else "") + "".join(letters)
    direction = next(letter for letter in string.ascii_letters if letter not in equation)
    terms = []
    for place, t in enumerate(tangents):
        if t is None:
            continue
        values = list(node.inputs)
        own = values[place]
        assert own is not None
        values[place] = ctx.full(t, own)
        sides = [direction + operand if i == place else operand for i, operand in enumerate(operands)]
        changed = f"{','.join(sides)}->{direction}{output}"
        terms.append(ctx.op("Einsum", *(v for v in values if v is not None), equation=changed))
    return [_total(ctx, terms)]


def _scaled(ctx: RuleContext, t: "ir.Value", factor: float, like: "ir.Value") -> "ir.Value":
    return t if factor == 1 else ctx.times(t, ctx.number(factor, like))


def _total(ctx: RuleContext, terms: "list[ir.Value]") -> "ir.Value":
    return reduce(lambda total, term: ctx.op("Add", total, term), terms)
