"""A case on the device whose launches are compared with one of them; what is at fault in one that differs."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.kernels.device_verdicts import NUMBER_FROM
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import unpacked_weights
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.kernels.selftest.device_copy import DeviceCopy
from edgeosr.kernels.selftest.launches import (
    NAN,
    both_bytes,
    differences,
    fill_room,
    raw_verdicts,
    without_number,
)
from edgeosr.kernels.sharing import Tiling
from edgeosr.scoring.reference import reference_scores

MOST_TOLD = 4  # launches of a condition
TILES_OF_ONE = PlanTable(tried=Tiling(origin="tried", samples=1, class_warps=0))


def fault_of(told: dict[str, Any]) -> str:
    """Return what is at fault in a launch that differs; of one whose workspace was not kept "launch"."""
    if not told["copied_again_the_same"]:
        return "copy"
    if "workspace" not in told:
        return "launch"
    return "workspace" if told["workspace"]["words_that_differ"] else "verdict"


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
        if len(self.told) < MOST_TOLD:
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
