"""Which folds a run gets: the classes each leaves out, its epochs, its threads. Torch is not needed.

``folds/plan.json`` keeps the plan from the first fold's start on, so that a stopped run goes on with exactly
those folds; one without any keeps that none were wanted. It says what is to be made; what is there, only the
folds' own directories say.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from edgeosr.bundle.checked_json import parse_json
from edgeosr.bundle.left_out import MOST_FOLDS
from edgeosr.data.class_folds import (
    FEWEST_CLASSES,
    FEWEST_FOLDS,
    FEWEST_IMAGES,
    fold_parts,
    fold_sides,
    named_classes,
    planned_folds,
)
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Parts
from edgeosr.errors import MOST_THREADS, DataError, UsageError
from edgeosr.files import storage_errors, write_text
from edgeosr.printed import counted
from edgeosr.run import FOLDS, RunRecord
from edgeosr.training.settings import LARGEST_COUNT, TrainSettings

PLAN = "plan.json"
FORMAT = 1
_LARGEST_PLAN = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Fold:
    """One fold to train.

    Attributes:
        number: from 1; names its directory.
        left_out, kept: names of the run's known classes, in its order.
        epochs: passes over the train images of ``kept``.
    """

    number: int
    left_out: tuple[str, ...]
    kept: tuple[str, ...]
    epochs: int

    @property
    def name(self) -> str:
        """What to call it: ``"fold 1 (without cat, dog)"``."""
        return f"fold {self.number} (without {named_classes(self.left_out)})"


@dataclass(frozen=True)
class FoldPlan:
    """All folds of a run, and the CPU threads of each: the same at every sitting, for the same bits.

    Without folds: none are wanted, until they are asked for.
    """

    folds: tuple[Fold, ...]
    threads: int


def classes_left_out(settings: TrainSettings, known: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the names that each fold leaves out; empty if there are to be no folds.

    Raises:
        UsageError: folds were asked for that cannot be made of so few classes.
    """
    if _asked(settings) and len(known) < FEWEST_CLASSES:
        raise UsageError(
            f"folds leave known classes out, so they need at least {FEWEST_CLASSES}; got {len(known)}; leave "
            "--folds out, or name more classes"
        )
    labels = planned_folds(len(known), settings.most_folds, settings.seed)
    if any(len(known) - len(left) < 2 for left in labels):
        raise UsageError(
            f"each fold must keep 2 known classes at least; got {len(labels)} folds of {len(known)} classes; "
            f"ask for --folds {len(known)}"
        )
    return [tuple(known[label] for label in left) for left in labels]


def folds_that_count(settings: TrainSettings, parts: Parts) -> tuple[list[tuple[str, ...]], str]:
    """Return the names that each fold leaves out, of folds with images enough to tell something.

    Returns:
        those folds, and why there are not more, in a line; empty if all of them count.

    Raises:
        UsageError: as ``classes_left_out`` says, or folds were asked for that cannot count.
    """
    planned = classes_left_out(settings, parts.known)
    small, counting = [], []
    for left_out in planned:
        known, unknown = fold_sides(parts, left_out)
        if min(known, unknown) >= FEWEST_IMAGES:
            counting.append(left_out)
        else:
            small.append(
                f"without {named_classes(left_out)} there are {known} select images of the others and "
                f"{unknown} train and select images of these"
            )
    if not small:
        return planned, ""
    why = f"{small[0]}, and a fold tells nothing with fewer than {FEWEST_IMAGES} on one side"
    if _asked(settings):
        raise UsageError(
            f"too few images in {len(small)} of {len(planned)} folds: {why}; add images, or leave "
            "--folds and --fold-epochs out"
        )
    if len(counting) < FEWEST_FOLDS:
        return [], f"no folds: {why}"
    return counting, f"{len(counting)} folds in the place of {len(planned)}: {why}"


def require_possible_folds(settings: TrainSettings, image_set: ImageSet, parts: Parts) -> None:
    """Refuse folds that cannot be made, before the run is trained for hours.

    Raises:
        UsageError, DataError: as ``folds_that_count``, ``fold_parts`` and ``read_plan`` say.
    """
    if settings.folds == 0:
        return
    plan = read_plan(settings.out, parts.known) if settings.resume and settings.out is not None else None
    if plan is not None and (plan.folds or not _asked(settings)):
        return
    for left_out in folds_that_count(settings, parts)[0]:
        fold_parts(image_set, parts, [name for name in parts.known if name not in left_out])


def wants_folds(settings: TrainSettings, plan: FoldPlan | None) -> bool:
    """Tell whether a finished run is to have folds.

    Args:
        settings: of the call.
        plan: what the run has begun with; None if it has no plan.
    """
    if settings.folds == 0:
        return False
    # A plan goes on without being asked for, and so does the choice of none.
    if plan is None or _asked(settings):
        return bool(settings.most_folds) or bool(plan and plan.folds)
    return bool(plan.folds)


def _asked(settings: TrainSettings) -> bool:
    return bool(settings.folds or settings.fold_epochs)


def new_plan(
    left_out_of_each: Sequence[tuple[str, ...]],
    settings: TrainSettings,
    record: RunRecord,
    images: dict[str, int],
    threads: int,
) -> FoldPlan:
    """Plan the folds of a finished run.

    Args:
        left_out_of_each: names of the classes that each fold leaves out.
        settings: with ``fold_epochs`` as asked for.
        record: of the run.
        images: its number of train images by class.
        threads: CPU threads of each fold.
    """
    known = tuple(record.data["known"])
    folds: list[Fold] = []
    for left_out in left_out_of_each:
        kept = tuple(name for name in known if name not in left_out)
        share = sum(images.values()) / sum(images[name] for name in kept)
        steps_matched = math.ceil(record.result["epochs"] * share - 1e-9)
        epochs = settings.fold_epochs or min(steps_matched, LARGEST_COUNT)
        folds.append(Fold(len(folds) + 1, left_out, kept, epochs))
    return FoldPlan(tuple(folds), threads)


