"""What one training step minimises: the classification loss and the rotation auxiliary, as one module.

One module with one forward, because distributed training synchronises gradients through ``forward``.
"""

import torch
from torch import Tensor, nn

from edgeosr.model.classifier import Classifier
from edgeosr.training.losses import cross_entropy, movr_loss

TURNS = 4


class Objective(nn.Module):
    """Classifier, rotation head and their losses.

    The auxiliary turns every image of a batch once: image i by (i mod 4) quarter turns. Batches are drawn
    at random, so that is one random rotation an image, balanced; the images turned by 0 need no second pass,
    which saves a quarter of the auxiliary's cost.

    Attributes:
        classifier: what is kept after training.
        rotation: linear ``[4, D]`` head on z, or None.
    """

    def __init__(
        self, classifier: Classifier, *, temperature: float, margin: float, rotation_weight: float
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature, self.margin, self.rotation_weight = temperature, margin, rotation_weight
        self.rotation = nn.Linear(classifier.dimension, TURNS) if rotation_weight > 0 else None

    def losses(self, logits: Tensor, labels: Tensor, *, training: bool) -> Tensor:
        """Return the classification loss of each sample ``[B]``; the margin acts in training only."""
        if self.classifier.head == "linear":
            return cross_entropy(logits, labels)
        margin = self.margin if training else 0.0
        return movr_loss(logits, labels, temperature=self.temperature, margin=margin)

    def forward(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (the loss to minimise, number of correct predictions before the margin).

        Args:
            inputs: normalised images ``[B, 3, S, S]``, or embeddings ``[B, D]`` of a frozen backbone.
            labels: int64 ``[B]``.
        """
        z, turned = self._embed(inputs)
        # Cosines and losses in float32 whatever the precision of the backbone: T = 32 multiplies their error.
        with torch.autocast(device_type=z.device.type, enabled=False):
            logits = self.classifier.logits(z.float())
            loss = self.losses(logits, labels, training=True).mean()
            if turned is not None and self.rotation is not None:
                guesses, turns = self.rotation(turned[0].float()), turned[1]
                loss = loss + self.rotation_weight * nn.functional.cross_entropy(guesses, turns)
        return loss, (logits.detach().argmax(dim=1) == labels).sum()

    def _embed(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Return z of the upright images, and (z of the turned ones, their turns) or None."""
        if inputs.dim() == 2:
            return inputs, None
        if self.rotation is None:
            return self.classifier.backbone(inputs), None
        copies = [torch.rot90(inputs[turn::TURNS], turn, (2, 3)) for turn in range(1, TURNS)]
        batch = torch.cat([inputs, *copies]).contiguous(memory_format=torch.channels_last)
        z = self.classifier.backbone(batch)
        upright, extra = z[: len(inputs)], z[len(inputs) :]
        turns = torch.cat(
            [torch.full((len(inputs[turn::TURNS]),), turn, device=z.device) for turn in range(TURNS)]
        )
        return upright, (torch.cat([upright[0::TURNS], extra]), turns)
