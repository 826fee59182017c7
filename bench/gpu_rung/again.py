"""A case whose second launch once had other bits, launched many thousand times in many conditions.

On an H200 case ``AT`` of the self-test differed from itself, and nothing on a CPU shows why. So each
condition changes one thing: the order of the self-test, what lies in the room, what is in L2, what ran just
before, which multiprocessors take part, and what the case needs for it. Of a launch that differs the record
says what is at fault: the copy to the host, if another copy has other bytes; the blocks that pool, if their
sums in the workspace differ; else the block that makes the verdict.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.bench.gpu_rung.watched import MOST_TOLD, Watched, fault_of
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import ROW_CASES, TIMED_CASES, SelftestCase, case_scorer, random_cases
from edgeosr.kernels.selftest.launches import NAN
from edgeosr.kernels.selftest.selftest import checked_case

ORDER = (*TIMED_CASES, *ROW_CASES, *random_cases(40, 1))  # of the self-test
AT = 31
INFINITY = 0x7F800000
REPEATS = 60  # of the batch of 17: 1,020 blocks, several on each multiprocessor
SCRAP = 256 << 20  # bytes: more than any card's L2
BESIDE = SelftestCase(dimension=130, batch=9)  # fp16 weights: a launch in clusters where there are some
CHANGES: tuple[dict[str, Any], ...] = (
    {"activation": "relu"},
    {"taps": 1},
    {"classes": 1},
    {"classes": 65},
    {"margin": 0.0},
    {"dimension": 2},
    {"half_input": False},
)

Before = Callable[[Watched], None]


def repeat_case(report: StepReport, options: argparse.Namespace) -> None:
    """Launch it in each condition; a launch that differs is a failure."""
    driver = open_driver()
    driver.device(None)
    case = replace(ORDER[AT], batch=3) if options.small else ORDER[AT]
    many, seconds = (2, min(options.seconds, 1.0)) if options.small else (REPEATS, options.seconds)
    report.put("case", case.name)
    found: dict[str, Any] = {}

    def keep(name: str, watched: dict[str, Any]) -> None:
        found[name] = watched
        report.put("conditions", found)
        if watched["differed"] or watched.get("mixed_numbers"):
            faults = sorted({told["at_fault"] for told in watched["told"]})
            report.fail(
                f"{name}: {watched['differed']} of {watched['launches']} launches differ"
                + (f"; at fault: {', '.join(faults)}" if faults else "")
            )

    def run(
        name: str, share: float, case: SelftestCase, repeats: int = 1, before: Before | None = None
    ) -> None:
        with Watched(driver, case, repeats).open() as watched:
            until = time.monotonic() + share * seconds
            while watched.launches < 2 or time.monotonic() < until:
                if before is not None:
                    before(watched)
                watched.launch()
            keep(name, watched.report())

    order = (case,) if options.small else ORDER[AT - 5 : AT + 2]
    keep("in the self-test's order", in_order(driver, order, 0.2 * seconds))
    run("alone, in one room", 0.15, case)
    for what, word in (("NaN", NAN), ("infinity", INFINITY)):
        run(f"in a room of {what}", 0.05, case, before=filled(word))
    run("in new rooms", 0.05, case, before=Watched.take_new_room)
    with emptied_l2(driver, (1 << 20) if options.small else SCRAP) as empty:
        run("with a cold L2", 0.1, case, before=lambda watched: empty())
    with Watched(driver, replace(BESIDE, batch=2) if options.small else BESIDE, 1).open() as other:
        run("behind a launch in clusters", 0.1, case, before=lambda watched: other.enqueue())
    run("on every multiprocessor", 0.15, case, many)
    for change in CHANGES:
        ((name, value),) = change.items()
        run(f"with {name} {value}", 0.15 / len(CHANGES), replace(case, **change), many)


def filled(word: int) -> Before:
    """Return what fills a room before a launch, see ``fill_room``."""
    return lambda watched: watched.fill(word)


def in_order(driver: Driver, order: Sequence[SelftestCase], seconds: float) -> dict[str, Any]:
    """Go through cases as the self-test does, each with a scorer of its own, until the time is over."""
    until, told = time.monotonic() + seconds, []
    launches = differed = 0
    while not launches or time.monotonic() < until:
        for one in order:
            with FusedScorer(case_scorer(one), half=one.half_weights, driver=driver) as scorer:
                again = checked_case(scorer, one, 2)["again"]
            launches += again["launches"]
            differed += again["differed"]
            told += [{"case": one.name, "at_fault": fault_of(each), **each} for each in again["told"]]
    return {"launches": launches, "differed": differed, "told": told[:MOST_TOLD]}


@contextlib.contextmanager
def emptied_l2(driver: Driver, size: int) -> Iterator[Callable[[], None]]:
    """Lend a function after whose call what L2 held is of other memory."""
    scrap = driver.allocate(size)
    try:
        yield lambda: driver.clear(scrap, size // 4, 0)
    finally:
        driver.synchronize(0)
        driver.free(scrap)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=60.0, help="of all conditions together")


if __name__ == "__main__":
    sys.exit(step_main("One case again and again, in many conditions.", repeat_case, more=_more))
