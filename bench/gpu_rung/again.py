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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.kernels.device_verdicts import NUMBER_FROM
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import unpacked_weights
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.selftest.cases import (
    ROW_CASES,
    TIMED_CASES,
    SelftestCase,
    case_inputs,
    case_scorer,
    random_cases,
)
from edgeosr.kernels.selftest.device_copy import DeviceCopy
from edgeosr.kernels.selftest.launches import (
    NAN,
    both_bytes,
    differences,
    fill_room,
    raw_verdicts,
    without_number,
)
from edgeosr.kernels.selftest.selftest import checked_case
from edgeosr.kernels.sharing import Tiling
from edgeosr.scoring.reference import reference_scores

ORDER = (*TIMED_CASES, *ROW_CASES, *random_cases(40, 1))  # of the self-test
AT = 31
INFINITY = 0x7F800000
REPEATS = 60  # of the batch of 17: 1,020 blocks, several on each multiprocessor
SCRAP = 256 << 20  # bytes: more than any card's L2
BESIDE = SelftestCase(dimension=130, batch=9)  # fp16 weights: a launch in clusters where there are some
TILES_OF_ONE = PlanTable(tried=Tiling(origin="tried", samples=1, class_warps=0))
_MOST_TOLD = 4  # launches of a condition
CHANGES: tuple[dict[str, Any], ...] = (
    {"activation": "relu"},
    {"taps": 1},
    {"classes": 1},
    {"classes": 65},
    {"margin": 0.0},
    {"dimension": 2},
    {"half_input": False},
)

Before = Callable[["Watched"], None]


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
    return {"launches": launches, "differed": differed, "told": told[:_MOST_TOLD]}


def fault_of(told: dict[str, Any]) -> str:
    """Return what is at fault in a launch that differs; of one whose workspace was not kept "launch"."""
    if not told["copied_again_the_same"]:
        return "copy"
    if "workspace" not in told:
        return "launch"
    return "workspace" if told["workspace"]["words_that_differ"] else "verdict"


@contextlib.contextmanager
def emptied_l2(driver: Driver, size: int) -> Iterator[Callable[[], None]]:
    """Lend a function after whose call what L2 held is of other memory."""
    scrap = driver.allocate(size)
    try:
        yield lambda: driver.clear(scrap, size // 4, 0)
    finally:
        driver.synchronize(0)
        driver.free(scrap)


class Watched:
    """A case with its batch repeated; every repetition of every launch is compared with the first launch's.

    Attributes:
        launches: so far.
        differed: of these, had a repetition with other bits.
        mixed_numbers: of these, had verdicts of several launches.
        told: of the first that differed.
    """

    def __init__(self, driver: Driver, case: SelftestCase, repeats: int):
        self.driver, self.case, self.repeats = driver, case, repeats
        self.launches = self.differed = self.mixed_numbers = 0
        self.told: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def open(self) -> Iterator["Watched"]:
        """Lend it with its scorer, its map and a room on the device."""
        case, inputs = self.case, case_inputs(self.case)
        with FusedScorer(
            case_scorer(case), half=case.half_weights, driver=self.driver, table=TILES_OF_ONE
        ) as self.scorer:
            weights = unpacked_weights(self.scorer.scorer, half=case.half_weights)
            self._values = reference_scores(weights, **inputs)["values"]
            self._map = DeviceCopy(self.driver, np.concatenate([inputs["map"]] * self.repeats))
            self._room = self.scorer.room(case.batch * self.repeats)
            try:
                self.enqueue()
                self._raw = raw_verdicts(self._room)
                self.fill(NAN)  # what holds no NaN then was written
                self.enqueue()
                self._raw = raw_verdicts(self._room)
                # The most frequent repetition: the first launch may be the one that is wrong.
                kinds = [without_number(row).tobytes() for row in self._rows(self._raw)]
                usual = kinds.index(Counter(kinds).most_common(1)[0][0])
                self._first, self._workspace = self._rows(self._raw)[usual].copy(), self._work()
                self._compare()
                yield self
            finally:
                self.driver.synchronize(0)
                self._room.close()
                self.driver.free(self._map.address)

    def enqueue(self) -> None:
        """Launch, and look at nothing."""
        self.scorer.score_map(self._map, into=self._room)

    def launch(self) -> None:
        """Launch, and compare."""
        self.enqueue()
        self._raw = raw_verdicts(self._room)
        self._compare()

    def fill(self, word: int) -> None:
        """Fill the room, see ``fill_room``."""
        fill_room(self._room, self._raw, word)

    def take_new_room(self) -> None:
        """Take another room for the next launch, of memory with any content."""
        self._room.close()
        self._room = self.scorer.room(self.case.batch * self.repeats)

    def report(self) -> dict[str, Any]:
        """Return its entry of the report."""
        return {
            "case": self.case.name,
            "batch_repeated": self.repeats,
            "launches": self.launches,
            "differed": self.differed,
            "mixed_numbers": self.mixed_numbers,
            "told": self.told,
        }

    def _compare(self) -> None:
        self.launches += 1
        self.mixed_numbers += len(np.unique(self._raw["flags"] >> NUMBER_FROM)) > 1
        rows = self._rows(self._raw)
        right = without_number(self._first)
        wrong = [at for at, row in enumerate(rows) if without_number(row).tobytes() != right.tobytes()]
        if not wrong:
            return
        self.differed += 1
        if len(self.told) < _MOST_TOLD:
            self.told.append(self._told(rows[wrong[0]], wrong))

    def _told(self, this: NDArray[Any], wrong: list[int]) -> dict[str, Any]:
        again = raw_verdicts(self._room).tobytes() == self._raw.tobytes()
        params = self.scorer.last_plan.params if self.scorer.last_plan else None
        written = self._workspace != NAN
        apart = 4 * np.flatnonzero(written & (self._work() != self._workspace))
        told: dict[str, Any] = {
            "launch": self.launches,
            "repetitions": wrong[:20],
            "copied_again_the_same": again,
            **both_bytes(self._first, this),
            "fields": differences(without_number(self._first), without_number(this)),
            "off_float64": {
                name: float(np.abs(one["values"][:, : self._values.shape[1]] - self._values).max())
                for name, one in (("first", self._first), ("this", this))
            },
            "workspace": {
                "words_that_differ": len(apart),
                "at": apart[:60].tolist(),
                "counter_bytes": self._room.counter_bytes,
                "stats_at": params.stats_at if params else 0,
                "partials_at": params.partials_at if params else 0,
            },
        }
        return {"at_fault": fault_of(told), **told}

    def _rows(self, raw: NDArray[Any]) -> NDArray[Any]:
        return raw.reshape(self.repeats, self.case.batch)

    def _work(self) -> NDArray[np.uint32]:
        found = np.zeros(self._room.workspace_bytes, np.uint8)
        self.driver.read(self._room.workspace, found.data, 0)
        return found.view(np.uint32)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=60.0, help="of all conditions together")


if __name__ == "__main__":
    sys.exit(step_main("One case again and again, in many conditions.", repeat_case, more=_more))
