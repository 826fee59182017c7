"""What a score part needs of whoever writes an ONNX graph, so that its nodes stand beside its formula.

``edgeosr.export.graph.writer.NodeWriter`` is such a writer; a value is whatever it hands out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Value = Any


class GraphWriter(Protocol):
    """Adds nodes and constants to a graph; standard operators of opset 13 to 20 only."""

    def op(self, op_type: str, *inputs: Value, name: str | None = None, **attributes: Any) -> Value:
        """Add one node; return its output."""

    def reduce(self, op_type: str, value: Value, axes: Sequence[int], *, keepdims: bool = True) -> Value:
        """Add a reduction over ``axes``, in the form that the graph's opset has."""

    def constant(self, array: NDArray[Any], name: str | None = None) -> Value:
        """Return a constant of this value; unnamed equal ones are shared."""


@dataclass(frozen=True, kw_only=True)
class GraphTensors:
    """What parts may read, float32; columns are ``[batch, 1]``.

    Attributes:
        z: the embedding, ``[batch, D]``.
        norm: |z|, not below FLOOR, a column.
        logits: ``[batch, C]``.
        label: the top class, an int64 column.
        top: the top logit, a column.
        jacobian: J, a column; None without a Jacobian norm.
        undivided: J |z| of the closed form, |dz/dh|_F, a column; None without a Jacobian norm.
        known: the discriminator's logit of "known", a column; None without one.
    """

    z: Value
    norm: Value
    logits: Value
    label: Value
    top: Value
    jacobian: Value | None
    undivided: Value | None
    known: Value | None


def number(writer: GraphWriter, value: float) -> Value:
    """Return a float32 scalar."""
    return writer.constant(np.array(value, np.float32))
