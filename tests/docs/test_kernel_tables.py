"""The tables of docs/kernel.md hold what the counts, the card's table and the model of time say."""

from collections.abc import Iterator

import pytest
from document import ROOT

from edgeosr.bench.jetson import MODULES
from edgeosr.bench.kernel_counts import counts_of_source
from edgeosr.bench.kernel_latency import Device, predicted, worst
from edgeosr.bench.kernel_model import Workload, floors
from edgeosr.bench.kernel_predictions import held_against, prediction
from edgeosr.bench.latency_table import latencies_of
from edgeosr.kernels.build.sources import device_source

PAGE = (ROOT / "docs" / "kernel.md").read_text("utf-8")
SHOWN = ("map 512 x 49 relu 3x3, B 1, fp16", "map 512 x 49 relu 3x3, B 8, fp16")
((TABLE, ROWS),) = held_against()
HERE = Device(TABLE.multiprocessors, TABLE.clock_ghz, cold=False)


def card_lines() -> Iterator[str]:
    """Counted warp instructions beside the card's."""
    counts = counts_of_source(TABLE.source, "sm_90")
    for name, on_card in TABLE.warp_instructions.items():
        mine = counts[name].warp_instructions
        yield f"| {name} | {on_card:,} | {mine:,} | {100 * (mine / on_card - 1):+.2f} % |"


def phase_lines() -> Iterator[str]:
    """The launches' phases: measured and predicted of the card's source, counted and predicted of today's."""
    today = counts_of_source(device_source().digest, "sm_90")
    for name in SHOWN:
        (row,) = [row for row in ROWS if row.name == name]
        time = predicted(today[name], latencies_of("sm_90"), HERE).total
        phases = zip(today[name].phases, row.measured, row.predicted, time, strict=True)
        for phase, measured, model, now in phases:
            loads = phase.waits["far"] + phase.waits["cold"] + phase.waits["near"]
            yield (
                f"| B {name.split('B ')[1].split(',')[0]}: {phase.phase} | {measured:.1f} | {model:.1f} | "
                f"{now:.1f} | {phase.warp_instructions:,} | {loads} | {phase.barriers} | {phase.atomics} | "
                f"{phase.wavefronts:,} | {phase.sectors:,} |"
            )


def module_lines() -> Iterator[str]:
    """Floors and predictions on the modules."""
    launches = [Workload(source="map", batch=b, dimension=512, positions=49) for b in (1, 8, 64)]
    for module in MODULES[1:]:
        cells = [
            f"{floors(launch)[module.name].critical_path:.1f} / {prediction(launch, module).total[-1]:.0f}"
            for launch in launches
        ]
        yield f"| {module.name} | {' | '.join(cells)} |"


@pytest.mark.parametrize("lines", [card_lines, phase_lines, module_lines])
def test_the_page_has_the_rows(lines: object) -> None:
    assert callable(lines)
    missing = [line for line in lines() if line not in PAGE]
    assert missing == [], "docs/kernel.md needs these rows:\n" + "\n".join(missing)


def test_the_page_says_how_far_the_model_was_off() -> None:
    held, fitted = worst(ROWS, fitted=False), worst(ROWS, fitted=True)
    assert f"{held:.2f} times on the four rows held back" in PAGE.replace("\n", " ")
    assert f"{fitted:.2f} times on the five it was fitted on" in PAGE.replace("\n", " ")
