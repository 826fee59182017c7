"""Resize to whole pixels, then cut, as nodes: what deployed code does with Pillow, to its rounding.

Pillow resizes columns first, and rounds to whole values after each of its two passes. Here it is done alike,
or a logit would differ by the noise of that rounding. The other fits, which are not copied from anybody, take
rows first and round nothing, because that is faster.
"""

from typing import TYPE_CHECKING

from edgeosr.export.front_end.nodes import ints, list_of, merged, reach, real, sliced, whole
from edgeosr.export.front_end.resampling import (
    BLOCK,
    Bands,
    GraphAxis,
    fixed_bands,
    graph_bands,
    graph_support,
    resample,
)
from edgeosr.export.graph.writer import NodeWriter
from edgeosr.preprocessing import Fit, Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir

# Halves are common, because weights are ratios of small numbers. A little more rounds them up on every back
# end, whatever the last bits of its arithmetic.
HALF = 0.5 + 1e-3


def resized_cut(
    writer: NodeWriter, frames: "ir.Value", preprocessing: Preprocessing, frame: tuple[int, int] | None
) -> "ir.Value":
    """Resize frames and cut the network's input out of their middle.

    Args:
        writer: where the nodes go.
        frames: uint8 ``[batch, height, width, 3]``.
        preprocessing: with ``resize_to``.
        frame: (height, width) of the frames; None for any size.

    Returns:
        float32 ``[batch, 3, preprocessing.height, preprocessing.width]``, whole numbers of 0..255.
    """
    image = writer.op("Cast", frames, to=1)
    network = (preprocessing.height, preprocessing.width)
    if frame is None:
        image, bands = _of_any_size(writer, image, preprocessing)
    else:
        image, bands = _of_one_size(writer, image, preprocessing, frame)
    rows, columns = bands
    if columns is not None:
        image = _pass(writer, writer.op("Transpose", image, perm=[0, 2, 1, 3]), columns, network[1])
        image = writer.op("Transpose", image, perm=[0, 2, 1, 3])
    if rows is not None:
        image = _pass(writer, image, rows, network[0])
    return writer.op("Transpose", image, perm=[0, 3, 1, 2])


def _of_one_size(
    writer: NodeWriter, image: "ir.Value", preprocessing: Preprocessing, frame: tuple[int, int]
) -> "tuple[ir.Value, list[Bands | None]]":
    """Return what the filter can reach, and its two passes; None for one that only copies."""
    axes = preprocessing.axes(*frame)
    copied = [axis.extent == axis.length and float(axis.start).is_integer() for axis in axes]
    kept = [reach(axis, size, copy) for axis, size, copy in zip(axes, frame, copied, strict=True)]
    if kept != [(0, frame[0]), (0, frame[1])]:
        image = sliced(writer, image, [first for first, _ in kept], [last for _, last in kept], [1, 2])
    return image, [
        None if copy else fixed_bands(writer, axis, *part)
        for axis, copy, part in zip(axes, copied, kept, strict=True)
    ]


def _of_any_size(
    writer: NodeWriter, image: "ir.Value", preprocessing: Preprocessing
) -> "tuple[ir.Value, list[Bands | None]]":
    assert preprocessing.resize_to is not None
    shape = writer.op("Shape", image)
    sizes = [writer.op("Gather", shape, whole(writer, axis), axis=0) for axis in (1, 2)]
    network = (preprocessing.height, preprocessing.width)
    axes = _resized_axes(writer, sizes, network, preprocessing.resize_to, preprocessing.fit)
    ends = [
        writer.op("Concat", *(list_of(writer, writer.op("Cast", end, to=7)) for end in pair), axis=0)
        for pair in ((axes[0].first, axes[1].first), (axes[0].last, axes[1].last))
    ]
    image = writer.op("Slice", image, *ends, ints(writer, 1, 2))
    return image, [graph_bands(writer, axis) for axis in axes]


def _pass(writer: NodeWriter, image: "ir.Value", bands: Bands, length: int) -> "ir.Value":
    """Resample axis 1 of ``[batch, from, other, 3]``, and round: values are never negative."""
    image = merged(writer, resample(writer, image, bands), [bands.rows, -1, 3])
    if length % BLOCK:
        image = sliced(writer, image, [0], [length], [1])
    return writer.op("Floor", writer.op("Add", image, real(writer, HALF)))


def _resized_axes(
    writer: NodeWriter, sizes: list["ir.Value"], network: tuple[int, int], side: int, fit: Fit
) -> list[GraphAxis]:
    """The cut of each axis, its place in whole numbers like that of ``Preprocessing.axes``."""
    op, zero = writer.op, real(writer, 0)
    shorter = op("Min", *sizes)
    axes = []
    for pixels, size in zip(sizes, network, strict=True):
        resized = whole(writer, side)
        if fit == "crop":
            resized = op("Div", op("Mul", pixels, whole(writer, side)), shorter)
        spare = op("Sub", resized, whole(writer, size))
        # Half of it, rounded to the even neighbour: see even_half.
        fours = op("Mul", op("Div", spare, whole(writer, 4)), whole(writer, 4))
        odd = op("Div", op("Sub", spare, fours), whole(writer, 3))
        begin = op("Div", op("Add", spare, odd), whole(writer, 2))
        frame = op("Cast", pixels, to=1)
        scale = op("Div", frame, op("Cast", resized, to=1))
        start = op("Mul", op("Cast", begin, to=1), scale)
        support = graph_support(writer, scale)
        first = op("Max", op("Floor", op("Sub", start, support)), zero)
        after = op("Sub", op("Sub", frame, start), op("Mul", scale, real(writer, size)))
        last = op("Sub", frame, op("Max", op("Floor", op("Sub", after, support)), zero))
        axes.append(GraphAxis(start, scale, support, first, last, size))
    return axes
