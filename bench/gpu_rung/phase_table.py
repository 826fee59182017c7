"""Where the fused kernel's time goes: the builds of ``kernels/build/phases.py``, timed in turn."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.graph_timer import graph_microseconds, how
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.kernels.build.images import Image, image_for
from edgeosr.kernels.build.phases import PHASES, WHOLE, phase_image
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer
from edgeosr.kernels.selftest.device_copy import DeviceCopy
from edgeosr.scoring.scorer import Scorer


@dataclass(frozen=True)
class Shape:
    """The scorer's side of a row; its batches follow one another, for the scorer takes longest to make."""

    dimension: int
    size: int
    taps: int
    activation: str
    batches: tuple[int, ...]

    def case(self, batch: int, *, half: bool) -> SelftestCase:
        """Return the case of one row; the input is always fp16."""
        return SelftestCase(
            dimension=self.dimension,
            batch=batch,
            size=self.size,
            taps=self.taps,
            activation=self.activation,
            half_weights=half,
            half_input=True,
        )


# The rows of the first table that was ever measured, so that one can be laid beside the other.
SHAPES = (
    Shape(512, 7, 9, "relu", (1, 8, 16, 64)),
    Shape(1280, 7, 1, "clip", (1, 8, 16, 64)),
    Shape(512, 14, 9, "relu", (1, 8, 16, 64)),
)
SMALL = (Shape(37, 4, 9, "relu", (1, 3)),)


def time_phases(report: StepReport, options: argparse.Namespace) -> None:
    """Time every row; fp16 weights first, for that is what runs on tensor cores.

    Raises:
        KernelBuildError: the phase builds are not of the installed source, or none is for this card.
    """
    rounds, warm_up = (2, 1) if options.small else (50, 10)
    driver = open_driver()
    device = driver.device(None)
    images = {words: phase_image(device, options.phases, stop) for stop, words in PHASES.items()}
    images[WHOLE] = image_for(device)
    report.put("source", device_source().digest)
    report.put("how", how(rounds, warm_up))
    report.put("unit", "microseconds; each column does what those before it do")
    rows: list[dict[str, Any]] = []
    for half in (True, False):
        for shape in SMALL if options.small else SHAPES:
            scorer = case_scorer(shape.case(1, half=half))
            for batch in shape.batches:
                case = shape.case(batch, half=half)
                copy = DeviceCopy(driver, case_inputs(case)["map"])
                try:
                    times = {
                        words: _time(driver, scorer, case, copy, image, (rounds, warm_up))
                        for words, image in images.items()
                    }
                finally:
                    driver.free(copy.address)
                rows.append(
                    {
                        "D": shape.dimension,
                        "Q": shape.size**2,
                        "taps": shape.taps,
                        "activation": shape.activation,
                        "B": batch,
                        "weights": "fp16" if half else "fp32",
                        "us": times,
                    }
                )
                report.put("rows", rows)


def _time(
    driver: Driver, scorer: Scorer, case: SelftestCase, copy: DeviceCopy, image: Image, turns: tuple[int, int]
) -> float:
    with (
        FusedScorer(scorer, half=case.half_weights, driver=driver, image=image) as fused,
        fused.room(case.batch) as room,
    ):
        return graph_microseconds(
            driver,
            lambda stream: fused.score_map(copy, stream=stream, into=room),
            rounds=turns[0],
            warm_up=turns[1],
        )


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--phases", type=Path, required=True, help="folder of the phase builds")


if __name__ == "__main__":
    sys.exit(step_main("Where the fused kernel's time goes.", time_phases, more=_more))
