"""Counts of the kernel's machine code, kept by source and architecture; run as a program it counts anew.

    python -m edgeosr.bench.kernel_counts     # some minutes, needs nvcc and nvdisasm (edgeosr[dev]), no GPU

``kernel_counts.json`` holds them by the digest of the device source that they belong to, by architecture and
multiprocessors: how many samples a tile has depends on these. Those of an older source stay where a phase
table was measured with it. Where a change left the machine code and the launches as they were, the counts are
kept and nothing runs but the compiler.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.counting.counts import LaunchCounts, counts_from_record
from edgeosr.kernels.selftest.cases import SelftestCase
from edgeosr.program.run import run_program

if TYPE_CHECKING:
    from edgeosr.kernels.counting.compiled import Compiled
    from edgeosr.kernels.counting.launch import Launch

FILE = Path(__file__).with_name("kernel_counts.json")
# What is counted: the launches of the measured phase tables, for the cards that measured them, and those that
# the model predicts, for these and the modules.
MEASURED_CASES = tuple(
    replace(shape, batch=batch, half_weights=half)
    for half in (True, False)
    for shape in (
        SelftestCase(dimension=512, batch=1),
        SelftestCase(dimension=1280, batch=1, activation="clip", taps=1),
        SelftestCase(dimension=512, batch=1, size=14),
    )
    for batch in (1, 8, 16, 64)
)
MODEL_CASES = (
    *(SelftestCase(dimension=dimension, batch=batch) for dimension in (512, 1280) for batch in (1, 8, 64)),
    *(SelftestCase(dimension=512, batch=batch, size=0, probes=8) for batch in (1, 64)),
)


@dataclass(frozen=True)
class Counted:
    """An architecture with the multiprocessors of devices that have it, and the launches counted for them."""

    architecture: str
    multiprocessors: int
    cases: tuple[SelftestCase, ...]

    @property
    def key(self) -> str:
        """Its name in the file."""
        return key_of(self.architecture, self.multiprocessors)


def key_of(architecture: str, multiprocessors: int) -> str:
    """Return the name of a device's counts in the file: ``sm_90 x 132``."""
    return f"{architecture} x {multiprocessors}"


DEVICES = (
    Counted("sm_90", 132, tuple(dict.fromkeys((*MEASURED_CASES, *MODEL_CASES)))),
    *(Counted("sm_87", many, MODEL_CASES) for many in (8, 16)),
    Counted("sm_110", 20, MODEL_CASES),
)
COMMAND = "python -m edgeosr.bench.kernel_counts"


def row_name(case: SelftestCase) -> str:
    """Return a case's name as the tables print it: ``map 512 x 49 relu 3x3, B 8, fp16``."""
    source = f"z {case.dimension}, K {case.probes}"
    if case.size:
        filters = "1x1" if case.taps == 1 else "3x3"
        source = f"map {case.dimension} x {case.size**2} {case.activation} {filters}"
    return f"{source}, B {case.batch}, {'fp16' if case.half_weights else 'fp32'}"


def counts_of_source(digest: str, architecture: str, multiprocessors: int) -> dict[str, LaunchCounts]:
    """Return the counts by row name.

    Sources before tiles followed the device have one set an architecture, right for any multiprocessors.

    Raises:
        UsageError: this source, or this architecture or device of it, was never counted.
    """
    kept = json.loads(FILE.read_text(encoding="utf-8"))["sources"]
    if digest not in kept:
        raise UsageError(
            f"the counts must be of the kernel source {digest[:12]}; {FILE.name} has those of "
            f"{', '.join(other[:12] for other in kept)}; count it: {COMMAND}"
        )
    rows = kept[digest]["architectures"]
    key = key_of(architecture, multiprocessors)
    found = rows.get(key, rows.get(architecture))
    if found is None:
        raise UsageError(
            f"the counts of the kernel source {digest[:12]} must be of {key} multiprocessors; there are "
            f"those of {', '.join(rows)}; add it to DEVICES of {Path(__file__).name} and count it: {COMMAND}"
        )
    return {name: counts_from_record(record) for name, record in found.items()}


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
    argparse.ArgumentParser(
        allow_abbrev=False, prog=COMMAND, description=(__doc__ or "").splitlines()[0]
    ).parse_args(arguments)
    from edgeosr.bench.phase_table import measured_tables
    from edgeosr.kernels.counting.compiled import compiled

    kept = json.loads(FILE.read_text(encoding="utf-8"))["sources"]
    wanted = {table.counts for table in measured_tables()}
    builds = {name: compiled(name) for name in dict.fromkeys(one.architecture for one in DEVICES)}
    code = {name: build.code_digest() for name, build in builds.items()}
    found = {}
    for one in DEVICES:
        launches = {row_name(case): _launch(case, one) for case in one.cases}
        plans = _digest_of(launches)
        same = _of_same_code(kept, one, code[one.architecture], plans)
        if same is not None:
            print(f"{one.key}: machine code and launches are those of the kept counts", flush=True)
        code[one.key] = plans
        found[one.key] = same or _counted(builds[one.architecture], one, launches)
    sources = {digest: source for digest, source in kept.items() if digest in wanted}
    sources[device_source().digest] = {"commit": None, "code": code, "architectures": found}
    FILE.write_text(text_of({"sources": sources}), encoding="utf-8")
    return 0


def _launch(case: SelftestCase, one: Counted) -> "Launch":
    from edgeosr.kernels.counting.case import case_launch

    return case_launch(case, multiprocessors=one.multiprocessors, architecture=one.architecture)


def _digest_of(launches: "Mapping[str, Launch]") -> str:
    """Digest of what the plan decides; a plan that changes changes counts where no machine code does."""
    total = hashlib.sha256()
    for name, launch in launches.items():
        total.update(f"{name} {launch.entry} {launch.blocks} {launch.shared_bytes};".encode())
        if launch.cluster > 1:
            total.update(f"clusters of {launch.cluster};".encode())
        total.update(launch.parameters)
    return total.hexdigest()


def _of_same_code(kept: dict[str, Any], one: Counted, code: str, plans: str) -> Any:
    """Return the kept rows of this very machine code and these launches, None if there are none."""
    for source in kept.values():
        digests = source.get("code", {})
        if digests.get(one.architecture) == code and digests.get(one.key) == plans:
            return source["architectures"][one.key]
    return None


def _counted(build: "Compiled", one: Counted, launches: "Mapping[str, Launch]") -> dict[str, Any]:
    from edgeosr.kernels.counting.launch import run_launch

    rows = {}
    for name, launch in launches.items():
        counts = run_launch(build, launch).counts
        rows[name] = counts.as_record()
        print(f"{one.key} {name}: {counts.warp_instructions:,} warp instructions", flush=True)
    return rows


if __name__ == "__main__":
    run_program(main)
