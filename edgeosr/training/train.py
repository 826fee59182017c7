"""From settings to a run directory, in one process or many; ``train_run.py`` is the way in."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.multiprocessing.spawn import ProcessRaisedException

from edgeosr import __version__
from edgeosr.bundle.made_of import DEMO
from edgeosr.data.decode import Decoded, decode_images
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.outlier_weighing import too_few_to_weigh
from edgeosr.data.parts import Parts
from edgeosr.errors import TrainingError, UsageError
from edgeosr.files import storage_errors
from edgeosr.leftovers import remove_leftovers
from edgeosr.model.backbone import channels_last
from edgeosr.model.classifier import Classifier, build_classifier
from edgeosr.preprocessing import Preprocessing
from edgeosr.printed import printable, say
from edgeosr.run import LAST, RECORD, RunRecord, write_run
from edgeosr.training.augmentation import Normalise, make_augmentation, pixel_statistics
from edgeosr.training.checkpoint import Progress, read_checkpoint, require_same_run
from edgeosr.training.discriminator import outlier_halves
from edgeosr.training.epoch import Examples, Feed, embed, seed_epoch, to_examples
from edgeosr.training.finish import finish
from edgeosr.training.fold_places import peak_gpu_memory
from edgeosr.training.fold_plan import resume_command
from edgeosr.training.jacobian_plot import conditions, require_matplotlib
from edgeosr.training.loop import train_epochs
from edgeosr.training.objective import Objective
from edgeosr.training.open_data import open_parts
from edgeosr.training.processors import (
    device_name,
    limited_threads,
    make_fabric,
    quiet_unless,
    threads_for,
)
from edgeosr.training.settings import TrainSettings, default_name
from edgeosr.training.watch_jacobian import JacobianWatch, WatchedImages, watched_images

_INITIALISATION = 2**32 - 1  # stands for an epoch number in the seed of the initial weights


@dataclass(frozen=True)
class _Material:
    """What one process trains on."""

    image_set: ImageSet
    parts: Parts
    preprocessing: Preprocessing
    train: Decoded
    select: Decoded
    watched: WatchedImages | None


def train(settings: TrainSettings) -> Path:
    """Train a run as told, discriminator and folds included, and return its directory.

    The test and calibrate parts are not decoded here.

    Raises:
        UsageError, DataError: settings or images cannot be used; nothing is written.
        TrainingError: the loss is not finite, or a fold failed; what is finished stays, to be resumed.
        StorageError: the run cannot be written.
        KeyboardInterrupt: Ctrl-C; how to resume is printed, and the last finished epoch stays.
    """
    directory = _trained_before(settings) or _launched(settings)
    with limited_threads(threads_for(settings)):
        return finish(directory, settings, say=say)


def _trained_before(settings: TrainSettings) -> Path | None:
    out = settings.out if settings.resume else None
    if out is None or not (out / RECORD).exists():
        return None
    with storage_errors("clear", out):
        (out / LAST).unlink(missing_ok=True)  # a process was killed when it had written the record
    return out


def _launched(settings: TrainSettings) -> Path:
    """Train in as many processes as wanted and return the run directory."""
    if settings.out is not None:
        _require_free(settings.out, settings)
    fabric = make_fabric(settings)
    # Settings are bound, not passed: Fabric takes arguments apart and refuses frozen dataclasses.
    work = functools.partial(_train_in_process, settings=settings)
    try:
        return Path(fabric.launch(work))
    except ProcessRaisedException as error:
        reason = str(error).strip().splitlines()[-1]
        raise TrainingError(f"one of the training processes failed: {reason}") from error


def _train_in_process(fabric: Any, settings: TrainSettings) -> str:
    """Train in one of the launched processes; all return the run directory."""
    processes = max(1, fabric.world_size // settings.num_nodes)
    with limited_threads(threads_for(settings, processes=processes)):
        return str(_trained(fabric, settings))


def _trained(fabric: Any, settings: TrainSettings) -> Path:
    with quiet_unless(fabric.global_rank == 0):
        material = _open(settings)
    resumed = read_checkpoint(settings.out) if settings.resume and settings.out else None
    if resumed is not None:
        require_same_run(resumed, settings.as_json(), material.parts.digests)
    directory = Path(fabric.broadcast(str(_directory(settings)) if fabric.global_rank == 0 else ""))
    with _cleaned_up(directory, settings, speaking=fabric.global_rank == 0):
        seed_epoch(settings.seed, _INITIALISATION, 0)
        classifier = build_classifier(
            settings.arch, settings.size, len(material.parts.known),
            "cosine" if settings.loss == "movr" else "linear",
            pretrained=settings.pretrained,
        )  # fmt: skip
        preprocessing = _normalised(material.preprocessing, classifier, material.train.pixels)
        feed = _feed(settings, preprocessing, material.image_set.flips, fabric.device)
        train_part, select_part = _examples(fabric, settings, classifier, material, feed)
        objective = Objective(
            classifier,
            temperature=settings.temperature,
            margin=settings.margin,
            rotation_weight=settings.rotation_weight if settings.rotates else 0.0,
        )
        progress = train_epochs(
            fabric, objective, train_part, select_part, feed, settings, directory,
            material.parts.digests, resumed, say=say, watch=_watch(settings, material, feed),
        )  # fmt: skip
        if fabric.global_rank == 0:
            record = _record(fabric, settings, material, preprocessing, classifier, progress, directory.name)
            if resumed is None and fabric.world_size == 1:  # of a whole batch, and of every epoch
                record.result.update(peak_gpu_memory())
            write_run(directory, record)
            (directory / LAST).unlink(missing_ok=True)
        fabric.barrier()
    return directory


def _open(settings: TrainSettings) -> _Material:
    image_set, parts = open_parts(settings)
    if settings.outliers is not None and settings.discriminator:
        # Only to refuse them now rather than after hours of training.
        halves = outlier_halves(settings.outliers, parts, image_set, settings.data_root)
        known, unknown = parts.select, halves.select
        few = too_few_to_weigh(len(known), len(unknown), known.groups, unknown.groups)
        if few:
            say(f"note: {few}")
    preprocessing = Preprocessing(height=settings.size, width=settings.size, fit=settings.fit)
    select = decode_images(parts.select, preprocessing, description="reading select images")
    watched = None
    if settings.watch_jacobian:
        require_matplotlib()
        watched = watched_images(
            parts, image_set, select.pixels, preprocessing, images=settings.watch_images,
            unknown_source=settings.watch_unknown, data_root=settings.data_root,
        )  # fmt: skip
    return _Material(
        image_set=image_set,
        parts=parts,
        preprocessing=preprocessing,
        train=decode_images(parts.train, preprocessing, description="reading train images"),
        select=select,
        watched=watched,
    )


def _watch(settings: TrainSettings, material: _Material, feed: Feed) -> JacobianWatch | None:
    if material.watched is None:
        return None
    return JacobianWatch(
        material.watched, feed.normalise, probes=settings.watch_probes, seed=settings.seed,
        conditions=functools.partial(
            conditions, settings.as_json(), material.image_set.title, len(material.parts.known)
        ),
    )  # fmt: skip


def _normalised(
    preprocessing: Preprocessing, classifier: Classifier, pixels: NDArray[np.uint8]
) -> Preprocessing:
    """Set mean and std: the pretrained weights' own, else those of the known training pixels alone."""
    backbone = classifier.backbone
    if backbone.mean is not None and backbone.std is not None:
        return replace(preprocessing, mean=backbone.mean, std=backbone.std)
    mean, std = pixel_statistics(pixels)
    return replace(preprocessing, mean=mean, std=std)


