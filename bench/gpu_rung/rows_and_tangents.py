"""Two lists that are timed and gate nothing: rows of parts beside the head's, and z with K = 8 tangents."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgeosr.bench.gpu_rung.graph_timer import graph_microseconds, graphs_how
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.kernels.selftest.device_copy import DeviceCopy
from edgeosr.scoring.scorer import Scorer

BATCHES = (1, 8, 64)
# Parts with rows of the split matrix: as many as the bank keeps, and one a class.
LISTS = {"no more rows": (), "the bank's 256 rows": ("bank",), "C rows more": ("relative_mahalanobis",)}
IMAGES = 256  # as many as the bank has rows


def time_lists(report: StepReport, options: argparse.Namespace) -> None:
    """Time both lists."""
    rounds, warm_up = (2, 1) if options.small else (30, 5)
    driver = open_driver()
    driver.device(None)  # the inputs are there before the scorer, which would make a context current
    report.put("how", graphs_how(rounds, warm_up))
    rows: list[dict[str, Any]] = []

    def timed(what: str, scorer: Scorer, case: SelftestCase) -> None:
        rows.append({"what": what, "case": case.name, "us": _time(driver, scorer, case, rounds, warm_up)})
        report.put("rows", rows)

    batches = (2,) if options.small else BATCHES
    for dimension, taps, activation in ((40, 9, "relu"),) if options.small else SHAPES:
        case = SelftestCase(
            dimension=dimension,
            batch=1,
            size=2 if options.small else 7,
            taps=taps,
            activation=activation,
            classes=3 if options.small else 100,
            images=12 if options.small else IMAGES,
        )
        whole = case_scorer(case)
        for what, parts in LISTS.items():
            for batch in batches:
                timed(what, with_rows_of(whole, parts), replace(case, batch=batch))
    for dimension in (40,) if options.small else (512, 1280):
        case = SelftestCase(dimension=dimension, batch=1, size=0, probes=8)
        scorer = case_scorer(case)
        for batch in batches:
            timed("z with 8 tangents", scorer, replace(case, batch=batch))


SHAPES = ((512, 9, "relu"), (1280, 1, "clip"))


def with_rows_of(scorer: Scorer, parts: Sequence[str]) -> Scorer:
    """Return ``scorer`` with constants of ``parts`` alone; parts without constants stay."""
    fusion = scorer.fusion
    kept = [i for i, name in enumerate(fusion.parts) if name in parts or name not in scorer.constants]
    fusion = replace(
        fusion,
        parts=tuple(fusion.parts[i] for i in kept),
        means=tuple(fusion.means[i] for i in kept),
        stds=tuple(fusion.stds[i] for i in kept),
        weights=tuple(fusion.weights[i] for i in kept),
    )
    constants = {name: value for name, value in scorer.constants.items() if name in parts}
    return replace(scorer, fusion=fusion, constants=constants)


def _time(driver: Driver, scorer: Scorer, case: SelftestCase, rounds: int, warm_up: int) -> float:
    copies = {name: DeviceCopy(driver, array) for name, array in case_inputs(case).items()}
    try:
        with (
            FusedScorer(scorer, half=case.half_weights, driver=driver) as fused,
            fused.room(case.batch) as room,
        ):

            def work(stream: int) -> None:
                if "map" in copies:
                    fused.score_map(copies["map"], stream=stream, into=room)
                else:
                    fused.score(copies["embedding"], copies["tangents"], stream=stream, into=room)

            return graph_microseconds(driver, work, rounds=rounds, warm_up=warm_up)
    finally:
        for copy in copies.values():
            driver.free(copy.address)


if __name__ == "__main__":
    sys.exit(step_main("Rows of parts, and tangents: timed, not gated.", time_lists))
