"""log of the Jacobian norm itself, not divided by |z|."""

import numpy as np

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value, number
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.scorer import Scorer
from edgeosr.verdict import FLOOR


class RawJacobian(Part):
    """log |dz/dh|_F = log (J |z|) of the closed form, |dz/dh|_F not taken below FLOOR.

    It is ``log_jacobian`` - ``log_norm``, but for the floors.
    """

    name, code = "raw_jacobian", 6
    title, meaning = "undivided Jacobian norm", "z changes much, however long it is"
    counts_masks = True

    def carried_by(self, scorer: Scorer) -> bool:
        """Any scorer with a closed form; the probes' J_u has no such norm."""
        return scorer.closed_form is not None

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        return np.log(np.maximum(batch.jacobian * batch.norm, FLOOR))

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        return writer.op("Log", writer.op("Max", tensors.undivided, number(writer, FLOOR)))


PART = RawJacobian()
