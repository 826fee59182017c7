"""The kernel timed beside its rivals: turns, trains, ratios, and rivals that cannot run or are wrong."""

from typing import Any

import numpy as np
import pytest
from graph_double import GraphDouble

from edgeosr.errors import CudaError, MissingDependencyError
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.driver.interleaved import TRAIN
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest import cases, rivals
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.kernels.selftest.rivals import installed_rivals, time_beside_rivals
from edgeosr.scoring.reference import reference_scores

CASE = SelftestCase(dimension=37, batch=3, size=4)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "_WIDTHS", (33, 16, 1))
    monkeypatch.setattr(rivals, "WARM_UP", 1)


class Clock(GraphDouble):
    """Time is what was launched: 2 units a replay of the kernel's graph, more where a rival adds it."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.stamps = 0.0, {}

    def _GraphLaunch(self, graph: str, stream: int) -> None:
        super()._GraphLaunch(graph, stream)
        self.now += 2.0

    def _EventRecord(self, event: str, stream: int) -> None:
        self.stamps[event] = self.now

    def _EventElapsedTime(self, start: str, end: str) -> float:
        return self.stamps[end] - self.stamps[start]


class Slower:
    """A rival that takes three times as long, and whose scores are off by `off`."""

    conditions = "a double"
    off = 0.0

    def __init__(self, case: SelftestCase, driver: Driver, stream: int):
        self.case, self.cuda, self.launches, self.closed = case, driver.cuda, 0, False
        made.append(self)

    def launch(self) -> None:
        self.launches += 1
        self.cuda.now += 6.0

    def scores(self) -> Any:
        return reference_scores(case_scorer(self.case), **case_inputs(self.case))["score"] + self.off

    def close(self) -> None:
        self.closed = True


class Wrong(Slower):
    off = 0.2


class NotANumber(Slower):
    off = float("nan")


def missing(case: SelftestCase, driver: Driver, stream: int) -> Any:
    raise MissingDependencyError("not here; run: pip install it")


def breaks(case: SelftestCase, driver: Driver, stream: int) -> Any:
    raise RuntimeError("out of memory")


made: list[Slower] = []


def timed(cuda: GraphDouble, runs: int, others: dict[str, Any]) -> dict[str, Any]:
    made.clear()
    with FusedScorer(
        case_scorer(CASE), half=True, driver=Driver(cuda), image=Image(b"\x7fELF", "the emulation")
    ) as scorer:
        return time_beside_rivals(scorer, CASE, runs, others)


def test_each_is_timed_in_trains_and_the_ratio_is_the_rivals_time_in_kernels() -> None:
    cuda = Clock()
    found = timed(cuda, 3, {"slower": Slower})
    assert found["kernel"]["median_us"] == 2000.0 and found["slower"]["median_us"] == 6000.0
    assert found["slower"]["times_the_kernel"] == 3.0 and "times_the_kernel" not in found["kernel"]
    assert found["slower"]["conditions"] == "a double"
    assert made[0].launches == 1 + (1 + 3) * TRAIN and made[0].closed
    assert cuda.count("cuGraphLaunch") == (1 + 3) * TRAIN
    # Nothing is left on the device, and no work went to the default stream while it was timed.
    assert not cuda.memory and not cuda.streams and not cuda.graphs


def test_a_rival_that_is_missing_or_breaks_or_computes_something_else_has_a_reason_and_no_figure() -> None:
    others = {"missing": missing, "breaks": breaks, "wrong": Wrong, "nan": NotANumber}
    found = timed(Clock(), 1, others)
    assert found["missing"] == {"not_timed": "not here; run: pip install it"}
    assert found["breaks"] == {"not_timed": "RuntimeError: out of memory"}
    assert found["wrong"] == {"not_timed": "its scores are 0.2 from the reference's: other work"}
    assert "other work" in found["nan"]["not_timed"] and set(found["nan"]) == {"not_timed"}
    assert all(rival.closed for rival in made)
    assert found["kernel"]["median_us"] == 2000.0


def test_the_kernel_s_graph_gives_the_verdicts_of_its_launch() -> None:
    cuda = GraphDouble()
    driver = Driver(cuda)
    with (
        FusedScorer(case_scorer(CASE), half=True, driver=driver, image=Image(b"\x7fELF", "")) as scorer,
        driver.own_stream() as own,
    ):
        contender = rivals.FusedContender(scorer, CASE, own)
        launches = cuda.count("cuLaunchKernel")
        contender.launch()
        replayed = contender.scores()
        assert cuda.count("cuLaunchKernel") == launches  # the graph's own
        expected = reference_scores(case_scorer(CASE), **case_inputs(CASE))["score"]
        assert np.abs(replayed - expected).max() < 1e-2
        contender.close()


def test_a_capture_that_fails_ends_and_raises_what_happened() -> None:
    cuda = GraphDouble()
    driver = Driver(cuda)
    driver.device(None)
    with driver.own_stream() as own:
        with pytest.raises(CudaError, match="cuMemAlloc failed"):
            Graph(driver, own, lambda: driver.allocate(16))
        assert cuda.capturing is None


def test_the_package_offers_torch_and_tensorrt() -> None:
    assert set(installed_rivals()) == {"tensorrt", "torch"}
