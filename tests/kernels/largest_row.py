"""A score part that exists in tests only, with matrix rows, numbers and a kernel function of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from edgeosr.kernels import packing
from edgeosr.kernels.parts import kernel_parts
from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value, number
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.parts import registered
from edgeosr.scoring.scorer import PartConstants, Scorer

HEADER = Path(__file__).with_name("largest_row.cuh")
DEFINE = f'EDGEOSR_MORE_PARTS="{HEADER.name}"'
ROWS = 64


class LargestRow(Part):
    """numbers[0] * (largest product of z with its rows, biases added) / (|z| + numbers[1])."""

    name, code = "largest_row", 100
    title, meaning = "largest row", "far from all rows"

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        scale, more = scorer.constants[self.name].numbers.astype(np.float64)
        return scale * self.products(batch, scorer).max(axis=1) / (batch.norm + more)

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        scale, more = scorer.constants[self.name].numbers.tolist()
        largest = writer.reduce("ReduceMax", self.write_products(writer, tensors, scorer), [1])
        size = writer.op("Add", tensors.norm, number(writer, more))
        return writer.op("Mul", writer.op("Div", largest, size), number(writer, scale))


PART = LargestRow()


@contextlib.contextmanager
def known() -> Iterator[None]:
    """Register it, as a part that the kernel has a function for."""
    codes = {**kernel_parts(), PART.code: PART.name}
    with registered(PART), mock.patch.object(packing, "kernel_parts", lambda: codes):
        yield


def random_constants(dimension: int, rows: int = ROWS, seed: int = 0) -> dict[str, PartConstants]:
    """Return constants for a scorer that lists it: random unit rows, biases and two numbers."""
    rng = np.random.default_rng([dimension, rows, seed])
    matrix = rng.standard_normal((rows, dimension))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return {
        PART.name: PartConstants(
            rows=matrix.astype(np.float32),
            biases=rng.normal(0, 0.1, rows).astype(np.float32),
            numbers=np.array([-1.5, 0.25], np.float32),
        )
    }
