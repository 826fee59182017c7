"""Where the fused kernel's time goes: the builds of ``kernels/build/phases.py``, timed in turn."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.clocks import clocks_meanwhile, pci_id
from edgeosr.bench.gpu_rung.graph_timer import graph_microseconds, graphs_how
from edgeosr.bench.gpu_rung.step_report import NotRunHereError, StepReport, step_main
from edgeosr.bench.kernel_counts import row_name
from edgeosr.kernels.build.images import Image, image_for, suitable_builds
from edgeosr.kernels.build.phases import PHASES, WHOLE, phase_image
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.driver.driver import Device, Driver, open_driver
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
        NotRunHereError: the driver can load none of the phase builds.
        KernelBuildError: the phase builds are not of the installed source.
    """
    driver = open_driver()
    device = driver.device(None)
    require_phase_build(device, options.phases)
    images = {words: phase_image(device, options.phases, stop) for stop, words in PHASES.items()}
    images[WHOLE] = image_for(device)
    turns = (2, 1) if options.small else (50, 10)
    report.put("source", device_source().digest)
    report.put("how", graphs_how(*turns))
    report.put("unit", "microseconds from the start until the end of each phase")
    with clocks_meanwhile(pci_id(driver, device)) as clocks:
        _time_all(report, SMALL if options.small else SHAPES, driver, images, turns)
    report.put("clocks", clocks)


def require_phase_build(device: Device, folder: Path) -> None:
    """Raise NotRunHereError if builds for other cards and drivers are there, and none that this one can load.

    Phases are timed in cubins alone: PTX is compiled by the driver, as it likes.
    """
    names = [build.file_name for build in suitable_builds(device) if not build.ptx]
    places = [folder / f"stop{stop}" for stop in PHASES]
    there = sorted(path.name for place in places if place.is_dir() for path in place.glob("*.cubin"))
    if (
        device.integrated
        or not there
        or all(any((place / name).is_file() for name in names) for place in places)
    ):
        return
    architecture = device.target
    version = f"{device.driver[0]}.{device.driver[1]}"
    why = "the kernel runs there as PTX, which the driver compiles as it likes"
    if device.driver < (13, 0) and any(f"-{architecture}-" in name for name in there):
        why = f"that of {architecture} needs a driver of CUDA 13"
    raise NotRunHereError(
        f"no phase build fits {device.name} ({architecture}, driver of CUDA {version}); {why}; there are "
        f"{', '.join(dict.fromkeys(there))}"
    )


def _time_all(
    report: StepReport,
    shapes: tuple[Shape, ...],
    driver: Driver,
    images: dict[str, Image],
    turns: tuple[int, int],
) -> None:
    rows: list[dict[str, Any]] = []
    for half in (True, False):
        for shape in shapes:
            scorer = case_scorer(shape.case(1, half=half))
            for batch in shape.batches:
                case = shape.case(batch, half=half)
                copy = DeviceCopy(driver, case_inputs(case)["map"])
                try:
                    times = {
                        words: _time(driver, scorer, case, copy, image, turns)
                        for words, image in images.items()
                    }
                    if not rows:
                        cleared = _time(driver, scorer, case, copy, images[WHOLE], turns, clears=True)
                        report.put("with_a_clear", {"row": row_name(case), "us": cleared})
                finally:
                    driver.free(copy.address)
                rows.append({"row": row_name(case), "us": times})
                report.put("rows", rows)


def _time(
    driver: Driver,
    scorer: Scorer,
    case: SelftestCase,
    copy: DeviceCopy,
    image: Image,
    turns: tuple[int, int],
    *,
    clears: bool = False,
) -> float:
    with (
        FusedScorer(scorer, half=case.half_weights, driver=driver, image=image) as fused,
        fused.room(case.batch) as room,
    ):

        def work(stream: int) -> None:
            if clears:  # what earlier tables hold: verdicts had no number
                driver.clear(room.address, case.batch * VERDICT.itemsize // 4, stream)
            fused.score_map(copy, stream=stream, into=room)

        return graph_microseconds(
            driver,
            work,
            rounds=turns[0],
            warm_up=turns[1],
        )


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--phases", type=Path, required=True, help="folder of the phase builds")


if __name__ == "__main__":
    sys.exit(step_main("Where the fused kernel's time goes.", time_phases, more=_more))
