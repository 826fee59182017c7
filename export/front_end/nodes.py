"""Nodes that the front end writes again and again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.export.graph.writer import NodeWriter
from edgeosr.preprocessing import Axis

if TYPE_CHECKING:
    import onnx_ir as ir


def reach(axis: Axis, frame: int, copied: bool) -> tuple[int, int]:
    """Return the part of the frame that the filter can reach, or exactly what is copied."""
    if copied:
        return int(axis.start), int(axis.start) + axis.length
    support = max(axis.extent / axis.length, 1.0)
    first = int(np.floor(axis.start - support))
    last = int(np.ceil(axis.start + axis.extent + support))
    return max(first, 0), min(last, frame)


def merged(writer: NodeWriter, blocks: "ir.Value", sizes: "list[int | ir.Value]") -> "ir.Value":
    """``[batch, blocks, BLOCK, rest]`` -> ``[batch, *sizes]``; one of the sizes may be -1."""
    if all(isinstance(size, int) for size in sizes):
        return writer.op("Reshape", blocks, writer.constant(np.array([0, *sizes], np.int64)))
    parts = [ints(writer, size) if isinstance(size, int) else size for size in (0, *sizes)]
    return writer.op("Reshape", blocks, writer.op("Concat", *parts, axis=0))


def sliced(
    writer: NodeWriter, value: "ir.Value", starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]
) -> "ir.Value":
    """Cut out ``[starts, ends)`` along ``axes``."""
    return writer.op("Slice", value, *(ints(writer, *numbers) for numbers in (starts, ends, axes)))


def ints(writer: NodeWriter, *values: int) -> "ir.Value":
    """Return int64 ``[n]``."""
    return writer.constant(np.array(values, np.int64))


def real(writer: NodeWriter, value: float) -> "ir.Value":
    """Return a float32 scalar."""
    return writer.constant(np.array(value, np.float32))


def whole(writer: NodeWriter, value: int) -> "ir.Value":
    """Return an int64 scalar."""
    return writer.constant(np.array(value, np.int64))


def list_of(writer: NodeWriter, scalar: "ir.Value") -> "ir.Value":
    """Return a scalar as ``[1]``."""
    return writer.op("Reshape", scalar, ints(writer, 1))
