"""The kernel's self-test, its report kept after each case; with ``--rivals`` the timed cases beside rivals.

They are two steps: TensorRT builds an engine for each timed case, up to minutes on a Jetson, and that must
not keep a verdict from being checked.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.errors import UsageError
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.selftest.cases import ROW_CASES, TIMED_CASES, SelftestCase
from edgeosr.kernels.selftest.rivals import Contender, Rival, installed_rivals
from edgeosr.kernels.selftest.selftest import SelftestSettings, run_selftest

SMALL = (SelftestCase(dimension=37, batch=3, size=4), SelftestCase(dimension=33, batch=2, size=0, probes=2))
SLOW = ("tensorrt",)  # rivals that take long to make
_MOST_FAILED = 4  # cases that the figures hold whole
RIVAL_S = 15.0  # that such a one may take, all cases together; then it is not made again


def check_kernel(report: StepReport, options: argparse.Namespace) -> None:
    """Check until the time is over, or time the cases that are timed: beside the slow rivals last."""
    if not options.rivals:
        checked = SMALL if options.small else (*TIMED_CASES, *ROW_CASES)
        settings = SelftestSettings(cases=0, runs=0, repeats=2)
        if not options.small:
            settings = SelftestSettings(runs=0, seconds=options.seconds)
        _run(report, "selftest", settings, {}, ((), checked))
        return
    settings = SelftestSettings(cases=0, runs=2 if options.small else 300, repeats=2)
    cases, rivals = (SMALL[:1] if options.small else TIMED_CASES), installed_rivals()
    for name in SLOW:
        if importlib.util.find_spec(name) is None:
            report.put(name, "not timed: it is not installed")
            rivals.pop(name, None)
    quick = {name: rival for name, rival in rivals.items() if name not in SLOW}
    slow = within_budget({name: rival for name, rival in rivals.items() if name in SLOW}, RIVAL_S)
    _run(report, "selftest", settings, quick, (cases, ()))
    if slow:
        _run(report, "beside what takes long to build", settings, slow, (cases, ()))


def _run(
    report: StepReport,
    name: str,
    settings: SelftestSettings,
    rivals: Mapping[str, Rival],
    fixed: tuple[Sequence[SelftestCase], Sequence[SelftestCase]],
) -> None:
    found = run_selftest(
        settings, rivals=rivals, fixed=fixed, keep=lambda so_far: report.put(name, summed(so_far))
    )
    for case in found["cases"]:
        if not case["passed"]:
            report.fail(words_of(case))
    if not found["passed"] and not report.failures:
        report.fail(
            f"{found['inside_band']} of {found['samples']} samples lie in the band round the threshold"
        )


def words_of(case: dict[str, Any]) -> str:
    """Return what is wrong with a case that failed; all of its launches that differ stand in the figures."""
    words = [
        f"score off by {case['score_error']:.3g}",
        f"{case['decisions_that_differ']} decisions and {case['labels_that_differ']} labels differ",
        *(
            f"{name} off by {case['value_errors'][name]['error']:.3g}, "
            f"{case['value_errors'][name]['of_allowed']:.3g} times what is allowed"
            for name in case["values_that_differ"]
        ),
        f"{case['again']['differed']} of {case['again']['launches']} launches more have other bits",
        *(f"launch {told['launch']}: {', '.join(told['fields'])}" for told in case["again"]["told"][:1]),
    ]
    return f"{case['case']}: {'; '.join(words)}"


def within_budget(rivals: Mapping[str, Rival], seconds: float) -> dict[str, Rival]:
    """Return the rivals, each refused once making it has taken so many seconds in all."""
    return {name: _Budgeted(rival, seconds) for name, rival in rivals.items()}


class _Budgeted:
    def __init__(self, rival: Rival, seconds: float):
        self._rival, self._seconds, self._used = rival, seconds, 0.0

    def __call__(self, case: SelftestCase, driver: Driver, stream: int) -> Contender:
        if self._used >= self._seconds:
            raise UsageError(
                f"making it has taken {self._used:.0f} s for earlier cases, of {self._seconds:.0f} s"
            )
        started = time.monotonic()
        try:
            return self._rival(case, driver, stream)
        finally:
            self._used += time.monotonic() - started


def summed(found: dict[str, Any]) -> dict[str, Any]:
    """Return the self-test's report with its cases, hundreds of them, summed up."""
    cases = found["cases"]
    short = {name: value for name, value in found.items() if name not in ("cases", "timings")}
    short["cases"] = len(cases)
    short["cases_that_failed"] = sum(not case["passed"] for case in cases)
    short["decisions_that_differ"] = sum(case["decisions_that_differ"] for case in cases)
    for bits in ("16-bit weights", "32-bit weights"):
        errors = [case["score_error"] for case in cases if bits in case["case"]]
        short[f"worst_score_error, {bits}"] = max(errors, default=None)
    short["labels_that_differ"] = sum(case["labels_that_differ"] for case in cases)
    short["labels_too_near"] = sum(case["labels_too_near"] for case in cases)
    short["launches_again"] = sum(case["again"]["launches"] for case in cases)
    short["launches_that_differ"] = sum(case["again"]["differed"] for case in cases)
    short["worst_of_allowed"] = worst_of_allowed(cases)
    failed = [case for case in cases if not case["passed"]]
    return {**short, "failed": failed[:_MOST_FAILED], "timings": found["timings"]}


def worst_of_allowed(cases: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return of each part the largest share of its bound that an error took; NaN counts as the largest."""
    worst: dict[str, float] = {}
    for case in cases:
        for name, one in case["value_errors"].items():
            worst[name] = float(np.maximum(worst.get(name, -1.0), one["of_allowed"]))
    return worst


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=60, help="random cases until they have passed")
    parser.add_argument("--rivals", action="store_true", help="time the kernel beside its rivals")


if __name__ == "__main__":
    sys.exit(step_main("The kernel's self-test.", check_kernel, more=_more))
