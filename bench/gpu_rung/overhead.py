"""What the open set costs in the whole run: frames up, network, scoring, verdicts down, one CUDA graph each.

The base is the plain classifier with an argmax. Beside the fused kernel stands the same scoring in unfused
torch; with ``--compiled`` as ``torch.compile`` makes it, which is a step of its own: its compiler may take
minutes. All are replayed in turn (``interleaved_us``), and a ratio is the median over rounds.

The cases are measured in a process of its own (``whole_run``). Where one of them ends it, or leaves it
unusable, that is kept in the case's row, and another process goes on behind it.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.child import Ended, ended_by, python_words, run_child
from edgeosr.bench.gpu_rung.step_report import SLOWER, StepReport, step_main
from edgeosr.bench.gpu_rung.whole_run import (
    KERNEL,
    PLAIN,
    Case,
    Order,
    every_case,
    measure_cases,
    order_from_json,
    ways,
)

# Less than the rung's limit for either step, so that it is told here what was not over, and where.
ALL_S, ALL_COMPILED_S = 70.0, 50.0
PROCESSES = 8  # one that ends takes some seconds with it


def measure_overhead(report: StepReport, options: argparse.Namespace) -> None:
    """Measure every network and batch."""
    if options.order is not None:
        measure_cases(report, options, order_from_json(options.order))
        return
    found = _Found(report, every_case(small=options.small), ways(compiled=options.compiled))
    seconds = ALL_COMPILED_S if options.compiled else ALL_S
    until = time.monotonic() + seconds * (SLOWER if options.small else 1)
    order: Order | None = Order()
    with tempfile.TemporaryDirectory() as scratch:
        for process in range(PROCESSES):
            if order is not None:
                order = _in_a_process(options, found, order, Path(scratch) / str(process), until)
    if order is not None:
        report.fail(f"{PROCESSES} processes have ended before their last case; no other was begun")
    found.judge()


def _in_a_process(
    options: argparse.Namespace, found: "_Found", order: Order, place: Path, until: float
) -> Order | None:
    """Run one process; return what is left for another one, None: nothing."""
    kept, words = place.with_suffix(".json"), ["--order", order.as_json()]
    words += [f"--{name}" for name in ("small", "compiled") if getattr(options, name)]
    command = ["-m", "edgeosr.bench.gpu_rung.overhead", "--report", str(kept), *words]
    try:
        ended = run_child(
            [*python_words(), *command],
            limit_s=max(1.0, until - time.monotonic()),
            log=place.with_suffix(".log"),
        )
    finally:  # what it had measured stays when this process is ended, too
        told = found.take(kept)
    return found.after(order, told, ended)


class _Found:
    """Rows of all processes, by the number of their case."""

    def __init__(self, report: StepReport, cases: tuple[Case, ...], names: tuple[str, ...]):
        self._report, self._cases, self._names = report, cases, names
        self._rows: dict[int, dict[str, Any]] = {}
        self._told = set[tuple[int, str]]()

    def take(self, kept: Path) -> dict[str, Any]:
        """Take over what a process has kept; return its report."""
        try:
            told: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        except (OSError, ValueError):
            told = {"figures": {}, "failures": []}
        figures = told["figures"]
        for number, row in figures.get("rows", {}).items():
            before = self._rows.get(int(number), {}).get("not_timed", {})
            not_timed = {**before, **row.get("not_timed", {})}
            self._rows[int(number)] = {**row, "not_timed": not_timed}
        for name in ("how", "clocks"):
            if name in figures:
                self._report.put(name, figures[name])
        self._put()
        return told

    def after(self, order: Order, told: dict[str, Any], ended: Ended) -> Order | None:
        """Keep how a process ended; return the order for the next one, None: nothing is left to measure."""
        figures, signal = told["figures"], ended_by(ended.code)
        why = f"the process was ended by {signal}" if signal else f"the process ended with code {ended.code}"
        why = figures.get("why") or f"{why}: {' '.join(ended.tail.split())[:800]}"
        if ended.timed_out:
            why = f"not over in {ended.seconds:.0f} s"
        if figures.get("done"):
            # On a card it took 70 seconds to measure all: one whose time is up then has lost nothing.
            if ended.code and not ended.timed_out:
                self._report.fail(f"all was measured, then {why}")
            return None
        if "at" not in figures:
            self._report.fail("; ".join(told["failures"]) or f"before the first case {why}")
            return None
        number, stage = int(figures["at"][0]), str(figures["at"][1])
        self._report.fail(f"{self._cases[number].name}, {stage}: {why}")
        self._told |= {(number, stage), (number, "failed")}
        row = self._rows.setdefault(number, {"not_timed": {}})
        if stage in self._names:
            row["not_timed"] = {**row["not_timed"], stage: why}
        elif "us" not in row:
            row["failed"] = why
        self._put()
        if ended.timed_out:
            return None
        left_out = (*order.without.get(number, ()), stage)
        if stage in self._names and len(left_out) < len(self._names):
            return Order(number, {number: left_out})
        return Order(number + 1) if number + 1 < len(self._cases) else None

    def judge(self) -> None:
        """Fail what a measured case shows."""
        for number, row in sorted(self._rows.items()):
            where = self._cases[number].name
            if "failed" in row and (number, "failed") not in self._told:
                self._report.fail(f"{where}: {row['failed']}")
            for name in (PLAIN, KERNEL):
                if name in row["not_timed"] and (number, name) not in self._told:
                    self._report.fail(f"{where}: the {name} was not timed: {row['not_timed'][name]}")
            # fp16 may turn a near tie; more than that, and something else was timed.
            if (row.get("labels_that_differ") or 0) > 1 + self._cases[number].batch // 16:
                self._report.fail(
                    f"{where}: {row['labels_that_differ']} labels of the fused kernel are not those of "
                    f"{self._names[-1]}"
                )

    def _put(self) -> None:
        rows = [
            {"network": self._cases[number].network.name, "B": self._cases[number].batch, **row}
            for number, row in sorted(self._rows.items())
        ]
        self._report.put("rows", rows)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compiled", action="store_true", help="beside torch.compile, not unfused torch")
    parser.add_argument("--order", help="measure in this process: what a step gives the one it starts")


if __name__ == "__main__":
    sys.exit(step_main("What the open set costs in the whole run.", measure_overhead, more=_more))
