"""A few small launches of every kind, checked: short enough for a tool that slows them a hundredfold.

compute-sanitizer --tool racecheck python -m edgeosr.bench.gpu_rung.small_cases
"""

import argparse
import sys

from edgeosr.bench.gpu_rung.kernel_check import words_of
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.kernels.driver.driver import open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import SelftestCase, case_scorer
from edgeosr.kernels.selftest.selftest import checked_case

# Both sources, both kinds of weights and of input; several slabs, two tiles of which one is ragged.
CASES = (
    SelftestCase(dimension=130, batch=9, size=7),
    SelftestCase(dimension=130, batch=5, size=4, half_weights=False, half_input=False),
    SelftestCase(dimension=37, batch=3, size=4, activation="silu", taps=1, head="linear"),
    SelftestCase(dimension=130, batch=9, size=0, probes=3),
    SelftestCase(dimension=37, batch=5, size=0, probes=1, half_weights=False, half_input=False, classes=40),
    SelftestCase(dimension=64, batch=3, size=2, images=12, classes=3),
)

REPEATS = 4  # the tools slow each launch


def run_cases(report: StepReport, options: argparse.Namespace) -> None:
    """Run and check them."""
    driver = open_driver()
    driver.device(None)
    found = []
    for case in CASES if options.case is None else CASES[options.case : options.case + 1]:
        with FusedScorer(case_scorer(case), half=case.half_weights, driver=driver) as scorer:
            found.append(checked_case(scorer, case, REPEATS))
        report.put("cases", found)
        if not found[-1]["passed"]:
            report.fail(words_of(found[-1]))


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", type=int, help="this one alone, from 0; left out: all")


if __name__ == "__main__":
    sys.exit(step_main("Small launches of every kind, checked.", run_cases, more=_more))
