"""What the card counts of single launches, by Nsight Compute: what a model of it is held to."""

import argparse
import csv
import io
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeosr.bench.gpu_rung.child import Ended, python_words, run_child
from edgeosr.bench.gpu_rung.step_report import SLOWER, NotRunHereError, StepReport, step_main
from edgeosr.bench.gpu_rung.tools import CRASHED, find_tool, forbidden
from edgeosr.errors import DataError
from edgeosr.kernels.driver.driver import open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.kernels.selftest.device_copy import DeviceCopy

METRICS = {
    "warp_instructions": "smsp__inst_executed.sum",
    "instructions_a_cycle": "smsp__inst_executed.avg.per_cycle_active",
    "warps_active_percent": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "global_load_sectors": "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",
    "shared_wavefronts": "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",
    "l2_sectors": "lts__t_sectors.sum",
    "dram_bytes": "dram__bytes.sum",
    "barrier_stall": "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio",
    "long_scoreboard_stall": "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio",
    "duration_ns": "gpu__time_duration.sum",
}
CASES = tuple(
    SelftestCase(dimension=dimension, batch=batch, taps=taps, activation=activation)
    for dimension, taps, activation in ((512, 9, "relu"), (1280, 1, "clip"))
    for batch in (1, 16, 64)
)
SMALL = (SelftestCase(dimension=37, batch=2, size=4),)
KERNEL = "fused_score"


def count(report: StepReport, options: argparse.Namespace) -> None:
    """Profile the launches, in a process of their own.

    Raises:
        NotRunHereError: ncu is missing, or this machine does not let it count.
        DataError: it printed something else than its table.
    """
    if options.launches:
        launch(SMALL if options.small else CASES)
        return
    program = find_tool("ncu")
    cases = SMALL if options.small else CASES
    # A later ncu may not know one of the names, and then counts nothing: what matters most is asked alone.
    for metrics in (list(METRICS.values()), [METRICS["warp_instructions"], METRICS["duration_ns"]]):
        ended, printed = _profiled(program, metrics, options.small)
        rows = counted(printed)
        if len(rows) == len(cases):
            report.put("rows", [{"case": case.name, **row} for case, row in zip(cases, rows, strict=True)])
            return
        if CRASHED in printed:
            break  # it would again
        reason = forbidden(printed)
        if reason or ended.timed_out:
            raise NotRunHereError(reason or f"ncu was not over in {ended.seconds:.0f} seconds")
    raise DataError(
        f"ncu must print one row a launch, {len(cases)}; it printed {len(rows)} and ended with exit code "
        f"{ended.code}: {ended.tail[:1200]}"
    )


def _profiled(program: str, metrics: Sequence[str], small: bool) -> tuple[Ended, str]:
    words = [*python_words(), "-m", "edgeosr.bench.gpu_rung.counters", "--launches"]
    words += ["--small"] if small else []
    ncu = [program, "--csv", "--page", "raw", "--target-processes", "all", "--kernel-name", f"regex:{KERNEL}"]
    ncu += ["--metrics", ",".join(metrics)]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        ended = run_child([*ncu, *words], limit_s=35 * (SLOWER if small else 1), log=log)
        return ended, log.read_text("utf-8", errors="replace")


def counted(printed: str) -> list[dict[str, float]]:
    """Return a row of metrics for each launch in ncu's raw CSV page; other lines are passed over."""
    lines = printed.splitlines()
    first = next((at for at, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        return []
    names = {metric: name for name, metric in METRICS.items()}
    rows = []
    for row in csv.DictReader(io.StringIO("\n".join(lines[first:]))):
        if KERNEL not in (row.get("Kernel Name") or ""):
            continue  # the line of units, and what a process prints after the table
        found: dict[str, float] = {}
        for column, value in row.items():
            number = _number(value or "") if column in names else None
            if number is not None:
                found[names[column]] = number
        rows.append(found)
    return rows


def launch(cases: tuple[SelftestCase, ...]) -> None:
    """Launch each case once."""
    driver = open_driver()
    driver.device(None)
    for case in cases:
        copy = DeviceCopy(driver, case_inputs(case)["map"])
        with FusedScorer(case_scorer(case), driver=driver) as fused, fused.score_map(copy) as room:
            room.to_host()
        driver.free(copy.address)


def _number(text: str) -> float | None:
    """Return the number; None for "n/a", of a counter that the card does not have."""
    try:
        found = float(text.replace(",", ""))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--launches", action="store_true", help="only launch the cases (what ncu is put round)"
    )


if __name__ == "__main__":
    sys.exit(step_main("What the card counts of single launches.", count, more=_more))
