"""The classifier: a backbone and one head, cosine to unit prototypes or linear."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeosr.errors import DataError
from edgeosr.model.backbone import Backbone
from edgeosr.model.catalogue import build_backbone
from edgeosr.model.tensor_file import read_tensors
from edgeosr.run import WEIGHTS, read_run
from edgeosr.verdict import FLOOR

Head = Literal["cosine", "linear"]


class Classifier(nn.Module):
    """Backbone and head.

    Attributes:
        backbone: ``[B, 3, S, S]`` normalised float -> z ``[B, D]``.
        head: "cosine" (logits are cosines between z and the prototypes) or "linear".
        weight: ``[C, D]`` as trained; for the cosine head its rows need not have length 1.
        bias: ``[C]``, or None.
    """

    def __init__(self, backbone: Backbone, classes: int, head: Head, *, bias: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.head: Head = head
        self.weight = nn.Parameter(torch.empty(classes, backbone.dimension))
        # Rows of about unit length: the scale does not matter to cosines and is usual for a linear head.
        nn.init.normal_(self.weight, 0.0, backbone.dimension**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes)) if bias and head == "linear" else None

    @property
    def dimension(self) -> int:
        """Length of z."""
        return self.weight.shape[1]

    @property
    def head_weight(self) -> Tensor:
        """``[C, D]``: unit rows for the cosine head, the weights themselves for the linear one."""
        return functional.normalize(self.weight, dim=1) if self.head == "cosine" else self.weight

    @property
    def head_bias(self) -> Tensor:
        """``[C]``; zeros where the head has none."""
        return torch.zeros_like(self.weight[:, 0]) if self.bias is None else self.bias

    def logits(self, z: Tensor) -> Tensor:
        """Return ``[B, C]`` for ``z [B, D]``: cosines (|z| not taken below FLOOR), or linear logits."""
        if self.head == "cosine":
            norm = torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(FLOOR)
            return functional.linear(z / norm, self.head_weight)
        return functional.linear(z, self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[B, C]`` for ``x [B, 3, S, S]``."""
        return self.logits(self.backbone(x))


def build_classifier(
    arch: str, input_size: int, classes: int, head: Head, *, pretrained: bool = False
) -> Classifier:
    """Build an untrained classifier (its backbone perhaps pretrained); see ``build_backbone`` for errors."""
    # classifier32 is published without a bias in its head; the others are usually built with one.
    return Classifier(
        build_backbone(arch, input_size, pretrained), classes, head, bias=arch != "classifier32"
    )


def load_classifier(run_directory: Path) -> Classifier:
    """Return a run's best classifier, in eval mode, on the CPU, float32.

    Raises:
        StorageError: the run cannot be read.
        DataError: its weights are damaged or do not fit its record.
    """
    record = read_run(run_directory)
    model = record.model
    classifier = build_classifier(
        model["arch"], model["input_size"], len(record.data["known"]), model["head"], pretrained=False
    )
    path = Path(run_directory) / WEIGHTS
    state = read_tensors(path, "train the run again")
    try:
        classifier.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DataError(f"{path} does not fit the run's record; train the run again") from error
    return classifier.eval()
