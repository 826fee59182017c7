"""A head trained again on kept features of a frozen backbone, by a run's own recipe."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeosr.model.backbone import Backbone
from edgeosr.model.classifier import Classifier, Head
from edgeosr.model.tensor_file import read_tensors
from edgeosr.preprocessing import Preprocessing
from edgeosr.run import WEIGHTS
from edgeosr.training.augmentation import Normalise, make_augmentation
from edgeosr.training.epoch import Examples, Feed, seed_epoch
from edgeosr.training.loop import train_epochs
from edgeosr.training.objective import Objective
from edgeosr.training.processors import limited_threads, make_fabric, quiet_unless
from edgeosr.training.settings import TrainSettings

# As in ``train.py``: stands for an epoch number in the seed of the initial weights.
_INITIALISATION = 2**32 - 1


@dataclass(frozen=True)
class FrozenHead:
    """A trained head: ``weight`` float32 ``[C, D]`` (unit rows if cosine), ``bias`` float32 ``[C]``."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class _Kept(Backbone):
    """Stands for a frozen backbone whose embeddings are computed already; it has no weights."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings as they are."""
        return x


def train_frozen_head(
    settings: TrainSettings,
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    select: tuple[NDArray[np.float32], NDArray[np.int64]],
    *,
    classes: int,
    initial: NDArray[np.float32] | None = None,
) -> FrozenHead:
    """Train a head as ``edgeosr train --freeze`` does, and keep the epoch that is best on the select part.

    One process on one processor. The same settings and features give the same bits on the same machine.

    Args:
        settings: of the run; its ``epochs`` are those to train.
        train: embeddings float32 ``[n, D]`` and labels from 0 to ``classes`` - 1.
        select: likewise.
        classes: C.
        initial: the head's first weight ``[C, D]``; None to draw one. A run draws its own after its backbone.

    Raises:
        TrainingError: the loss is not finite.
    """
    dimension = train[0].shape[1]
    alone = replace(
        settings, devices=1, num_nodes=1, strategy="auto", compile=False, max_minutes=None,
        resume=False, out=None,
    )  # fmt: skip
    with (
        limited_threads(settings.threads or 1),
        # A bar and a line an epoch for every fold would say nothing to anybody.
        quiet_unless(False),
        tempfile.TemporaryDirectory(prefix="edgeosr-fold-") as folder,
    ):
        fabric = make_fabric(alone)
        fabric.launch()
        seed_epoch(alone.seed, _INITIALISATION, 0)
        head: Head = "cosine" if alone.loss == "movr" else "linear"
        classifier = Classifier(_Kept(dimension), classes, head, bias=alone.arch != "classifier32")
        if initial is not None:
            classifier.weight.data.copy_(torch.from_numpy(initial))
        objective = Objective(
            classifier, temperature=alone.temperature, margin=alone.margin, rotation_weight=0.0
        )
        # Features are neither normalised nor augmented: only the processor of this feed is used.
        feed = Feed(
            Normalise(Preprocessing(height=1, width=1), fabric.device),
            make_augmentation(1, shift=0.0, flip=False, color_jitter=0.0),
        )
        parts = [Examples(torch.from_numpy(z), torch.from_numpy(labels)) for z, labels in (train, select)]
        train_epochs(
            fabric, objective, parts[0], parts[1], feed, alone, Path(folder), {}, None, say=lambda line: None
        )
        classifier.load_state_dict(read_tensors(Path(folder) / WEIGHTS, "export again"))
    classifier = classifier.cpu()
    return FrozenHead(
        weight=classifier.head_weight.detach().numpy().astype(np.float32),
        bias=classifier.head_bias.detach().numpy().astype(np.float32),
    )
