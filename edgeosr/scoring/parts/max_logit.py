"""-max logit (or cosine): how far z is from the nearest class."""

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.scorer import Scorer


class MaxLogit(Part):
    """-(largest logit), a cosine for the cosine head (Vaze et al., Open-Set Recognition, ICLR 2022: MLS)."""

    name, code = "max_logit", 3
    title, meaning = "top logit", "far from the nearest class"

    def carried_by(self, scorer: Scorer) -> bool:
        """Every scorer."""
        return True

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        return -batch.top

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        return writer.op("Neg", tensors.top)


PART = MaxLogit()
