"""What a run's discriminator learns from and is tried on: embeddings of its own network, or of its folds'."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgeosr.data.class_folds import FEWEST_CLASSES, FEWEST_IMAGES, planned_folds
from edgeosr.data.decode import Decoded, decode_images
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.model.backbone import channels_last
from edgeosr.model.classifier import load_classifier
from edgeosr.run import RunRecord, fold_runs, read_run
from edgeosr.training.augmentation import Normalise
from edgeosr.training.discriminator_choice import OpenTask
from edgeosr.training.epoch import embed
from edgeosr.training.fold_accuracy import surely_collapsed
from edgeosr.training.opengan_settings import Float32
from edgeosr.training.synthetic_outliers import OUTLIER_KINDS, make_synthetic_outliers

SYNTHETIC_PER_KIND = 400  # synthetic outlier images of each kind, made from the select part
# Groups of classes that a frozen backbone's discriminator is tried on; a training for each takes a while.
FROZEN_FOLDS = 3


class RunNetwork:
    """A finished run's best weights, ready to embed."""

    def __init__(self, directory: Path) -> None:
        self.record = read_run(directory)
        self._classifier = load_classifier(directory)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        channels_last(self._classifier, device)
        self._normalise = Normalise(self.record.preprocessing, device)

    def decoded(self, images: LabelledImages, what: str) -> Decoded:
        """Read images; DataError if more than 1 % cannot be read."""
        return decode_images(images, self.record.preprocessing, description=f"reading {what} images")

    def embeddings(self, pixels: NDArray[np.uint8], what: str) -> Float32:
        """Return z, float32 ``[n, D]``, of uint8 ``[n, S, S, 3]``."""
        return embed(self._classifier, pixels, self._normalise, f"embedding {what} images")


@dataclass(frozen=True, kw_only=True)
class LeftOutTask:
    """``task``: with left-out classes as open validation; ``run``: the fold's, None on a frozen backbone."""

    task: OpenTask
    run: Path | None


def left_out_tasks(
    run: Path, record: RunRecord, full: OpenTask, train: Decoded, select: Decoded
) -> list[LeftOutTask]:
    """Return one task a fold of left-out classes; none where there are no folds that can be used.

    Args:
        run: the run directory.
        record: of the run.
        full: its own embeddings of ``train`` and ``select``.
        train: the train part.
        select: the select part.

    Raises:
        StorageError, DataError: a fold cannot be read.
    """
    if not record.training["freeze"]:
        return [_of_fold(fold, record, train, select) for fold in usable_folds(run, record)]
    found = _of_frozen(record, full, train, select)
    sizes = [min(len(one.task.known_select), len(_open(one))) for one in found]
    return [one for one, size in zip(found, sizes, strict=True) if size >= FEWEST_IMAGES]


def usable_folds(run: Path, record: RunRecord) -> list[Path]:
    """Return the finished folds of a run that can choose its discriminator; their images are not read.

    Args:
        run: the run directory.
        record: of the run.

    Raises:
        StorageError, DataError: a fold cannot be read.
    """
    usable = []
    for fold in fold_runs(run):
        own = read_run(fold)
        train, select, kept_train, kept_select = (
            int(one.data["sizes"][part][0]) for one in (record, own) for part in ("train", "select")
        )
        smallest = min(kept_select, train + select - kept_train - kept_select)
        if smallest >= FEWEST_IMAGES and not surely_collapsed(own, record):
            usable.append(fold)
    return usable


def synthetic_task(network: RunNetwork, full: OpenTask, select: Decoded) -> OpenTask:
    """Return the task with synthetic outliers, made from the select images, as open validation."""
    # Turned images are known where the rotation auxiliary trained on them.
    training = network.record.training
    rotates = training["rotation_weight"] > 0 and not training["freeze"]
    kinds = tuple(kind for kind in OUTLIER_KINDS if not (rotates and kind == "rotated"))
    seed = int(network.record.data["seed"])
    images = make_synthetic_outliers(
        select.pixels, seed, SYNTHETIC_PER_KIND, labels=select.labels, kinds=kinds
    )
    return replace(full, open_select=network.embeddings(images, "synthetic"), kind="synthetic")


def _open(one: LeftOutTask) -> Float32:
    assert one.task.open_select is not None
    return one.task.open_select


def _of_frozen(record: RunRecord, full: OpenTask, train: Decoded, select: Decoded) -> list[LeftOutTask]:
    classes = len(record.data["known"])
    if classes < FEWEST_CLASSES:
        return []
    found = []
    for left in planned_folds(classes, FROZEN_FOLDS, int(record.training["seed"])):
        gone, gone_select = np.isin(train.labels, left), np.isin(select.labels, left)
        task = OpenTask(
            known_train=full.known_train[~gone],
            known_select=full.known_select[~gone_select],
            open_select=np.concatenate([full.known_train[gone], full.known_select[gone_select]]),
            kind="left-out classes",
        )
        found.append(LeftOutTask(task=task, run=None))
    return found


def _of_fold(fold: Path, record: RunRecord, train: Decoded, select: Decoded) -> LeftOutTask:
    network = RunNetwork(fold)
    kept = [record.data["known"].index(name) for name in network.record.data["known"]]
    inside, inside_select = np.isin(train.labels, kept), np.isin(select.labels, kept)
    open_pixels = np.concatenate([train.pixels[~inside], select.pixels[~inside_select]])
    task = OpenTask(
        known_train=network.embeddings(train.pixels[inside], "train"),
        known_select=network.embeddings(select.pixels[inside_select], "select"),
        open_select=network.embeddings(open_pixels, "left-out"),
        kind="left-out classes",
    )
    return LeftOutTask(task=task, run=fold)
