"""Crop, stretch and letterbox as nodes: from uint8 frames to planes of the network's size.

Both passes run along axis 1 of ``[batch, length, ...]``: rows first, because a frame is stored by rows and
camera frames shrink, then columns after a transposition, because gathering whole rows of memory beats
gathering three values at a time. The frames are cast before anything else: gathering bytes and casting after
it would save a fifth of the time on a CPU, but TensorRT takes uint8 nowhere except as the input of a Cast.
"""

from typing import TYPE_CHECKING

import numpy as np

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
from edgeosr.export.front_end.resized_cut import resized_cut
from edgeosr.export.graph.writer import NodeWriter
from edgeosr.preprocessing import Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir


def fixed_resize(
    writer: NodeWriter, frames: "ir.Value", preprocessing: Preprocessing, frame: tuple[int, int]
) -> "ir.Value":
    """Resize frames of one size; all weights are constants, and an axis that only needs a cut is cut.

    Args:
        writer: where the nodes go.
        frames: uint8 ``[batch, *frame, 3]``.
        preprocessing: the network's size and the fit.
        frame: (height, width) in pixels.

    Returns:
        float32 ``[batch, 3, preprocessing.height, preprocessing.width]``, 0..255; borders 0.
    """
    if preprocessing.resize_to is not None:
        return resized_cut(writer, frames, preprocessing, frame)
    image = writer.op("Cast", frames, to=1)
    axes = preprocessing.axes(*frame)
    copied = [axis.extent == axis.length and float(axis.start).is_integer() for axis in axes]
    kept = [reach(axis, size, copy) for axis, size, copy in zip(axes, frame, copied, strict=True)]
    if not copied[0]:
        kept[0] = (0, frame[0])  # rows outside the crop are never gathered; cutting them off costs a copy
    if kept != [(0, frame[0]), (0, frame[1])]:
        image = sliced(writer, image, [first for first, _ in kept], [last for _, last in kept], [1, 2])
    if not copied[0]:
        bands = fixed_bands(writer, axes[0], *kept[0])
        image = merged(writer, resample(writer, image, bands), [bands.rows, -1, 3])
    if copied[1]:
        planes = writer.op("Transpose", image, perm=[0, 3, 1, 2])
    else:
        planes = _resample_columns(writer, image, fixed_bands(writer, axes[1], *kept[1]))
    if any(axis.length % BLOCK and not copy for axis, copy in zip(axes, copied, strict=True)):
        planes = sliced(writer, planes, [0, 0], [axis.length for axis in axes], [2, 3])
    before = [axis.offset for axis in axes]
    after = [
        size - axis.offset - axis.length
        for axis, size in zip(axes, (preprocessing.height, preprocessing.width), strict=True)
    ]
    if any(before + after):
        borders = np.array([0, 0, *before, 0, 0, *after], np.int64)
        planes = writer.op("Pad", planes, writer.constant(borders))
    return planes


def dynamic_resize(writer: NodeWriter, frames: "ir.Value", preprocessing: Preprocessing) -> "ir.Value":
    """Resize frames of any size; the weights are computed in the graph from the frames' shape.

    Args:
        writer: where the nodes go.
        frames: uint8 ``[batch, height, width, 3]``.
        preprocessing: the network's size and the fit.

    Returns:
        float32 ``[batch, 3, preprocessing.height, preprocessing.width]``, 0..255; borders 0.
    """
    if preprocessing.resize_to is not None:
        return resized_cut(writer, frames, preprocessing, None)
    image = writer.op("Cast", frames, to=1)
    network = (preprocessing.height, preprocessing.width)
    shape = writer.op("Shape", image)
    sizes = [writer.op("Gather", shape, whole(writer, axis), axis=0) for axis in (1, 2)]
    if preprocessing.fit == "crop":
        axes = _crop_axes(writer, sizes, network, preprocessing.crop_fraction)
        # Rows outside the crop are never gathered; columns are cut off first, so that nobody gathers them.
        ends = [list_of(writer, writer.op("Cast", end, to=7)) for end in (axes[1].first, axes[1].last)]
        image = writer.op("Slice", image, *ends, ints(writer, 2))
    elif preprocessing.fit == "stretch":
        axes = _stretch_axes(writer, sizes, network)
    else:
        axes = _letterbox_axes(writer, sizes, network)
    bands = graph_bands(writer, axes[0])
    image = merged(writer, resample(writer, image, bands), [bands.rows, -1, 3])
    planes = _resample_columns(writer, image, graph_bands(writer, axes[1]))
    if axes[0].length is not None and axes[1].length is not None:
        return _letterboxed(writer, planes, (axes[0].length, axes[1].length), network)
    if any(size % BLOCK for size in network):
        planes = sliced(writer, planes, [0, 0], network, [2, 3])
    return planes


