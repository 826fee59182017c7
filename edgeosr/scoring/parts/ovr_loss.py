"""The one-versus-rest loss of the predicted label with the margin off."""

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.parts.movr_loss import one_vs_rest_loss, write_one_vs_rest_loss
from edgeosr.scoring.scorer import Scorer


class OvrLoss(Part):
    """softplus(-T s_y) + sum over k != y of softplus(T s_k), no margin, y the predicted label.

    On networks trained with the margin it ranks unknowns better than ``movr_loss`` or worse, from data set
    to data set: which, only data can say.
    """

    name, code = "ovr_loss", 5
    title, meaning = "margin-off loss", "undecided between the classes, without the margin"

    def carried_by(self, scorer: Scorer) -> bool:
        """A scorer with a margin; without one ``movr_loss`` is this very number."""
        return scorer.head.margin > 0

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        return one_vs_rest_loss(batch.logits * scorer.head.temperature, batch.label)

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        return write_one_vs_rest_loss(writer, tensors, scorer)


PART = OvrLoss()
