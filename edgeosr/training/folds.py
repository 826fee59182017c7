"""Cross-class validation: the run's recipe once more on folds that each leave some known classes out.

The export scores the classes left out as unknown on each fold's network. A fold is an ordinary run of its own
in ``folds/1``, ``folds/2``, ... of the run; a finished one has a record, as every run.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edgeosr.data.class_folds import FEWEST_CLASSES, fold_parts, named_classes
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import DataError, EdgeosrError
from edgeosr.files import storage_errors
from edgeosr.printed import counted
from edgeosr.run import (
    FOLDS,
    LAST,
    LOG,
    RECORD,
    WEIGHTS,
    RunRecord,
    fold_directory,
    fold_runs,
    is_fold,
    read_run,
)
from edgeosr.training.checkpoint import read_checkpoint, require_same_run
from edgeosr.training.fold_places import gpus, places, threads_of_each
from edgeosr.training.fold_plan import (
    Fold,
    FoldPlan,
    fold_settings,
    folds_that_count,
    new_plan,
    plan_path,
    read_plan,
    require_same_plan,
    resume_command,
    start_again,
    wants_folds,
    write_plan,
)
from edgeosr.training.fold_processes import Order, epochs_done, run_folds
from edgeosr.training.processors import threads_for
from edgeosr.training.settings import TrainSettings, settings_from_json
from edgeosr.usable_processors import usable_processors

START_S = 6.0  # of one process: loading torch and the images
NAMED_FOLDS = 4


@dataclass(frozen=True)
class _Run:
    """A finished run, opened for its folds."""

    directory: Path
    record: RunRecord
    settings: TrainSettings
    image_set: ImageSet
    parts: Parts


def add_folds(directory: Path, settings: TrainSettings, *, say: Callable[[str], None]) -> None:
    """Train the folds that a finished run is to have and has not yet.

    A stopped or failed call leaves the finished folds, and of the others what is needed to go on to the same
    bits; the run itself is whole all along.

    Args:
        directory: the run.
        settings: of the call: folds, fold_epochs, data_root, threads and devices count; how to train says
            the run's own record.
        say: prints a line for people.

    Raises:
        UsageError: other folds are asked for than the run has begun with, or than its classes allow.
        DataError: ``folds/`` holds what is none of this run's folds, or the images leak between parts.
        TrainingError: a fold failed.
    """
    if is_fold(directory):
        return
    known = tuple(read_run(directory).data["known"])
    if settings.folds == 0:
        # The choice lasts: a later --resume must not add what would now be the default.
        if replace(settings, folds=None, fold_epochs=None).most_folds and not plan_path(directory).exists():
            write_plan(directory, FoldPlan((), 1))
        return
    if not wants_folds(settings, read_plan(directory, known, settings)):
        return
    run = _opened(directory, settings)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the run's own memory, which the folds want now
    plan = _plan(run, settings, say)
    if not plan.folds:
        return
    digests = _require_own(run, plan)
    finished = fold_runs(directory)
    waiting = [fold for fold in plan.folds if fold_directory(directory, fold.number) not in finished]
    if not waiting:
        return
    write_plan(directory, plan)
    threads = threads_of_each(len(plan.folds), settings, run.record.result) or plan.threads
    slower = threads / (settings.threads or threads_for(run.settings))
    orders = [_order(run, plan, fold, threads, digests[fold.number]) for fold in waiting]
    found = places(len(waiting), settings, run.record.result)
    # As if folds on one GPU shared its time: how much of it one leaves idle is not known before.
    seconds = _seconds(run, waiting, gpus(found), slower)
    say(announcement(waiting, len(plan.folds), len(found), seconds))
    try:
        run_folds(orders, found, lambda fold: say(_result(run, fold, len(plan.folds))))
    except (KeyboardInterrupt, EdgeosrError) as error:
        done = len(fold_runs(directory))
        shared = len(found) > gpus(found) and not isinstance(error, KeyboardInterrupt)
        alone = f" (alone on a GPU, if memory was short: --devices {gpus(found)})" if shared else ""
        say(
            f"the run is trained, and {done} of its {len(plan.folds)} folds {'is' if done == 1 else 'are'}; "
            f"to go on with the others: {resume_command(directory, settings)}{alone}"
        )
        raise


def _opened(directory: Path, settings: TrainSettings) -> _Run:
    record = read_run(directory)
    own = settings_from_json(record.training, data_root=settings.data_root)
    image_set, parts = reopen_parts(data_record(record.data, str(directory / RECORD)), settings.data_root)
    return _Run(directory, record, own, image_set, parts)


def _plan(run: _Run, settings: TrainSettings, say: Callable[[str], None]) -> FoldPlan:
    """Return the plan that the run has begun with, or a new one; say why it has fewer folds than usual."""
    plan = read_plan(run.directory, run.parts.known, settings)
    if plan is not None and plan.folds:
        require_same_plan(plan, settings, run.directory)
        return plan
    wanted = replace(run.settings, folds=settings.folds, fold_epochs=settings.fold_epochs)
    left_out, why = folds_that_count(wanted, run.parts)
    if not left_out and not why:
        why = (
            f"no folds: leaving classes out needs {FEWEST_CLASSES} known classes, "
            f"and there are {len(run.parts.known)}"
        )
    if why:
        say(why)
    counts = np.bincount(run.parts.train.labels, minlength=len(run.parts.known)).tolist()
    count, result = max(1, len(left_out)), run.record.result
    at_once = len(places(count, settings, result))
    # Side by side, each fold has its share of the processors; more than a step is worth would slow it down.
    share = max(1, usable_processors() // at_once)
    threads = threads_of_each(count, settings, result) or min(threads_for(run.settings), share)
    images = dict(zip(run.parts.known, counts, strict=True))
    return new_plan(left_out, wanted, run.record, images, threads)


def _require_own(run: _Run, plan: FoldPlan) -> dict[int, dict[str, str]]:
    """Prove that no fold trains on the run's calibrate or test images, and that what is there is its own.

    Returns:
        the digests of each fold's parts, by its number.
    """
    folder = run.directory / FOLDS
    names = {str(fold.number) for fold in plan.folds}
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if any(re.fullmatch("[0-9]+", name) for name in found - names):
        strange = min(found - names)
        raise DataError(
            f"{folder / strange} is none of the {len(plan.folds)} folds of this run; "
            f"{start_again(run.directory, plan)}"
        )
    proven = {fold.number: fold_parts(run.image_set, run.parts, fold.kept).digests for fold in plan.folds}
    for fold in plan.folds:
        digests = proven[fold.number]
        directory = folder / str(fold.number)
        if not (directory / RECORD).exists():
            continue
        data = read_run(directory).data
        same = data["known"] == list(fold.kept) and all(
            data["digests"].get(part) == digests[part] for part in ("train", "select", "calibrate", "test")
        )
        if not same or not (directory / WEIGHTS).exists():
            raise DataError(
                f"{directory} is not {fold.name} of this run: it knows {named_classes(data['known'])}, seed "
                f"{data['seed']}{'' if same else ', of other images'}; {start_again(run.directory, plan)}"
            )
    return proven


def _order(run: _Run, plan: FoldPlan, fold: Fold, threads: int, digests: dict[str, str]) -> Order:
    """Make the fold's directory ready, and return how to train it or to go on with it."""
    directory = fold_directory(run.directory, fold.number)
    settings = fold_settings(run.settings, fold, directory, threads=threads)
    with storage_errors("clear", directory):
        for path in directory.glob(".*.part"):  # what a killed process was writing
            path.unlink()
        if (directory / LAST).exists():
            try:
                require_same_run(read_checkpoint(directory), settings.as_json(), digests)
            except EdgeosrError as error:
                raise DataError(
                    f"{directory} was begun as another fold, or its {LAST} is damaged; "
                    f"{start_again(run.directory, plan)}"
                ) from error
            return fold, replace(settings, resume=True)
        strange = sorted({path.name for path in directory.glob("*")} - {WEIGHTS, LOG})
        if strange:
            raise DataError(
                f"{directory} holds {strange[0]}, which no fold leaves there; "
                f"{start_again(run.directory, plan)}"
            )
        if directory.exists():
            shutil.rmtree(directory)  # killed in its first epoch
    return fold, settings


