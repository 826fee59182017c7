"""Make the plan table that ships with the kernel: rows predicted by the model, and rows measured on cards.

    python -m edgeosr.bench.plan_table                            predict, minutes
    python -m edgeosr.bench.plan_table --measured gpu-NAME.json   and take those that the rung measured
    python -m edgeosr.bench.plan_table --keep                     predict nothing

All rows are of the kernel's present source; those of another are dropped. What was counted is kept, so that
a run that was ended goes on where it stood. Writes ``plan_table.json`` and ``src/plan_table.inc`` of the
kernel's folder.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeosr.bench.jetson import MODULES
from edgeosr.bench.kernel_counts import key_of, row_name
from edgeosr.bench.kernel_latency import Device, predicted
from edgeosr.bench.latency_table import latencies_of
from edgeosr.bench.plan_rows import SHAPES, best_row, cases_of, only, tiling_of, variants, words_of
from edgeosr.errors import EdgeosrError, UsageError
from edgeosr.files import write_text
from edgeosr.kernels.build.sources import FOLDER, device_source
from edgeosr.kernels.counting.counts import LaunchCounts, counts_from_record
from edgeosr.kernels.packing import PackedScorer, pack_scorer
from edgeosr.kernels.plan import LaunchPlan, MapShape, plan_launch
from edgeosr.kernels.plan_table import (
    FILE,
    MAKE,
    PREDICTED,
    PlanRow,
    PlanTable,
    inc_text,
    plan_table_text,
    read_plan_table,
)
from edgeosr.kernels.selftest.cases import SelftestCase, case_scorer
from edgeosr.kernels.sharing import Tiling
from edgeosr.printed import brief
from edgeosr.program.run import run_program

if TYPE_CHECKING:
    from edgeosr.kernels.counting.compiled import Compiled

STEP = "plans"  # of the rung
# Outcomes of the rung by which each row that a step kept is whole.
WHOLE = ("passed", "out of time", "cut short", "interrupted")
# What is predicted: few launches, for each is counted with every size of tiles.
PREDICTED_SHAPES = SHAPES[:2]
PREDICTED_BATCHES = (8, 64)


@dataclass(frozen=True)
class Predicted:
    """An architecture with a device of it: the clock, and whether weights lie in L2 when a launch starts."""

    architecture: str
    multiprocessors: int
    clock_ghz: float
    cold: bool


DEVICES = (
    Predicted("sm_90", 132, 1.98, cold=False),  # H100 and H200 as they were measured
    *(
        Predicted(one.architecture, int(one.multiprocessors.value), one.clock_ghz.value, cold=True)
        for one in (MODULES[1], MODULES[3], MODULES[4])  # Orin Nano Super, AGX Orin, Thor T5000
    ),
)


class Counts:
    """Counts of launches of the present source, kept in a file as they come.

    Args:
        folder: of that file.
        seconds: after so many nothing more is counted.

    Raises:
        UsageError: the file is damaged.
    """

    def __init__(self, folder: Path, seconds: float):
        self._path = folder / f"counts-{device_source().digest[:16]}.json"
        self._until = time.monotonic() + seconds
        self._kept: dict[str, Any] = {}
        self._builds: dict[str, Compiled] = {}
        self.missing = 0  # launches that were not counted, for the time was up
        if self._path.is_file():
            try:
                self._kept = dict(json.loads(self._path.read_text("utf-8")))
                for record in self._kept.values():
                    counts_from_record(record)
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise UsageError(
                    f"{self._path} must be counts of an earlier run; got {error}; delete it"
                ) from error

    def of(self, architecture: str, case: SelftestCase, tiling: Tiling) -> LaunchCounts | None:
        """Return the counts of a launch with such a plan; None: it was not counted, and the time is up."""
        key = f"{architecture}, {row_name(case)}, {words_of(tiling)}"
        if key not in self._kept:
            if time.monotonic() >= self._until:
                self.missing += 1
                return None
            self._kept[key] = self._counted(architecture, case, tiling).as_record()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(self._kept))
            print(f"counted {key}", flush=True)
        return counts_from_record(self._kept[key])

    def _counted(self, architecture: str, case: SelftestCase, tiling: Tiling) -> LaunchCounts:
        from edgeosr.kernels.counting.case import case_launch
        from edgeosr.kernels.counting.compiled import compiled
        from edgeosr.kernels.counting.launch import run_launch

        if architecture not in self._builds:
            self._builds[architecture] = compiled(architecture)
        launch = case_launch(case, architecture=architecture, table=only(tiling))
        return run_launch(self._builds[architecture], launch).counts


def predicted_rows(counts: Counts) -> Iterator[PlanRow]:
    """Yield a row for every launch and device of which all plans were counted."""
    for first in PREDICTED_SHAPES:
        for case in cases_of(first, PREDICTED_BATCHES, half=True):
            packed = pack_scorer(case_scorer(case), half=True)
            for device in DEVICES:
                ruled = _ruled(packed, case, device)
                found = {
                    tiling: counts.of(device.architecture, case, tiling)
                    for tiling in variants(packed, case.batch, ruled.cluster)
                    if _as_the_rule(packed, case, device, tiling)
                }
                us = {tiling: _microseconds(one, device) for tiling, one in found.items() if one is not None}
                if len(us) == len(found):
                    yield best_row(
                        ruled,
                        us,
                        architecture=device.architecture,
                        multiprocessors=device.multiprocessors,
                        half=True,
                        origin=PREDICTED,
                    )


def _ruled(packed: PackedScorer, case: SelftestCase, device: Predicted) -> LaunchPlan:
    return plan_launch(
        packed,
        MapShape(height=case.size, width=case.size),
        case.batch,
        multiprocessors=device.multiprocessors,
        architecture=device.architecture,
        table=PlanTable(),
    )


def _as_the_rule(packed: PackedScorer, case: SelftestCase, device: Predicted, tiling: Tiling) -> bool:
    """Return whether classes have the warps that the rule gives them in such tiles: what is counted."""
    shape = MapShape(height=case.size, width=case.size)
    free = Tiling(origin=tiling.origin, samples=tiling.samples)
    plan = plan_launch(packed, shape, case.batch, architecture=device.architecture, table=only(free))
    return tiling_of(plan) == tiling


def _microseconds(counts: LaunchCounts, device: Predicted) -> float:
    where = Device(device.multiprocessors, device.clock_ghz, cold=device.cold)
    return predicted(counts, latencies_of(device.architecture), where).total[-1]


def measured_rows(record: Any) -> tuple[PlanRow, ...]:
    """Return the rows that a record of the rung measured.

    Raises:
        UsageError: it is no such record, of a run without a card, of another source, or of a step that
            failed: where a plan changes the verdicts' bits, no row of that kernel may decide. A step whose
            time was up has not failed: each of its rows is whole.
    """
    digest = device_source().digest
    try:
        step = {step["name"]: step for step in record["steps"]}[STEP]
        made_up, source = record["made_up"], step["figures"]["source"]
        outcome, failures = str(step["outcome"]), list(step["failures"])
        rows = [row["row"] for row in step["figures"]["rows"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the record must be one of the hardware rung with its step {STEP}; got {type(error).__name__}: "
            f"{error}; run: make gpu GPU='--only {STEP}'"
        ) from error
    if made_up:
        raise UsageError(f"rows of the plan table must be measured on a card; this record is {made_up}")
    if failures or outcome not in WHOLE:
        why = f": {brief(failures[0])}" if failures else ""
        raise UsageError(
            f"rows of the plan table must be of a step that has not failed; got one that ended "
            f"{brief(outcome)}{why}; mend that, then run: make gpu GPU='--only {STEP}'"
        )
    if source != digest:
        raise UsageError(
            f"rows of the plan table must be of the kernel source {digest[:12]}; the record is of "
            f"{str(source)[:12]}; run: make gpu GPU='--only {STEP}'"
        )
    return read_plan_table(json.dumps({"version": 1, "source": digest, "rows": rows}))[1]


def kept_rows(path: Path) -> tuple[PlanRow, ...]:
    """Return the rows of a table that is of the present source; none of a damaged one or another's."""
    try:
        source, rows = read_plan_table(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, UsageError) as error:
        print(f"nothing is kept of {path.name}: {error}", file=sys.stderr)
        return ()
    if source != device_source().digest:
        print(f"{path.name} is of the kernel source {source[:12]}: nothing of it is kept", file=sys.stderr)
        return ()
    return rows