def _crop_axes(
    writer: NodeWriter, sizes: list["ir.Value"], network: tuple[int, int], fraction: float
) -> list[GraphAxis]:
    op, zero, half = writer.op, real(writer, 0), real(writer, 0.5)
    frames = [op("Cast", size, to=1) for size in sizes]
    scale = op("Min", *(op("Div", frame, real(writer, n)) for frame, n in zip(frames, network, strict=True)))
    if fraction != 1:
        scale = op("Mul", scale, real(writer, fraction))
    support = graph_support(writer, scale)
    axes = []
    for number, (frame, size) in enumerate(zip(frames, network, strict=True)):
        start = op("Mul", op("Sub", frame, op("Mul", scale, real(writer, size))), half)
        first, last = zero, frame
        if number == 1:
            first = op("Max", op("Floor", op("Sub", start, support)), zero)
            last = op("Sub", frame, first)  # the crop is in the middle
        axes.append(GraphAxis(start, scale, support, first, last, size))
    return axes


def _stretch_axes(writer: NodeWriter, sizes: list["ir.Value"], network: tuple[int, int]) -> list[GraphAxis]:
    zero = real(writer, 0)
    axes = []
    for frame, size in zip(sizes, network, strict=True):
        pixels = writer.op("Cast", frame, to=1)
        scale = writer.op("Div", pixels, real(writer, size))
        axes.append(GraphAxis(zero, scale, graph_support(writer, scale), zero, pixels, size))
    return axes


def _letterbox_axes(writer: NodeWriter, sizes: list["ir.Value"], network: tuple[int, int]) -> list[GraphAxis]:
    """The inner picture alone; its length is rounded half up in whole numbers, like ``Preprocessing.axes``.

    On the axis that it fills, the rounded quotient is the network's size or more, and Min takes the size.
    """
    op, zero = writer.op, real(writer, 0)
    axes = []
    for mine, other in ((0, 1), (1, 0)):
        twice = op("Mul", sizes[mine], whole(writer, 2 * network[other]))
        rounded = op("Div", op("Add", twice, sizes[other]), op("Mul", sizes[other], whole(writer, 2)))
        length = op("Max", op("Min", rounded, whole(writer, network[mine])), whole(writer, 1))
        pixels = op("Cast", sizes[mine], to=1)
        scale = op("Div", pixels, op("Cast", length, to=1))
        support = graph_support(writer, scale)
        axes.append(GraphAxis(zero, scale, support, zero, pixels, network[mine], list_of(writer, length)))
    return axes


def _letterboxed(
    writer: NodeWriter, planes: "ir.Value", lengths: tuple["ir.Value", "ir.Value"], network: tuple[int, int]
) -> "ir.Value":
    """Cut off the surplus of the inner picture and put black borders around it."""
    op = writer.op
    inner = op("Concat", *lengths, axis=0)
    planes = op("Slice", planes, ints(writer, 0, 0), inner, ints(writer, 2, 3))
    space = op("Sub", ints(writer, *network), inner)
    before = op("Div", space, ints(writer, 2))
    neither = ints(writer, 0, 0)
    return op("Pad", planes, op("Concat", neither, before, neither, op("Sub", space, before), axis=0))


def _resample_columns(writer: NodeWriter, image: "ir.Value", bands: Bands) -> "ir.Value":
    """``[batch, height, width, 3]`` -> float32 ``[batch, 3, height, bands.rows]``."""
    image = writer.op("Transpose", image, perm=[0, 2, 3, 1])
    columns = merged(writer, resample(writer, image, bands), [bands.rows, 3, -1])
    return writer.op("Transpose", columns, perm=[0, 2, 3, 1])
