"""The fused kernel timed against rivals that compute the same scores, in turn on one stream.

Each contender is one CUDA graph, timed by ``interleaved_us``; the ratio is the median over rounds of rival to
kernel. Rivals come from the entry points of ``GROUP``, for their libraries are heavy and may be missing: then
the report says so in place of a figure.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import EdgeosrError, UsageError
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.driver.interleaved import how, interleaved_us
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs
from edgeosr.kernels.selftest.device_copy import DeviceCopy
from edgeosr.scoring.reference import reference_scores

GROUP = "edgeosr.kernel_rivals"
WARM_UP = 10  # rounds
FARTHEST = 0.1  # standard deviations of the score between a rival and the reference: further, and it computes
# something else


class Contender(Protocol):
    """What can be timed.

    Attributes:
        conditions: versions, precision, how it is launched; for the report.
    """

    conditions: str

    def launch(self) -> None:
        """Enqueue one scoring of the batch on the stream it was made for."""

    def scores(self) -> NDArray[Any]:
        """Return the last launch's unknown scores, ``[B]``, after it is over."""

    def close(self) -> None:
        """Free what it holds; launches must be over."""


Rival = Callable[[SelftestCase, Driver, int], Contender]
"""Makes one for a case, a driver and a stream; raises an EdgeosrError that says why it cannot."""


class FusedContender:
    """The fused kernel; nothing is cleared before a launch."""

    def __init__(self, scorer: FusedScorer, case: SelftestCase, stream: int):
        self._scorer = scorer
        self._copy = DeviceCopy(scorer.driver, case_inputs(case)["map"])
        self._room = scorer.room(case.batch)

        def work() -> None:
            scorer.score_map(self._copy, stream=stream, into=self._room)

        work()  # loads the entry
        self._graph = Graph(scorer.driver, stream, work)
        self.conditions = f"{scorer.origin}, one CUDA graph of the kernel alone"

    def launch(self) -> None:
        """See ``Contender``."""
        self._graph.replay()

    def scores(self) -> NDArray[Any]:
        """See ``Contender``."""
        return np.asarray(self._room.to_host()["score"])

    def close(self) -> None:
        """See ``Contender``."""
        self._graph.close()
        self._room.close()
        self._scorer.driver.free(self._copy.address)


def installed_rivals() -> dict[str, Rival]:
    """Return those that installed packages offer, by name."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def time_beside_rivals(
    scorer: FusedScorer, case: SelftestCase, runs: int, rivals: Mapping[str, Rival]
) -> dict[str, Any]:
    """Time one case with a map; return its entry of the report.

    Args:
        scorer: the case's.
        case: sizes and inputs.
        runs: rounds, after the warm-up.
        rivals: by name.
    """
    driver = scorer.driver
    expected = reference_scores(scorer.scorer, **case_inputs(case))["score"]
    contenders: dict[str, Contender] = {}
    missing: dict[str, str] = {}
    with driver.own_stream() as own:
        try:
            contenders["kernel"] = FusedContender(scorer, case, own)
            for name, make in rivals.items():
                try:
                    contenders[name] = make(case, driver, own)
                    contenders[name].launch()
                    distance = float(np.abs(contenders[name].scores() - expected).max())
                    if not distance <= FARTHEST:
                        raise UsageError(f"its scores are {distance:.3g} from the reference's: other work")
                except Exception as error:  # whatever a rival's library raises, the report is worth more
                    known = isinstance(error, EdgeosrError)
                    missing[name] = str(error) if known else f"{type(error).__name__}: {error}"
                    if name in contenders:
                        contenders.pop(name).close()
            launches = {name: contender.launch for name, contender in contenders.items()}
            samples = interleaved_us(driver, own, launches, rounds=runs, warm_up=WARM_UP)
            conditions = {name: contender.conditions for name, contender in contenders.items()}
        finally:
            driver.synchronize(own)
            for contender in contenders.values():
                contender.close()
    report: dict[str, Any] = {
        "case": case.name,
        "how": how(runs, WARM_UP),
    }
    for name, times in samples.items():
        report[name] = {**_summary(times), "conditions": conditions[name]}
        if name != "kernel":
            report[name]["times_the_kernel"] = round(float(np.median(times / samples["kernel"])), 3)
    report.update({name: {"not_timed": why} for name, why in missing.items()})
    return report


def _summary(microseconds: NDArray[np.float64]) -> dict[str, float]:
    return {
        "median_us": round(float(np.median(microseconds)), 2),
        "p99_us": round(float(np.quantile(microseconds, 0.99)), 2),
        "least_us": round(float(microseconds.min()), 2),
    }
