"""Counts of the kernel's machine code, kept by source and architecture; run as a program it counts anew.

    python -m edgeosr.bench.kernel_counts     # some minutes, needs nvcc and nvdisasm (edgeosr[dev]), no GPU

``kernel_counts.json`` holds them by the digest of the device source that they belong to. Those of an older
source stay where a phase table was measured with it. Where a change left the machine code as it was, the
counts are kept and nothing runs but the compiler.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.counting.counts import LaunchCounts, counts_from_record
from edgeosr.kernels.selftest.cases import SelftestCase

if TYPE_CHECKING:
    from edgeosr.kernels.counting.compiled import Compiled

FILE = Path(__file__).with_name("kernel_counts.json")
ARCHITECTURES = ("sm_90", "sm_87", "sm_110")
# What is counted: the launches of the measured phase table, then those that only the model has.
MEASURED_CASES = (
    *(SelftestCase(dimension=512, batch=batch) for batch in (1, 8, 64)),
    SelftestCase(dimension=512, batch=8, half_weights=False),
    *(SelftestCase(dimension=512, batch=batch, size=14) for batch in (1, 8)),
    *(SelftestCase(dimension=1280, batch=batch, activation="clip", taps=1) for batch in (1, 8, 64)),
)
CASES = (
    *MEASURED_CASES,
    *(SelftestCase(dimension=1280, batch=batch) for batch in (1, 8, 64)),
    *(SelftestCase(dimension=512, batch=batch, size=0, probes=8) for batch in (1, 64)),
)
COMMAND = "python -m edgeosr.bench.kernel_counts"


def row_name(case: SelftestCase) -> str:
    """Return a case's name as the tables print it: ``map 512 x 49 relu 3x3, B 8, fp16``."""
    source = f"z {case.dimension}, K {case.probes}"
    if case.size:
        filters = "1x1" if case.taps == 1 else "3x3"
        source = f"map {case.dimension} x {case.size**2} {case.activation} {filters}"
    return f"{source}, B {case.batch}, {'fp16' if case.half_weights else 'fp32'}"


def counts_of_source(digest: str, architecture: str) -> dict[str, LaunchCounts]:
    """Return the counts by row name.

    Raises:
        UsageError: this source, or this architecture of it, was never counted.
    """
    kept = json.loads(FILE.read_text(encoding="utf-8"))["sources"]
    if digest not in kept:
        raise UsageError(
            f"the counts must be of the kernel source {digest[:12]}; {FILE.name} has those of "
            f"{', '.join(other[:12] for other in kept)}; count it: {COMMAND}"
        )
    rows = kept[digest]["architectures"]
    if architecture not in rows:
        raise UsageError(
            f"the counts of the kernel source {digest[:12]} must be of {architecture}; there are those of "
            f"{', '.join(rows)}; add it to ARCHITECTURES of {Path(__file__).name} and count it: {COMMAND}"
        )
    return {name: counts_from_record(record) for name, record in rows[architecture].items()}


def text_of(kept: dict[str, Any]) -> str:
    """Return the file's text, a phase a line: a change shows where it is."""
    phases: list[str] = []

    def short(value: Any) -> Any:
        if isinstance(value, dict) and "waits" in value:
            phases.append(json.dumps(value))
            return f"phase {len(phases) - 1}"
        if isinstance(value, dict):
            return {name: short(one) for name, one in value.items()}
        return [short(one) for one in value] if isinstance(value, list) else value

    text = json.dumps(short(kept), indent=1)
    return re.sub(r'"phase (\d+)"', lambda match: phases[int(match[1])], text) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Count the present source, keep what belongs to measured tables."""
    argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").splitlines()[0]).parse_args(arguments)
    from edgeosr.bench.phase_table import measured_tables
    from edgeosr.kernels.counting.compiled import compiled

    kept = json.loads(FILE.read_text(encoding="utf-8"))["sources"]
    wanted = {table.source for table in measured_tables()}
    code, found = {}, {}
    for architecture in ARCHITECTURES:
        build = compiled(architecture)
        code[architecture] = build.code_digest()
        same = _of_same_code(kept, architecture, code[architecture])
        if same is not None:
            print(f"{architecture}: the machine code is that of the kept counts", flush=True)
        found[architecture] = same or _counted(build)
    sources = {digest: source for digest, source in kept.items() if digest in wanted}
    sources[device_source().digest] = {"commit": None, "code": code, "architectures": found}
    FILE.write_text(text_of({"sources": sources}), encoding="utf-8")
    return 0


def _of_same_code(kept: dict[str, Any], architecture: str, code: str) -> Any:
    """Return the kept rows of this very machine code, None if there are none or a case is missing."""
    names = {row_name(case) for case in CASES}
    for source in kept.values():
        if source.get("code", {}).get(architecture) == code:
            rows = source["architectures"][architecture]
            return rows if set(rows) == names else None
    return None


def _counted(build: "Compiled") -> dict[str, Any]:
    from edgeosr.kernels.counting.case import case_launch
    from edgeosr.kernels.counting.launch import run_launch

    rows = {}
    for case in CASES:
        counts = run_launch(build, case_launch(case)).counts
        rows[row_name(case)] = counts.as_record()
        many = f"{counts.warp_instructions:,} warp instructions"
        print(f"{build.architecture} {row_name(case)}: {many}", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
