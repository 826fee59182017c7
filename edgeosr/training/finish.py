"""What a trained run still gets: the folds of left-out classes beside it, and its discriminator."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from edgeosr.errors import TrainingError
from edgeosr.files import storage_errors
from edgeosr.run import fold_identity, fold_runs, read_run
from edgeosr.training.discriminator import add_discriminator
from edgeosr.training.fold_plan import resume_command
from edgeosr.training.folds import add_folds
from edgeosr.training.open_tasks import usable_folds
from edgeosr.training.settings import TrainSettings

# What launchers of several processes call the number of each.
_RANKS = ("RANK", "SLURM_PROCID")


def finish(directory: Path, settings: TrainSettings, *, say: Callable[[str], None]) -> Path:
    """Add what a trained run still lacks, and return its directory; the first process only does it.

    Raises:
        TrainingError: another process is at it, or a fold failed.
        UsageError, DataError, StorageError: as ``add_folds`` and ``add_discriminator`` say.
    """
    if not _first_process():
        return directory
    with _alone(directory):
        add_folds(directory, settings, say=say)
        why = _why_discriminator(directory) if settings.discriminator else ""
        if why:
            if read_run(directory).discriminator is not None:
                say(f"the discriminator of {directory} is trained anew: {why}")
            try:
                add_discriminator(directory, data_root=settings.data_root, threads=settings.threads)
            except KeyboardInterrupt:
                again = resume_command(directory, settings)
                say(f"the run is trained, but its discriminator is not finished; to go on: {again}")
                raise
    return directory


def _first_process() -> bool:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    # A run that was trained before is launched by nobody here: only the environment tells.
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes from finishing the same run in the block.

    The lock is on the directory itself: nothing is left behind, and it ends with the process, however that
    ends. Where a system or a file system has no locks, nothing keeps them off.
    """
    try:
        fcntl = importlib.import_module("fcntl")  # not on Windows
    except ImportError:
        yield
        return
    with storage_errors("open", directory):
        descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"another process is training the folds or the discriminator of {directory}; expected one "
                "at a time, so wait for it or stop it"
            ) from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def _why_discriminator(directory: Path) -> str:
    """Return why the discriminator is to be trained, in words; empty if what is there stays.

    It stays as long as the folds that chose it are on disk as they were. Others that did not count then, and
    would by today's rule, are no reason to overwrite it.
    """
    record = read_run(directory)
    found = record.discriminator
    if found is None:
        return "there is none"
    if found.get("selected_by") == "real" or record.training["freeze"]:
        return ""
    chose_it = found.get("folds") or []
    on_disk = [read_run(fold) for fold in fold_runs(directory)]
    still = [fold for fold in on_disk if fold_identity(fold) in chose_it]
    if chose_it and len(still) == len(chose_it):
        return "a fold has none of its own yet" if any(one.discriminator is None for one in still) else ""
    # Without a fold there is none to choose by: what is there stays, whatever chose it.
    return "other folds than those that chose it can choose now" if usable_folds(directory, record) else ""