def _seconds(run: _Run, folds: Sequence[Fold], at_once: int, slower: float) -> float | None:
    """Estimate the time of folds from the speed of the run; None if its record tells none.

    Args:
        run: with its record.
        folds: to train, or to go on with.
        at_once: how many of them train at a time, each on processors of its own.
        slower: a fold's CPU threads, as a share of the run's.
    """
    told = run.record.result.get("images_per_second")
    if not isinstance(told, int | float) or told <= 0:
        return None
    rate: float = told / run.record.result.get("processes", 1)
    rate *= 1.0 if torch.cuda.is_available() else slower
    counts = np.bincount(run.parts.train.labels, minlength=len(run.parts.known))
    longest = 0
    for fold in folds:
        images = int(sum(counts[run.parts.known.index(name)] for name in fold.kept))
        done = epochs_done(fold_directory(run.directory, fold.number))
        longest = max(longest, images * (fold.epochs - done))
    return -(-len(folds) // at_once) * (longest / rate + START_S)


def announcement(folds: Sequence[Fold], planned: int, at_once: int, seconds: float | None) -> str:
    """Return what is to be trained, and how long that takes, in a line."""
    left = " | ".join(named_classes(fold.left_out) for fold in folds[:NAMED_FOLDS])
    left += f" | and {len(folds) - NAMED_FOLDS} more" if len(folds) > NAMED_FOLDS else ""
    few, many = (pick(fold.epochs for fold in folds) for pick in (min, max))
    epochs = counted(many, "epoch") if few == many else f"{few} to {many} epochs"
    count = f"{planned} folds" if len(folds) == planned else f"{len(folds)} of {planned} folds"
    time = "" if seconds is None else f": about {duration(seconds)}"
    return (
        f"training {count}: the same network without some known classes ({left}), which then stand for the "
        f"unknown and weigh the score parts; {epochs} each, {at_once} at a time{time}; --folds 0 for none"
    )


def duration(seconds: float) -> str:
    """Return a rough time in words."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def _result(run: _Run, fold: Fold, planned: int) -> str:
    result = read_run(fold_directory(run.directory, fold.number)).result
    return (
        f"fold {fold.number}/{planned} (without {named_classes(fold.left_out)}): select accuracy "
        f"{result['select_accuracy']:.4f} after {counted(result['epochs'], 'epoch')}, "
        f"{result['seconds']:.0f} s"
    )
