"""Tangents of pools: a mean is linear; a maximum hands on the tangent of the first position that has it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import attribute, describe
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.parameters import attributes_of, require_single_output
from edgeosr.export.tangents.rules import rule

if TYPE_CHECKING:
    import onnx_ir as ir

_FAR = np.iinfo(np.int64).max


@rule("AveragePool", "GlobalAveragePool")
def average_pool(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The same pool."""
    x, t = node.inputs[0], tangents[0]
    assert x is not None and t is not None
    pooled = ctx.op(node.op_type, ctx.merged(t, x), **attributes_of(node))
    return [ctx.split(pooled, node.outputs[0])]


@rule("GlobalMaxPool")
def global_max_pool(
    ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]"
) -> "list[ir.Value | None]":
    """The tangent where the first maximum is."""
    x, t, y = node.inputs[0], tangents[0], node.outputs[0]
    assert x is not None and t is not None
    t = ctx.full(t, x)
    flat = ctx.op("Reshape", x, ctx.constant(np.array([0, 0, -1], np.int64)))
    rows = ctx.op("Reshape", t, ctx.constant(np.array([0, 0, 0, -1], np.int64)))
    where = ctx.op("ArgMax", flat, axis=2, keepdims=1)
    repeated = ctx.op("Expand", where, ctx.constant(np.array([ctx.K, 1, 1, 1], np.int64)))
    return [ctx.as_tangent(ctx.op("GatherElements", rows, repeated, axis=3), y)]


@rule("MaxPool")
def max_pool(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """The tangent where the first maximum of each window is.

    One axis after the other: the larger of two neighbours, and the tangent of that one. Slices and
    comparisons only, because TensorRT has no MaxPool with Indices.
    """
    x, t = node.inputs[0], tangents[0]
    assert x is not None and t is not None
    require_single_output(node)
    window = _window(ctx, node, x)
    if window.padded:
        begins, ends = ([0, 0, *sides] for sides in (window.begins, window.ends))
        lowest = ctx.number(-np.inf, x)
        x = ctx.op("Pad", x, ctx.constant(np.array([*begins, *ends], np.int64)), lowest)
        t = ctx.op("Pad", t, ctx.constant(np.array([0, *begins, 0, *ends], np.int64)), ctx.number(0.0, x))
    # The last axis first: of equal values in a window torch takes the first, row by row.
    for axis in reversed(range(window.axes)):
        places = [_slice_bounds(window, axis, offset) for offset in range(window.kernel[axis])]
        values = [_sliced(ctx, x, axis + 2, place) for place in places]
        moved = [_sliced(ctx, t, axis + 3, place) for place in places]
        x, t = values[0], moved[0]
        for value, tangent in zip(values[1:], moved[1:], strict=True):
            t = ctx.op("Where", ctx.op("Greater", value, x), tangent, t)
            x = ctx.op("Max", x, value)
    return [t]


@rule("LpPool")
def lp_pool(ctx: RuleContext, node: "ir.Node", tangents: "list[ir.Value | None]") -> "list[ir.Value | None]":
    """Y^(1-p) times the sum of sign(x) |x|^(p-1) t over the window; 0 where y is 0."""
    x, t, y = node.inputs[0], tangents[0], node.outputs[0]
    assert x is not None and t is not None
    channels, power = ctx.shape(x)[1], int(attribute(node, "p", 2))
    if channels is None or attribute(node, "ceil_mode", 0):
        raise UnsupportedGraphError(
            f"{describe(node)} must have fixed channels and ceil_mode 0 to be differentiated; got "
            f"{channels} channels and ceil_mode {attribute(node, 'ceil_mode', 0)}; use another pool"
        )
    weight = ctx.op("Sign", x) if power != 2 else x
    if power > 2:
        lifted = ctx.op("Pow", ctx.op("Abs", x), ctx.number(power - 1.0, x))
        weight = ctx.op("Mul", weight, lifted)
    kernel = list(attribute(node, "kernel_shape", []))
    ones = np.ones((channels, 1, *kernel), np.float32 if x.dtype is None else x.dtype.numpy())
    settings = attributes_of(node, "p", "ceil_mode")
    summed = ctx.op(
        "Conv", ctx.merged(ctx.times(t, weight), x), ctx.constant(ones), group=channels, **settings
    )
    t = ctx.split(summed, y)
    if power == 1:
        return [t]
    zero, one = ctx.number(0.0, x), ctx.number(1.0, x)
    nothing = ctx.op("Equal", y, zero)
    inverse = ctx.op("Pow", ctx.op("Where", nothing, one, y), ctx.number(1.0 - power, x))
    return [ctx.times(t, ctx.op("Where", nothing, zero, inverse))]


@dataclass(frozen=True)
class _Window:
    """The geometry of a pool, per spatial axis; ``ends`` reaches to the last window."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begins: list[int]
    ends: list[int]

    @property
    def axes(self) -> int:
        return len(self.kernel)

    @property
    def padded(self) -> bool:
        return any(self.begins) or any(self.ends)


def _window(ctx: RuleContext, node: "ir.Node", x: "ir.Value") -> _Window:
    kernel = list(attribute(node, "kernel_shape", []))
    axes = len(kernel)
    strides = list(attribute(node, "strides", [1] * axes))
    dilations = list(attribute(node, "dilations", [1] * axes))
    pads = list(attribute(node, "pads", [0] * (2 * axes)))
    auto_pad = str(attribute(node, "auto_pad", "NOTSET"))
    begins, ends = (pads[:axes], pads[axes:]) if auto_pad == "NOTSET" else ([0] * axes, [0] * axes)
    same, rounds_up = auto_pad.startswith("SAME"), bool(attribute(node, "ceil_mode", 0))
    if not rounds_up and not same:
        return _Window(kernel, strides, dilations, begins, ends)
    sizes = ctx.shape(x)[2:]
    for axis, size in enumerate(sizes):
        if size is None:
            raise UnsupportedGraphError(
                f"the input of {describe(node)} must have fixed sizes to be differentiated, because the pool "
                f"rounds its output up; got {x.shape}; export the classifier again with fixed sizes"
            )
        span, stride = dilations[axis] * (kernel[axis] - 1) + 1, strides[axis]
        if same:
            missing = max(0, (-(-size // stride) - 1) * stride + span - size)
            begins[axis] = missing // 2 if auto_pad == "SAME_UPPER" else missing - missing // 2
            ends[axis] = missing - begins[axis]
            continue
        windows = -(-(size + begins[axis] + ends[axis] - span) // stride) + 1
        if (windows - 1) * stride >= size + begins[axis]:  # the last one would see padding alone
            windows -= 1
        ends[axis] = max(ends[axis], (windows - 1) * stride + span - size - begins[axis])
    return _Window(kernel, strides, dilations, begins, ends)


def _slice_bounds(window: _Window, axis: int, offset: int) -> tuple[int, int, int]:
    """Return (start, end, step) of what lies at ``offset`` in every window along one axis."""
    dilation = window.dilations[axis]
    left = dilation * (window.kernel[axis] - 1 - offset)
    return dilation * offset, -left if left else _FAR, window.strides[axis]


def _sliced(ctx: RuleContext, value: "ir.Value", axis: int, bounds: tuple[int, int, int]) -> "ir.Value":
    start, end, step = (ctx.constant(np.array([number], np.int64)) for number in bounds)
    return ctx.op("Slice", value, start, end, ctx.constant(np.array([axis], np.int64)), step)