def read_plan(
    directory: Path, known: tuple[str, ...], settings: TrainSettings | None = None
) -> FoldPlan | None:
    """Return the plan that the run in ``directory`` has; None if it has none.

    Args:
        directory: the run.
        known: names of its known classes.
        settings: of the call, whose folds the advice repeats.

    Raises:
        DataError: it is damaged, or of a run with other classes than ``known``.
    """
    path = plan_path(directory)
    if not path.exists():
        return None
    try:
        with storage_errors("read", path):
            if path.stat().st_size > _LARGEST_PLAN:
                raise DataError("it is too large")
            document = parse_json(path.read_bytes(), PLAN, DataError, then="")
        field = document.fields(("format", "threads", "folds"))
        field["format"].integer(FORMAT, FORMAT)
        folds: list[Fold] = []
        for item in field["folds"].items(0, MOST_FOLDS):
            values = item.fields(("left_out", "epochs"))
            left_out = tuple(name.text() for name in values["left_out"].items(1))
            kept = tuple(name for name in known if name not in left_out)
            if len(kept) + len(left_out) != len(known) or len(kept) < 2:
                raise DataError(f"it leaves out {named_classes(left_out)}")
            folds.append(Fold(len(folds) + 1, left_out, kept, values["epochs"].integer(1, LARGEST_COUNT)))
        return FoldPlan(tuple(folds), field["threads"].integer(1, MOST_THREADS))
    except DataError as error:
        raise DataError(
            f"{path} is no plan of folds of this run ({error}); {start_again(directory, settings)}"
        ) from error


def write_plan(directory: Path, plan: FoldPlan) -> None:
    """Write the plan atomically; raises StorageError."""
    folds = [{"left_out": list(fold.left_out), "epochs": fold.epochs} for fold in plan.folds]
    document = {"format": FORMAT, "threads": plan.threads, "folds": folds}
    write_text(plan_path(directory), json.dumps(document, indent=2) + "\n")


def require_same_plan(plan: FoldPlan, settings: TrainSettings, directory: Path) -> None:
    """Refuse to go on with a run's folds where others are asked for now (UsageError)."""
    known = (*plan.folds[0].left_out, *plan.folds[0].kept)
    wanted = len(planned_folds(len(known), settings.most_folds, settings.seed))
    if settings.folds is not None and wanted != len(plan.folds):
        asked, there = f"{settings.folds} folds", f"{len(plan.folds)}"
    elif settings.fold_epochs is not None and {fold.epochs for fold in plan.folds} != {settings.fold_epochs}:
        wished, begun = (counted(count, "epoch") for count in (settings.fold_epochs, plan.folds[0].epochs))
        asked, there = f"folds of {wished}", f"some of {begun}"
    else:
        return
    raise UsageError(
        f"{asked} are asked for, but {directory} has begun with {there}; leave --folds and --fold-epochs out "
        f"to go on with those; for others remove {quote(str(Path(directory) / FOLDS))} first"
    )


def fold_settings(run: TrainSettings, fold: Fold, directory: Path, *, threads: int) -> TrainSettings:
    """Return how to train a fold in ``directory``: as the run was trained, on fewer classes.

    One process trains it, without what is no part of its network: discriminator, outliers, watched norm.
    """
    return replace(
        run, known=fold.kept, split=None, epochs=fold.epochs, max_minutes=None, folds=0, fold_epochs=None,
        discriminator=False, outliers=None, watch_jacobian=False, watch_unknown=None, out=directory,
        resume=False, devices=1, num_nodes=1, strategy="auto", threads=threads,
    )  # fmt: skip


def resume_command(directory: Path, settings: TrainSettings) -> str:
    """Return the command that goes on with a run, its folds as asked for: they are in no record."""
    return _resume(directory, settings.folds, settings.fold_epochs)


def start_again(directory: Path, asked: FoldPlan | TrainSettings | None = None) -> str:
    """Return what to do where a run's folds cannot be gone on with; the new ones are those of ``asked``."""
    folds = fold_epochs = None
    if isinstance(asked, TrainSettings):
        folds, fold_epochs = asked.folds, asked.fold_epochs
    elif asked is not None:
        # Epochs that differ follow from the classes, as they will again; so do folds that leave out only
        # some of the classes, the others having too few images.
        epochs = {fold.epochs for fold in asked.folds}
        left_out = sum(len(fold.left_out) for fold in asked.folds)
        if any(len(fold.left_out) + len(fold.kept) == left_out for fold in asked.folds):
            folds, fold_epochs = len(asked.folds), epochs.pop() if len(epochs) == 1 else None
    return f"remove {quote(str(Path(directory) / FOLDS))} and run: {_resume(directory, folds, fold_epochs)}"


def _resume(directory: Path, folds: int | None, fold_epochs: int | None) -> str:
    words = [f"edgeosr train --resume {quote(str(directory))}"]
    for option, value in (("--folds", folds), ("--fold-epochs", fold_epochs)):
        words += [] if value is None else [f"{option} {value}"]
    return " ".join(words)


def plan_path(directory: Path) -> Path:
    """Return where a run's plan lies."""
    return Path(directory) / FOLDS / PLAN


def as_order(settings: TrainSettings) -> dict[str, Any]:
    """Return a fold's settings as plain values, for the process that trains it."""
    return {
        "settings": settings.as_json(),
        "data_root": None if settings.data_root is None else str(settings.data_root),
        "out": str(settings.out),
        "resume": settings.resume,
        "threads": settings.threads,
    }
