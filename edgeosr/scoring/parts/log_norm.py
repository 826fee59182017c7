"""-log |z|: how little the network saw."""

import numpy as np

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.scorer import Scorer


class LogNorm(Part):
    """-log |z|, |z| not taken below FLOOR."""

    name, code = "log_norm", 4
    title, meaning = "embedding norm", "little was seen"

    def carried_by(self, scorer: Scorer) -> bool:
        """Every scorer."""
        return True

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        return -np.log(batch.norm)

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        return writer.op("Neg", writer.op("Log", tensors.norm))


PART = LogNorm()
