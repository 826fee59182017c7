"""-logit D(z): how unlike the known embeddings OpenGAN's discriminator takes z to be."""

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value
from edgeosr.scoring.part import Batch, Float64, Part
from edgeosr.scoring.scorer import Scorer


class Discriminator(Part):
    """-logit D(z), D the probability of "known" (Kong and Ramanan, OpenGAN, ICCV 2021)."""

    name, code = "discriminator", 1
    title, meaning = "OpenGAN discriminator", "unlike the known embeddings"

    def carried_by(self, scorer: Scorer) -> bool:
        """Any scorer with a discriminator."""
        return bool(scorer.layers)

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        return -batch.known

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        return writer.op("Neg", tensors.known)


PART = Discriminator()
