"""The kernel's self-test, its report kept after each case."""

import argparse
import sys
from typing import Any

from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.kernels.selftest.cases import SelftestCase
from edgeosr.kernels.selftest.selftest import SelftestSettings, run_selftest

SMALL = (SelftestCase(dimension=37, batch=3, size=4), SelftestCase(dimension=33, batch=2, size=0, probes=2))


def check_kernel(report: StepReport, options: argparse.Namespace) -> None:
    """Run it until the time is over."""
    settings, fixed = SelftestSettings(seconds=options.seconds), None
    if options.small:
        settings, fixed = SelftestSettings(cases=0, runs=2), (SMALL[:1], SMALL[1:])
    found = run_selftest(settings, fixed=fixed, keep=lambda so_far: report.put("selftest", summed(so_far)))
    for case in found["cases"]:
        if not case["passed"]:
            report.fail(
                f"{case['case']}: score off by {case['score_error']:.3g}, {case['decisions_that_differ']} "
                f"decisions differ, same bits again: {case['same_bits_again']}"
            )
    if not found["passed"] and not report.failures:
        report.fail(
            f"{found['inside_band']} of {found['samples']} samples lie in the band round the threshold"
        )


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
    return {**short, "timings": found["timings"]}


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=60, help="random cases until they have passed")


if __name__ == "__main__":
    sys.exit(step_main("The kernel's self-test, beside its rivals.", check_kernel, more=_more))
