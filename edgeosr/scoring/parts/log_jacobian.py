"""log J: how strongly the embedding reacts to small changes of the input or of a map inside the network."""

import numpy as np

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value, number
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.scorer import Scorer
from edgeosr.verdict import FLOOR


class LogJacobian(Part):
    """log J, J = |dz/dh|_F / |z| or |du/dh|_F (docs/design.md), J not taken below FLOOR."""

    name, code = "log_jacobian", 0
    title, meaning = "Jacobian norm", "z reacts strongly to small changes"
    counts_masks = True

    def carried_by(self, scorer: Scorer) -> bool:
        """Any scorer with a Jacobian norm."""
        return scorer.closed_form is not None or scorer.probes is not None

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        return np.log(np.maximum(batch.jacobian, FLOOR))

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        return writer.op("Log", writer.op("Max", tensors.jacobian, number(writer, FLOOR)))


PART = LogJacobian()
