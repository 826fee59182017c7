"""What a trained run still gets: its discriminator, and the folds of left-out classes beside it."""

from collections.abc import Callable
from pathlib import Path

import torch

from edgeosr.run import read_run
from edgeosr.training.discriminator import add_discriminator
from edgeosr.training.folds import add_folds
from edgeosr.training.settings import TrainSettings


def finish(directory: Path, settings: TrainSettings, *, say: Callable[[str], None]) -> Path:
    """Add what a trained run still lacks, and return its directory; the first process only does it."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_rank() != 0:
        return directory
    if settings.discriminator and read_run(directory).discriminator is None:
        try:
            add_discriminator(directory, data_root=settings.data_root, threads=settings.threads)
        except KeyboardInterrupt:
            say(f"the run is trained but has no discriminator; add it: edgeosr train --resume {directory}")
            raise
    add_folds(directory, settings, say=say)
    return directory