def merged(rows: Sequence[PlanRow]) -> tuple[PlanRow, ...]:
    """Return the rows in the table's order, the first of each origin, device and shape."""
    seen: dict[tuple[Any, ...], PlanRow] = {}
    for row in rows:
        where = (row.architecture, row.multiprocessors, row.weights, row.dimension, row.positions, row.batch)
        seen.setdefault((*where, row.decides), row)
    return tuple(seen[key] for key in sorted(seen))


def line_of(row: PlanRow) -> str:
    """Return a row for a terminal."""
    shapes = ", ".join(
        f"{name} {least} to {most}"
        for name, (least, most) in (("D", row.dimension), ("Q", row.positions), ("B", row.batch))
    )
    return (
        f"{key_of(row.architecture, row.multiprocessors)}, {row.weights}, {shapes}: tiles of {row.samples}, "
        f"{row.class_warps} class warps, {row.us:g} us (rule {row.rule_us:g}), {row.origin}"
    )


def main(arguments: Sequence[str] | None = None, *, file: Path = FILE, folder: Path = FOLDER) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog=MAKE, description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--measured", type=Path, action="append", default=[], help="record of the rung")
    parser.add_argument("--keep", action="store_true", help="predict nothing, keep what is of this source")
    parser.add_argument(
        "--seconds", type=float, default=270.0, help="most time to count; what is done is kept"
    )
    parser.add_argument("--counts", type=Path, default=Path("build/plan_table"), help="where counts are kept")
    options = parser.parse_args(arguments)
    try:
        rows = [row for path in options.measured for row in measured_rows(_record(path))]
        old = kept_rows(file)
        if not options.keep:
            counts = Counts(options.counts, options.seconds)
            rows += predicted_rows(counts)
            if counts.missing:
                print(f"the time is up: {counts.missing} launches were not counted; run it again to go on")
        found = merged([*rows, *old])
        write_text(file, plan_table_text(device_source().digest, found))
        write_text(folder / "plan_table.inc", inc_text(PlanTable(found)))
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for row in found:
        print(line_of(row))
    many = sum(row.decides for row in found)
    print(f"{file.name}: {many} rows measured, which decide; {len(found) - many} predicted, which do not")
    return 0


def _record(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} must be a record of the rung; got {error}") from error


if __name__ == "__main__":
    run_program(main)
