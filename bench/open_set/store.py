"""Finished lists on disk: each is written once, whole; what is there is not done again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeosr.bench.open_set.cells import Cell
from edgeosr.bench.open_set.rivals import LeftOut
from edgeosr.files import storage_errors, write_text


@dataclass(frozen=True, kw_only=True)
class FinishedList:
    """What one list gave.

    Attributes:
        cells: one a score.
        left_out: scores that could not be computed, and why.
        command: of the recipe, for which they hold.
        rivals: the version of pytorch-ood that was compared with; empty if it was left out.
        seconds: it took.
    """

    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...]
    command: str
    rivals: str
    seconds: float


def file_of(work: Path, protocol: str, number: int) -> Path:
    """Return where a finished list lies."""
    return work / protocol / f"list-{number}.json"


def write_list(path: Path, done: FinishedList) -> None:
    """Write a finished list atomically; raises StorageError."""
    write_text(path, json.dumps(asdict(done), indent=1) + "\n")


def read_list(path: Path, *, command: str, rivals: str) -> FinishedList | None:
    """Return a finished list; None if there is none, or it is of another recipe or other rivals.

    Args:
        path: see ``file_of``.
        command: of the recipe.
        rivals: the version that is asked for; a list that was compared with it is taken for "" too.
    """
    if not path.exists():
        return None
    with storage_errors("read", path):
        text = path.read_text("utf-8")
    try:
        found: dict[str, Any] = json.loads(text)
        done = FinishedList(
            cells=tuple(Cell(**cell) for cell in found["cells"]),
            left_out=tuple(LeftOut(**one) for one in found["left_out"]),
            command=found["command"],
            rivals=found["rivals"],
            seconds=found["seconds"],
        )
    # Damaged, or another version's: it is done again.
    except (ValueError, TypeError, KeyError):
        return None
    return done if done.command == command and rivals in ("", done.rivals) else None
