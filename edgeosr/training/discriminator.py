"""The discriminator of a trained run: embeddings of its images, outliers, OpenGAN, and the files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.grouping import grouped_like
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import Parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import DataError
from edgeosr.printed import say
from edgeosr.run import RunRecord, fold_identity, read_run, write_discriminator

if TYPE_CHECKING:
    from edgeosr.training.discriminator_choice import (
        OpenTask,
    )
    from edgeosr.training.open_tasks import LeftOutTask
    from edgeosr.training.opengan import Discriminator
    from edgeosr.training.opengan_settings import OpenGanSettings

LARGEST_HALF = 10_000  # outlier images in each half; more changes nothing and takes memory


@dataclass(frozen=True)
class OutlierHalves:
    """Real outliers, cut into two disjoint halves; no group straddles.

    Attributes:
        train: for the discriminator's loss.
        select: for the choice of its epoch and, in calibration, of the fusion weights.
        classes: their class names.
    """

    train: LabelledImages
    select: LabelledImages
    classes: tuple[str, ...]


def outlier_halves(source: str, parts: Parts, image_set: ImageSet, data_root: Path | None) -> OutlierHalves:
    """Open outliers and cut them in two by a seeded draw of groups; those of ``--groups``, where it says any.

    Args:
        source: path or name, as ``--outliers``.
        parts: of the known data.
        image_set: the known data's set, to see whether the outliers come from the same one.
        data_root: where named sets are looked for.

    Raises:
        DataError: outliers of a known class, or too few of them.
    """
    outliers = open_image_set(source, data_root)
    known_set = image_set if same_set(source, image_set.source) else None
    outliers = grouped_like(outliers, parts.grouping, known_set)
    # The training images where there are any: official test images of the same set stay for the test.
    images = outliers.train if len(outliers.train) else outliers.test
    classes = outliers.train.class_names
    shared = sorted(set(classes) & set(parts.known)) if same_set(source, image_set.source) else []
    if shared:
        raise DataError(
            f"the outliers {source} hold the known classes {', '.join(shared)}; name other classes "
            f"(for example {image_set.source}:{','.join(parts.unknown[:2]) or 'CLASS'}) or another set"
        )
    groups = np.unique(images.groups) if images is not None else np.empty(0, np.int64)
    if images is None or len(groups) < 4:
        raise DataError(f"the outliers {source} hold {len(groups)} separate images; at least 4 are needed")
    drawn = np.random.default_rng([parts.seed, 1]).permutation(groups)
    first = np.isin(images.groups, drawn[: len(drawn) // 2])
    train, select = (
        images.subset(np.flatnonzero(half)).evenly_spaced(LARGEST_HALF) for half in (first, ~first)
    )
    return OutlierHalves(train, select, tuple(classes))


def same_set(first: str, second: str) -> bool:
    """Return True if two sources name the same set, whatever classes they are restricted to."""
    return first.partition(":")[0] == second.partition(":")[0]


def add_discriminator(
    run_directory: Path, *, data_root: Path | None = None, threads: int | None = None
) -> RunRecord:
    """Train a discriminator on the embeddings of a finished run's best weights and add it to the run.

    Its epoch and, unless the run says which, the weight of generated features are chosen on real outliers;
    without them on left-out classes: those of the run's finished folds, whose own discriminators are kept
    with them, or of a frozen backbone. Synthetic images choose the epoch only where there is neither.
    A fold's own discriminator is chosen by the other folds, so that what it is worth on the classes that the
    fold leaves out is measured on images that did not choose it.

    Reads the known train and select parts and the run's outliers; the calibrate and test parts are not
    touched. Classes of the run's own set that serve as outliers are no longer unknown ones of the record:
    figures must not be measured on them.

    Args:
        run_directory: of a finished run.
        data_root: where named data sets are looked for.
        threads: of torch; None for as many as there are processors.

    Raises:
        StorageError, DataError: the run or its images cannot be read.
        UsageError, TrainingError: see ``opengan.train_discriminator``.
    """
    from edgeosr.training.discriminator_choice import (
        LAMBDAS_ALONE,
        LAMBDAS_WITH_OUTLIERS,
        OpenTask,
    )
    from edgeosr.training.open_tasks import RunNetwork, left_out_tasks, synthetic_task

    network = RunNetwork(run_directory)
    record = network.record
    data = data_record(record.data, str(Path(run_directory) / "run.json"))
    image_set, parts = reopen_parts(data, data_root)
    train, select = network.decoded(parts.train, "train"), network.decoded(parts.select, "select")
    full = OpenTask(
        known_train=network.embeddings(train.pixels, "train"),
        known_select=network.embeddings(select.pixels, "select"),
        open_select=None,
        kind="left-out classes",
    )
    source, unknown = record.training.get("outliers"), list(record.data["unknown"])
    if not source:
        folds = left_out_tasks(run_directory, record, full, train, select)
        if folds:
            return _add_by_folds(run_directory, record, full, folds, threads)
        task = synthetic_task(network, full, select)
        best, description = _chosen_alone(record, task, LAMBDAS_ALONE, threads)
        return write_discriminator(run_directory, best.layers, description, None, unknown=unknown)
    halves = outlier_halves(source, parts, image_set, data_root)
    open_train, open_select = (
        network.embeddings(network.decoded(half, "outlier").pixels, "outlier")
        for half in (halves.train, halves.select)
    )
    task = replace(full, open_train=open_train, open_select=open_select, kind="real")
    best, description = _chosen_alone(record, task, LAMBDAS_WITH_OUTLIERS, threads)
    outliers = {
        "source": source,
        "classes": list(halves.classes),
        "train": len(open_train),
        "select": len(open_select),
    }
    if same_set(source, record.data["source"]):
        unknown = [name for name in unknown if name not in halves.classes]
    return write_discriminator(run_directory, best.layers, description, outliers, unknown=unknown)


def _chosen_alone(
    record: RunRecord, task: "OpenTask", lambdas: Sequence[float], threads: int | None
) -> "tuple[Discriminator, dict[str, Any]]":
    """Choose by the task's own open validation images."""
    from edgeosr.training.discriminator_choice import train_best

    asked = record.training["lambda_g"]
    tried = lambdas if asked is None else (float(asked),)
    _announce(len(tried))
    best, aurocs = train_best(task, tried, _settings(record), threads)
    return best, _description(best, best.select_auroc, aurocs)


