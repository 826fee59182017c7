"""Which plan is fastest on this card: every one that a row of the plan table may hold, timed in turn.

One process, one set of weights and inputs; each plan is a captured graph of the kernel alone, and in every
round each is replayed. ``python -m edgeosr.bench.plan_table --measured RECORD`` makes the table of it.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeosr.bench.gpu_rung.clocks import clocks_meanwhile, pci_id
from edgeosr.bench.gpu_rung.graph_timer import graphs_how
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.bench.kernel_counts import row_name
from edgeosr.bench.plan_rows import (
    BATCHES,
    SHAPES,
    best_row,
    cases_of,
    only,
    tiling_of,
    variants,
    words_of,
)
from edgeosr.kernels.build.images import image_for
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.driver.driver import Device, Driver, open_driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.driver.interleaved import interleaved_us
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import pack_scorer
from edgeosr.kernels.plan import LaunchPlan, MapShape, plan_launch
from edgeosr.kernels.plan_table import MEASURED, PlanTable
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.kernels.selftest.device_copy import DeviceCopy
from edgeosr.kernels.sharing import Tiling
from edgeosr.scoring.scorer import Scorer

SMALL = (SelftestCase(dimension=37, batch=1, size=4),)


@dataclass(frozen=True)
class Timed:
    """How a case is timed."""

    rounds: int
    warm_up: int


def time_plans(report: StepReport, options: argparse.Namespace) -> None:
    """Time every shape, fp16 weights first; a row is kept when its case is over."""
    driver = open_driver()
    device = driver.device(None)
    timed = Timed(2, 1) if options.small else Timed(40, 5)
    report.put("source", device_source().digest)
    report.put("how", f"{graphs_how(timed.rounds, timed.warm_up)}; plans in turn")
    rows: list[dict[str, Any]] = []
    with clocks_meanwhile(pci_id(driver, device)) as clocks:
        for half in (True, False) if device.architecture >= (7, 5) else (False,):
            for first in SMALL if options.small else SHAPES:
                scorer = case_scorer(cases_of(first, (1,), half=half)[0])
                for case in cases_of(first, (1, 3) if options.small else BATCHES, half=half):
                    rows.append(_row(report, driver, device, case, scorer, timed))
                    report.put("rows", rows)
    report.put("clocks", clocks)


def _row(
    report: StepReport,
    driver: Driver,
    device: Device,
    case: SelftestCase,
    scorer: Scorer,
    timed: Timed,
) -> dict[str, Any]:
    packed = pack_scorer(scorer, half=case.half_weights)
    ruled = plan_launch(
        packed,
        MapShape(height=case.size, width=case.size),
        case.batch,
        multiprocessors=device.multiprocessors,
        architecture=device.target,
        table=PlanTable(),
    )
    us, bits = _times(driver, case, scorer, variants(packed, case.batch, ruled.cluster), ruled.cluster, timed)
    if bits != 1:
        report.fail(f"{row_name(case)}: the verdicts' bits depend on the plan, {bits} kinds of them")
    row = best_row(
        ruled,
        us,
        architecture=device.target,
        multiprocessors=device.multiprocessors,
        half=case.half_weights,
        origin=MEASURED + device.name,
    )
    return {
        "case": row_name(case),
        "us": {words_of(tiling): round(one, 2) for tiling, one in us.items()},
        "rule": words_of(tiling_of(ruled)),
        "row": asdict(row),
    }


def _times(
    driver: Driver, case: SelftestCase, scorer: Scorer, tilings: list[Tiling], cluster: int, timed: Timed
) -> tuple[dict[Tiling, float], int]:
    """Return the median microseconds of each plan, and how many kinds of bits their verdicts have."""
    image = image_for(driver.device(None))
    copy = DeviceCopy(driver, case_inputs(case)["map"])
    graphs: dict[str, Graph] = {}
    try:
        with contextlib.ExitStack() as stack:
            own = stack.enter_context(driver.own_stream())
            bits = set()
            for tiling in tilings:
                fused = stack.enter_context(
                    FusedScorer(
                        scorer, half=case.half_weights, driver=driver, image=image, table=only(tiling)
                    )
                )
                room = stack.enter_context(fused.room(case.batch))
                work = _launch(fused, copy, own, room)
                work()
                require_plan(fused.last_plan, tiling, cluster)
                bits.add(room.to_host().tobytes())
                graphs[words_of(tiling)] = Graph(driver, own, work)
            try:
                found = interleaved_us(
                    driver,
                    own,
                    {name: graph.replay for name, graph in graphs.items()},
                    rounds=timed.rounds,
                    warm_up=timed.warm_up,
                )
            finally:
                driver.synchronize(own)
                for graph in graphs.values():
                    graph.close()
    finally:
        driver.free(copy.address)
    return {tiling: float(np.median(found[words_of(tiling)])) for tiling in tilings}, len(bits)


def _launch(fused: FusedScorer, copy: DeviceCopy, stream: int, room: Any) -> Callable[[], Any]:
    return lambda: fused.score_map(copy, stream=stream, into=room)


def require_plan(plan: LaunchPlan | None, tiling: Tiling, cluster: int) -> None:
    """Assert that what is timed is what was asked for.

    A plan that does not fit is replaced by the rule's; a device without place for clusters gets none.
    """
    assert plan is not None and (tiling_of(plan), plan.cluster) == (tiling, cluster), (plan, tiling, cluster)


if __name__ == "__main__":
    sys.exit(step_main("Which plan is fastest: timed, and the verdicts' bits compared.", time_plans))
