"""``last.pt``: everything needed to go on after the last finished epoch, written atomically."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeosr.errors import DataError, UsageError
from edgeosr.model.tensor_file import read_tensors, write_tensors
from edgeosr.run import LAST

FORMAT = 1


@dataclass
class Progress:
    """How far a run is; plain values.

    Attributes:
        epochs: epochs finished.
        fraction: progress of the learning-rate schedule, 0..1.
        seconds: training time so far, evaluation included, over all sittings.
        images: training images seen so far.
        best_epoch: 1-based epoch of the best select accuracy, the later one if equal; 0 before the first.
        best_accuracy: select accuracy of that epoch, 0..1.
        history: one record an epoch, as in ``log.jsonl``.
    """

    epochs: int = 0
    fraction: float = 0.0
    seconds: float = 0.0
    images: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Checkpoint:
    """Contents of ``last.pt``: settings and data digests to compare, progress, and torch states."""

    settings: dict[str, Any]
    digests: dict[str, str]
    progress: Progress
    objective: dict[str, Any]
    optimizer: dict[str, Any]


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Write ``last.pt`` atomically; raises StorageError."""
    values = {**vars(checkpoint), "progress": asdict(checkpoint.progress)}
    write_tensors(Path(directory) / LAST, {"format": FORMAT, **values})


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read ``last.pt``.

    Raises:
        UsageError: there is none.
        DataError: it is damaged or of another format.
    """
    path = Path(directory) / LAST
    if not path.exists():
        raise UsageError(
            f"there is nothing to resume in {directory}: it has no {LAST}; train without --resume"
        )
    values = read_tensors(path, "train without --resume")
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise DataError(f"{path} is not a checkpoint of this edgeosr; train without --resume")
    return Checkpoint(**{**values, "progress": Progress(**values["progress"])})


def require_same_run(checkpoint: Checkpoint, settings: dict[str, Any], digests: dict[str, str]) -> None:
    """Refuse to go on with other settings or other images than the run began with.

    Raises:
        UsageError: a setting differs; the message names it with both values.
        DataError: the images differ.
    """
    for key in sorted(set(settings) | set(checkpoint.settings)):
        before, now = checkpoint.settings.get(key), settings.get(key)
        if before != now:
            raise UsageError(
                f"the run to resume was started with {key} {before!r}, now it is {now!r}; "
                "resume with the same settings, or start a new run"
            )
    if checkpoint.digests != digests:
        raise DataError("the images of the run to resume have changed since it was started; start a new run")
