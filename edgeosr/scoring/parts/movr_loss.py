"""The margin one-versus-rest loss of the predicted label, the margin as in training."""

import math

import numpy as np
from numpy.typing import NDArray

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value, number
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.scorer import Scorer


class MovrLoss(Part):
    """softplus(-T s_y) + sum over k != y of softplus(T s_k), s with the margin on, y the predicted label."""

    name, code = "movr_loss", 2
    title, meaning = "margin loss", "undecided between the classes, margin as trained"

    def carried_by(self, scorer: Scorer) -> bool:
        """Every scorer; without a margin (linear and external heads) it is the plain loss."""
        return True

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        shifted = with_margin(batch.logits, scorer.head.margin) if scorer.head.margin else batch.logits
        return one_vs_rest_loss(shifted * scorer.head.temperature, batch.label)

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        op = writer.op
        temperature, margin = scorer.head.temperature, scorer.head.margin
        if not margin:
            return write_one_vs_rest_loss(writer, tensors, scorer)
        # T cos(arccos(c) + m) = T cos m c - T sin m sqrt(1 - c^2); rounding may bring |c| above 1.
        cosines = tensors.logits
        sine = op("Sqrt", op("Relu", op("Sub", number(writer, 1.0), op("Mul", cosines, cosines))))
        across = op("Mul", sine, number(writer, temperature * math.sin(margin)))
        scaled = op("Sub", op("Mul", cosines, number(writer, temperature * math.cos(margin))), across)
        return _written(writer, scaled, tensors.label, scorer.classes)


def with_margin(cosines: Float64, margin: float) -> Float64:
    """Return cos(arccos(c) + m) for cosines c, ``[B, C]``, and m in radians (arXiv 2209.11436v2, eq. 3)."""
    sines = np.sqrt(np.maximum(1.0 - cosines * cosines, 0.0))
    shifted: Float64 = cosines * math.cos(margin) - sines * math.sin(margin)
    return shifted


def one_vs_rest_loss(scaled: Float64, label: NDArray[np.int64]) -> Float64:
    """Return softplus(-x_y) + sum over k != y of softplus(x_k), ``[B]``; any finite x is safe.

    Args:
        scaled: ``[B, C]``, T times the logits.
        label: ``[B]``, y.
    """
    signed = scaled.copy()
    rows = np.arange(len(scaled))
    signed[rows, label] *= -1
    total: Float64 = (np.maximum(signed, 0.0) + np.log1p(np.exp(-np.abs(signed)))).sum(axis=1)
    return total


def write_one_vs_rest_loss(writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
    """Add the loss with the margin off; return a column."""
    scaled = tensors.logits
    if scorer.head.temperature != 1.0:
        scaled = writer.op("Mul", scaled, number(writer, scorer.head.temperature))
    return _written(writer, scaled, tensors.label, scorer.classes)


def _written(writer: GraphWriter, scaled: Value, label: Value, classes: int) -> Value:
    """Add the loss of scaled logits.

    softplus(x) = max(x, 0) + softplus(-|x|) never overflows, whatever a backend makes of Softplus, and the
    label's sign is turned before the sum, because subtracting T s_y after it would cancel.
    """
    op = writer.op
    turned = op("Neg", scaled)
    is_label = op("Equal", label, writer.constant(np.arange(classes, dtype=np.int64)))
    signed = op("Where", is_label, turned, scaled)
    small = op("Softplus", op("Min", scaled, turned))
    return writer.reduce("ReduceSum", op("Add", op("Relu", signed), small), [1])


PART = MovrLoss()