def _feed(settings: TrainSettings, preprocessing: Preprocessing, flips: bool, device: torch.device) -> Feed:
    augment = make_augmentation(
        settings.size,
        shift=0.0 if settings.freeze else settings.shift,
        flip=not settings.freeze and (flips if settings.flip is None else settings.flip),
        color_jitter=0.0 if settings.freeze else settings.color_jitter,
    )
    return Feed(Normalise(preprocessing, device), augment)


def _examples(
    fabric: Any, settings: TrainSettings, classifier: Classifier, material: _Material, feed: Feed
) -> tuple[Examples, Examples]:
    """Return the train and select examples: images, or for a frozen backbone their embeddings."""
    parts = material.train, material.select
    if not settings.freeze:
        train_part, select_part = (to_examples(part.pixels, part.labels) for part in parts)
        return train_part, select_part
    classifier.backbone.requires_grad_(False)
    channels_last(classifier, fabric.device)
    frozen = []
    with quiet_unless(fabric.global_rank == 0):
        for part in parts:
            z = embed(classifier, part.pixels, feed.normalise, "computing features of the frozen backbone")
            frozen.append(Examples(torch.from_numpy(z), torch.from_numpy(part.labels)))
    return frozen[0], frozen[1]


def _directory(settings: TrainSettings) -> Path:
    """Return the run directory, made if it is new."""
    if settings.out is not None:
        with storage_errors("make", settings.out):
            settings.out.mkdir(parents=True, exist_ok=True)
        return settings.out
    name = default_name(settings)
    for number in range(1, 10_000):
        directory = Path("runs") / (name if number == 1 else f"{name}-{number}")
        with storage_errors("make", directory):
            directory.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError):
                directory.mkdir()  # fails if it exists: two runs started together get two directories
                return directory
    raise UsageError(f"there are 9999 runs named {name}; give another directory with --out")