def _add_by_folds(
    run_directory: Path,
    record: RunRecord,
    full: "OpenTask",
    folds: "Sequence[LeftOutTask]",
    threads: int | None,
) -> RunRecord:
    """Choose by the folds; write the run's discriminator and those of folds that are runs of their own."""
    from edgeosr.training.discriminator_choice import LAMBDAS, LAMBDAS_ALONE, train_and_choose

    asked = record.training["lambda_g"]
    # On a frozen backbone it gets no weight without outliers, and a training takes longest there.
    usual = LAMBDAS_ALONE if record.training["freeze"] else LAMBDAS
    lambdas = usual if asked is None else (float(asked),)
    _announce(len(lambdas) * (len(folds) + 1), weightless=record.training["freeze"])
    found = train_and_choose(full, [fold.task for fold in folds], lambdas, _settings(record), threads)
    best, choice = found.full, found.choice
    runs = [(fold.run, one) for fold, one in zip(folds, found.own, strict=True) if fold.run is not None]
    # The full network's first: a call that is stopped here is gone on with, since a fold still lacks its own.
    chosen_by = [fold_identity(read_run(run)) for run, _ in runs]
    description = {**_description(best, choice.auroc, choice.tried), "folds": chosen_by}
    written = write_discriminator(
        run_directory, best.layers, description, None, unknown=list(record.data["unknown"])
    )
    for run, one in runs:
        unknown = list(read_run(run).data["unknown"])
        write_discriminator(run, one.layers, _description(one, None, {}), None, unknown=unknown)
    return written


def _announce(trainings: int, *, weightless: bool = False) -> None:
    """Say that it takes a while, and for what: after a head that took a second nobody expects minutes."""
    several = f"{trainings} trainings" if trainings > 1 else "one training"
    why = "; it is shown, but weighs nothing on a frozen backbone without --outliers" * weightless
    say(f"the discriminator comes next: {several} of up to a minute each{why}; --no-discriminator for none")


def _settings(record: RunRecord) -> "OpenGanSettings":
    from edgeosr.training.opengan_settings import OpenGanSettings

    seed = int(record.data["seed"])
    return OpenGanSettings(lambda_o=record.training["lambda_o"], seed=seed)


def _description(
    found: "Discriminator", auroc: float | None, tried: Mapping[float, float | None]
) -> dict[str, Any]:
    """Return what ``RunRecord.discriminator`` says.

    Args:
        found: the discriminator.
        auroc: on what chose it; None if nothing of its own did.
        tried: the best AUROC there by the weight of generated features.
    """
    return {
        "slope": found.slope,
        "selected_by": found.selected_by,
        "best_epoch": found.best_epoch,
        "select_auroc": auroc,
        "lambda_g": found.settings.lambda_g,
        "tried_lambda_g": {f"{value:g}": best for value, best in tried.items()},
        "history": [epoch.as_json() for epoch in found.history],
    }
