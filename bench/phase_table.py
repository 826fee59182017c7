"""Phase tables that were measured on a card: the time until the end of each phase, launch by launch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr.errors import UsageError
from edgeosr.kernels.counting.phases import PHASES

FOLDER = Path(__file__).parent
_FIELDS = ("card", "architecture", "multiprocessors", "clock_ghz", "driver", "date", "commit", "source")
_ROWS = "us_until_the_end_of_each_phase"


@dataclass(frozen=True, kw_only=True)
class PhaseTable:
    """One card's table.

    Attributes:
        card, driver, date, commit: where, when and of what it was measured.
        architecture: of the card, ``sm_90``.
        multiprocessors, clock_ghz: of the card.
        source: digest of the device source that ran.
        counts: by which name ``kernel_counts.json`` has that kernel: its source; another if today's plan
            makes other launches of it.
        rows: name of the launch to microseconds from its start to the end of each phase of ``PHASES``.
        warp_instructions: what the card's own counters said of whole launches.
    """

    card: str
    architecture: str
    multiprocessors: int
    clock_ghz: float
    driver: str
    date: str
    commit: str
    source: str
    counts: str
    rows: Mapping[str, tuple[float, ...]]
    warp_instructions: Mapping[str, int]


def phase_table(path: Path) -> PhaseTable:
    """Read a table.

    Raises:
        UsageError: the file is no phase table, or one with other phases.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        rows = {str(name): tuple(float(us) for us in row) for name, row in document[_ROWS].items()}
        found = {name: document[name] for name in _FIELDS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path.name} must be a phase table with the fields {', '.join((*_FIELDS, _ROWS))}; got "
            f"{type(error).__name__}: {error}; copy the form of kernel_phases_h200.json"
        ) from error
    if document.get("phases") != list(PHASES) or any(len(row) != len(PHASES) for row in rows.values()):
        raise UsageError(
            f"{path.name} must have the phases {'; '.join(PHASES)} and a time for each in every row; "
            "measure it again with this version's builds"
        )
    return PhaseTable(
        **found,
        counts=document.get("counts", found["source"]),
        rows=rows,
        warp_instructions=document.get("warp_instructions", {}),
    )


def measured_tables() -> list[PhaseTable]:
    """Return the tables that the project keeps."""
    return [phase_table(path) for path in sorted(FOLDER.glob("kernel_phases_*.json"))]


def require_source(table: PhaseTable, digest: str) -> None:
    """Refuse a table of another source than the counts that it is to be held against.

    Raises:
        UsageError: the sources differ.
    """
    if table.source != digest:
        raise UsageError(
            f"the phase table of {table.card} ({table.date}) must be of the kernel source {digest[:12]}; it "
            f"is of {table.source[:12]} (commit {table.commit}); use counts of that source, or measure this "
            "one"
        )