def _require_free(directory: Path, settings: TrainSettings) -> None:
    """Refuse to write over another run, or to resume what is not there."""
    remove_leftovers(directory / LAST)  # of a process that was killed in its first epoch
    unfinished = (directory / LAST).exists()
    if settings.resume and not unfinished:
        read_checkpoint(directory)
    # The demo marks its folder before it trains.
    if (
        not settings.resume
        and directory.exists()
        and (not directory.is_dir() or any(entry.name != DEMO for entry in directory.iterdir()))
    ):
        advice = f"run: {resume_command(directory, settings)}" if unfinished else "choose another --out"
        raise UsageError(f"{directory} exists and is not empty; {advice}")


@contextlib.contextmanager
def _cleaned_up(directory: Path, settings: TrainSettings, *, speaking: bool) -> Iterator[None]:
    """On any end before the first finished epoch leave no directory; on Ctrl-C say how to go on."""
    try:
        yield
    except BaseException as error:
        if speaking:
            with contextlib.suppress(OSError):
                directory.rmdir()  # only if empty
            if isinstance(error, KeyboardInterrupt):
                say(
                    f"stopped; to go on from the last finished epoch: {resume_command(directory, settings)}"
                    if (directory / LAST).exists()
                    else "stopped before the first epoch was finished; nothing was kept"
                )
        raise


def _record(
    fabric: Any,
    settings: TrainSettings,
    material: _Material,
    preprocessing: Preprocessing,
    classifier: Classifier,
    progress: Progress,
    name: str,
) -> RunRecord:
    data = material.parts.record(settings.data, material.image_set.title, settings.split)
    best = progress.history[progress.best_epoch - 1]
    return RunRecord(
        name=printable(name),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version=__version__,
        data=data.as_json(),
        outliers=None,
        model={
            "arch": settings.arch,
            "input_size": settings.size,
            "dimension": classifier.dimension,
            "head": classifier.head,
            "temperature": settings.temperature,
            "pretrained": settings.pretrained,
        },
        preprocessing=preprocessing,
        training=settings.as_json(),
        result={
            "epochs": progress.epochs,
            "best_epoch": progress.best_epoch,
            "select_accuracy": best["select_accuracy"],
            "seconds": round(progress.seconds, 1),
            "images_per_second": round(progress.images / progress.seconds, 1),
            "device": device_name(fabric.device),
            "processes": fabric.world_size,
            "precision": str(fabric.strategy.precision.precision),
            "torch": str(torch.__version__),
        },
    )
