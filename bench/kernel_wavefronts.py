"""Shared-memory wavefronts of the kernel, counted while its source was executed on the CPU.

``kernel_wavefronts.json`` holds them by workload, without clusters and in them, and the digest of the device source they belong to;
``tests/kernels/count_wavefronts.py`` writes it, and a test counts one row anew.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from edgeosr.bench.kernel_model import Workload

FILE = Path(__file__).with_name("kernel_wavefronts.json")


@dataclass(frozen=True)
class Wavefronts:
    """Of a whole launch: warps' requests, wavefronts they take, and those no layout could save."""

    requests: int
    wavefronts: int
    compulsory: int


def wavefronts_of(workload: Workload, *, clusters: bool = False) -> Wavefronts | None:
    """Return the counts of a workload, launched without clusters or with; None if it was never counted."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows_in_clusters" if clusters else "rows"]
    row = rows.get(workload.name)
    return None if row is None else Wavefronts(row["requests"], row["wavefronts"], row["compulsory"])
