"""Antialiased bilinear resampling of one axis as banded matrix products.

Every output position is a weighted mean of the input positions within ``support = max(scale, 1)`` of its
centre, weights falling linearly to zero there (a triangle filter), positions outside the frame left out:
what Pillow's ``resize(..., BILINEAR, box=...)`` computes (libImaging/Resample.c, ``precompute_coeffs``).

Output positions are taken ``BLOCK`` at a time: a block's taps are gathered once, as K consecutive rows, and
one small matrix product ``[BLOCK, K] x [K, ...]`` makes its rows. Gathering the taps of every row for
itself would copy each input row two times and more; with blocks it is 1 + 1/BLOCK times.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.export.node_writer import NodeWriter
from edgeosr.preprocessing import Axis

if TYPE_CHECKING:
    import onnx_ir as ir

# The fastest of 1, 2, 4, 8, 14, 16 on onnxruntime's CPU from 480p to 1080p.
BLOCK = 4
# Guards the normalisation of rows without any tap (letterbox borders); real sums are 0.25 or more.
_SMALLEST_SUM = 1e-6


@dataclass(frozen=True)
class Bands:
    """What one pass needs.

    Attributes:
        indices: int64 ``[blocks, K]``, input positions of every block's taps.
        weights: float32 ``[blocks, BLOCK, K]``.
        rows: blocks * BLOCK, the output's length; those after the axis' own size are to be cut off.
    """

    indices: "ir.Value"
    weights: "ir.Value"
    rows: int


def block_count(size: int) -> int:
    """Return how many blocks make ``size`` output positions."""
    return -(-size // BLOCK)


def fixed_bands(writer: NodeWriter, axis: Axis, size: int, frame: int, first: int, last: int) -> Bands:
    """Compute a pass for a frame size known now, in float64, as constants.

    Args:
        writer: where the constants go.
        axis: the mapping.
        size: the network's length of this axis.
        frame: the frame's.
        first: with ``last``, the part ``[first, last)`` of the frame that is there to be gathered from.
        last: see ``first``.
    """
    scale = axis.extent / axis.length
    support = max(scale, 1.0)
    positions = np.arange(block_count(size) * BLOCK).reshape(-1, BLOCK, 1)
    centres = axis.start + (positions - axis.offset + 0.5) * scale
    starts = np.floor(centres[:, :1] - support)
    taps = starts + np.arange(math.floor((BLOCK - 1) * scale + 2 * support) + 2)
    weights = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - centres) / support)
    weights *= (taps >= 0) & (taps < frame)
    weights *= (positions >= axis.offset) & (positions < axis.offset + axis.length)
    weights /= np.maximum(weights.sum(axis=2, keepdims=True), _SMALLEST_SUM)
    indices = np.clip(taps[:, 0] - first, 0, last - first - 1).astype(np.int64)
    return Bands(
        writer.constant(indices), writer.constant(weights.astype(np.float32)), block_count(size) * BLOCK
    )


@dataclass(frozen=True)
class GraphAxis:
    """``preprocessing.Axis`` as float32 scalars of the graph; ``frame`` is the frame's size.

    ``length`` and ``offset`` are None where they are the whole axis (crop and stretch).
    """

    frame: "ir.Value"
    start: "ir.Value"
    scale: "ir.Value"
    support: "ir.Value"
    offset: "ir.Value | None" = None
    length: "ir.Value | None" = None


def graph_bands(writer: NodeWriter, axis: GraphAxis, size: int, first: "ir.Value", last: "ir.Value") -> Bands:
    """Compute a pass inside the graph, from the frame's size, in float32.

    Args:
        writer: where the nodes go.
        axis: the mapping.
        size: the network's length of this axis.
        first: with ``last``, float32 scalars: the part ``[first, last)`` of the frame that is there
            to be gathered from.
        last: see ``first``.
    """
    op = writer.op

    def number(value: float) -> "ir.Value":
        return writer.constant(np.array(value, np.float32))

    positions = np.arange(block_count(size) * BLOCK, dtype=np.float32).reshape(-1, BLOCK, 1)
    place: ir.Value = writer.constant(positions + np.float32(0.5))
    if axis.offset is not None:
        place = op("Sub", place, axis.offset)
    centres = op("Add", op("Mul", place, axis.scale), axis.start)  # [blocks, BLOCK, 1]
    block_first = op("Gather", centres, writer.constant(np.array([0], np.int64)), axis=1)
    starts = op("Floor", op("Sub", block_first, axis.support))  # [blocks, 1, 1]
    reach = op("Add", op("Mul", number(BLOCK - 1), axis.scale), op("Mul", number(2), axis.support))
    count = op("Add", op("Floor", reach), number(2))
    taps = op("Add", starts, op("Range", number(0), count, number(1)))  # [blocks, 1, K]
    distance = op("Abs", op("Sub", op("Add", taps, number(0.5)), centres))
    weights = op("Relu", op("Sub", number(1), op("Div", distance, axis.support)))
    inside = op("Max", op("Min", taps, op("Sub", axis.frame, number(1))), number(0))
    weights = op("Mul", weights, op("Cast", op("Equal", inside, taps), to=1))
    if axis.length is not None:
        # place - 0.5 in [0, length), compared half a position away from both ends.
        within = op("And", op("Greater", place, number(0)), op("Less", place, axis.length))
        weights = op("Mul", weights, op("Cast", within, to=1))
    total = op("Max", writer.reduce("ReduceSum", weights, [2]), number(_SMALLEST_SUM))
    weights = op("Div", weights, total)
    near = op("Sub", op("Max", op("Min", taps, op("Sub", last, number(1))), first), first)
    shape = writer.constant(np.array([block_count(size), -1], np.int64))
    indices = op("Reshape", op("Cast", near, to=7), shape)
    return Bands(indices, weights, block_count(size) * BLOCK)


def resample(writer: NodeWriter, image: "ir.Value", bands: Bands, *, is_float: bool) -> "ir.Value":
    """Apply one pass along axis 1.

    Args:
        writer: where the nodes go.
        image: ``[batch, length, ...]``, uint8 or float32, of rank 3 or more.
        bands: the pass.
        is_float: whether image is float32. Gathering bytes and casting after it moves a quarter as much.

    Returns:
        float32 ``[batch, blocks, BLOCK, rest]``, all axes after the first two flattened.
    """
    taken = writer.op("Gather", image, bands.indices, axis=1)  # [batch, blocks, K, ...]
    taken = writer.op("Reshape", taken, writer.constant(np.array([0, 0, 0, -1], np.int64)))
    if not is_float:
        taken = writer.op("Cast", taken, to=1)
    return writer.op("MatMul", bands.weights, taken)
