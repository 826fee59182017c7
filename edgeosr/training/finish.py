"""What a trained run still gets: the folds of left-out classes beside it, and its discriminator."""

from collections.abc import Callable
from pathlib import Path

import torch

from edgeosr.run import fold_runs, read_run
from edgeosr.training.discriminator import add_discriminator
from edgeosr.training.folds import add_folds
from edgeosr.training.settings import TrainSettings


def finish(directory: Path, settings: TrainSettings, *, say: Callable[[str], None]) -> Path:
    """Add what a trained run still lacks, and return its directory; the first process only does it."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_rank() != 0:
        return directory
    add_folds(directory, settings, say=say)
    if settings.discriminator and _wants_discriminator(directory):
        try:
            add_discriminator(directory, data_root=settings.data_root, threads=settings.threads)
        except KeyboardInterrupt:
            say(f"the run is trained but has no discriminator; add it: edgeosr train --resume {directory}")
            raise
    return directory


def _wants_discriminator(directory: Path) -> bool:
    """Tell whether there is none yet, or one that synthetic images chose before there were folds."""
    discriminator = read_run(directory).discriminator
    if discriminator is None:
        return True
    return discriminator.get("selected_by") == "synthetic" and bool(fold_runs(directory))
