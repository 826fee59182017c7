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

from edgeosr.export.graph.writer import NodeWriter
from edgeosr.preprocessing import Axis

if TYPE_CHECKING:
    import onnx_ir as ir

# The fastest of 1, 2, 4, 8, 14, 16 on onnxruntime's CPU from 480p to 1080p.
BLOCK = 4
# Guards the normalisation of surplus rows, which may have no tap; real sums are half a pixel or more.
_SMALLEST_SUM = 1e-6


@dataclass(frozen=True)
class Bands:
    """What one pass needs.

    Attributes:
        indices: int64 ``[blocks, K]``, input positions of every block's taps.
        weights: float32 ``[blocks, BLOCK, K]``.
        rows: blocks * BLOCK, a number or int64 ``[1]``; those after the output's length are to be cut off.
    """

    indices: "ir.Value"
    weights: "ir.Value"
    rows: "int | ir.Value"


@dataclass(frozen=True)
class GraphAxis:
    """How one axis of a frame maps to the network's input; all scalars of the graph but ``length``.

    Attributes:
        start, scale: float32; the output's positions sample the frame from ``start``, ``scale`` pixels each.
        support: float32, max(scale, 1).
        first, last: float32, the part ``[first, last)`` of the frame that is there to be gathered from.
        length: int64 ``[1]``, the output's length, or None where it is ``size``.
        size: the output's largest length.
    """

    start: "ir.Value"
    scale: "ir.Value"
    support: "ir.Value"
    first: "ir.Value"
    last: "ir.Value"
    size: int
    length: "ir.Value | None" = None


def fixed_bands(writer: NodeWriter, axis: Axis, first: int, last: int) -> Bands:
    """Compute a pass for a frame size known now, in float64, as constants.

    Args:
        writer: where the constants go.
        axis: the mapping.
        first: with ``last``, the part ``[first, last)`` of the frame that is there to be gathered from.
        last: see ``first``.
    """
    scale = axis.extent / axis.length
    support = max(scale, 1.0)
    positions = np.arange(_blocks(axis.length) * BLOCK).reshape(-1, BLOCK, 1)
    centres = axis.start + (positions + 0.5) * scale
    starts = np.floor(centres[:, :1] - support)
    taps = starts + np.arange(math.ceil((BLOCK - 1) * scale + 2 * support + 1))
    inside = np.clip(taps, first, last - 1)
    weights = np.maximum(0.0, support - np.abs(taps + 0.5 - centres)) * (inside == taps)
    weights /= np.maximum(weights.sum(axis=2, keepdims=True), _SMALLEST_SUM)
    indices = (inside[:, 0] - first).astype(np.int64)
    return Bands(writer.constant(indices), writer.constant(weights.astype(np.float32)), positions.size)


def graph_bands(writer: NodeWriter, axis: GraphAxis) -> Bands:
    """Compute a pass inside the graph, from the frame's size, in float32.

    At batch 1 a node costs more than its arithmetic here, so there are as few as there can be.
    """
    op = writer.op

    def number(value: float) -> "ir.Value":
        return writer.constant(np.array(value, np.float32))

    def ints(*values: int) -> "ir.Value":
        return writer.constant(np.array(values, np.int64))

    places = np.arange(_blocks(axis.size) * BLOCK, dtype=np.float32).reshape(-1, BLOCK, 1) + np.float32(0.5)
    place: ir.Value = writer.constant(places)
    rows: int | ir.Value = places.size
    if axis.length is not None:
        blocks = op("Div", op("Add", axis.length, ints(BLOCK - 1)), ints(BLOCK))
        place = op("Slice", place, ints(0), blocks, ints(0))
        rows = op("Mul", blocks, ints(BLOCK))
    # Tap t is the pixel from t to t + 1: measured from pixel centres, everything moves by half a pixel.
    centres = op(
        "Add", op("Mul", place, axis.scale), op("Sub", axis.start, number(0.5))
    )  # [blocks, BLOCK, 1]
    earliest = op("Gather", centres, ints(0), axis=1)
    starts = op("Floor", op("Sub", earliest, op("Sub", axis.support, number(0.5))))  # [blocks, 1, 1]
    # A block's centres span (BLOCK - 1) scales, and its taps a support more on both sides.
    reach = op("Add", op("Mul", axis.support, number(BLOCK + 1)), number(1))
    taps = op("Add", starts, op("Range", number(0), reach, number(1)))  # [blocks, 1, K]
    inside = op("Max", op("Min", taps, op("Sub", axis.last, number(1))), axis.first)
    weights = op("Relu", op("Sub", axis.support, op("Abs", op("Sub", taps, centres))))
    weights = op("Mul", weights, op("Cast", op("Equal", inside, taps), to=1))
    total = writer.reduce("ReduceSum", weights, [2])
    if axis.size % BLOCK or axis.length is not None:
        total = op("Max", total, number(_SMALLEST_SUM))
    indices = op("Reshape", op("Cast", op("Sub", inside, axis.first), to=7), ints(0, -1))
    return Bands(indices, op("Div", weights, total), rows)


def graph_support(writer: NodeWriter, scale: "ir.Value") -> "ir.Value":
    """Return max(scale, 1), how far the filter reaches on both sides of a centre."""
    return writer.op("Max", scale, writer.constant(np.array(1, np.float32)))


def resample(writer: NodeWriter, image: "ir.Value", bands: Bands) -> "ir.Value":
    """Apply one pass along axis 1.

    Args:
        writer: where the nodes go.
        image: float32 ``[batch, length, ...]``, of rank 3 or more.
        bands: the pass.

    Returns:
        float32 ``[batch, blocks, BLOCK, rest]``, all axes after the first two flattened.
    """
    taken = writer.op("Gather", image, bands.indices, axis=1)  # [batch, blocks, K, ...]
    taken = writer.op("Reshape", taken, writer.constant(np.array([0, 0, 0, -1], np.int64)))
    return writer.op("MatMul", bands.weights, taken)


def _blocks(length: int) -> int:
    return -(-length // BLOCK)
