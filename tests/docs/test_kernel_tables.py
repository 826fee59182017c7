"""The tables of docs/kernel.md hold what the counts, the cards' tables and the model of time say."""

from collections.abc import Iterator

import pytest
from document import ROOT

from edgeosr.bench.jetson import MODULES
from edgeosr.bench.kernel_counts import counts_of_source
from edgeosr.bench.kernel_latency import Compared, Device, predicted, range_by_phase, worst
from edgeosr.bench.kernel_model import Workload, floors
from edgeosr.bench.kernel_predictions import held_against, prediction
from edgeosr.bench.latency_table import FITTED_ON, latencies_of
from edgeosr.bench.phase_table import PhaseTable
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.counting.counts import LaunchCounts

PAGE = (ROOT / "docs" / "kernel.md").read_text("utf-8")
TEXT = PAGE.replace("\n", " ")
SHOWN = (
    "map 512 x 49 relu 3x3, B 1, fp16",
    "map 512 x 49 relu 3x3, B 8, fp16",
    "map 512 x 49 relu 3x3, B 64, fp16",
)
TODAY = device_source().digest
HELD = sorted(held_against(), key=lambda pair: (pair[0].date, pair[0].counts == TODAY))
H100 = Device(132, 1.98, cold=False)


def today() -> dict[str, LaunchCounts]:
    """Counts of the present source, as an H100 runs it."""
    return counts_of_source(TODAY, "sm_90", H100.multiprocessors)


def card_lines() -> Iterator[str]:
    """Counted warp instructions beside the cards'."""
    for table, _ in HELD:
        counts = counts_of_source(table.counts, table.architecture, table.multiprocessors)
        for name, on_card in table.warp_instructions.items():
            if name in counts:
                mine = counts[name].warp_instructions
                card = table.card.removeprefix("NVIDIA ").split()[0]
                off = 100 * (mine / on_card - 1)
                yield f"| {table.commit}, {card} | {name} | {on_card:,} | {mine:,} | {off:+.2f} % |"


def time_lines() -> Iterator[str]:
    """Until the end of each phase, measured and predicted: kernels that a card timed, and today's."""
    latencies = latencies_of("sm_90")
    for name in SHOWN:
        rows = [row_named(rows, name) for _, rows in HELD]
        now = predicted(today()[name], latencies, H100).total
        measured_now = any(table.counts == TODAY for table, _ in HELD)
        for number, phase in enumerate(today()[name].phases):
            cells = [pair_of(row, number) for row in rows]
            cells += [] if measured_now else [f"- | {now[number]:.1f}"]
            yield f"| B {batch_of(name)}: {phase.phase} | {' | '.join(cells)} |"


def row_named(rows: list[Compared], name: str) -> Compared:
    """The row of a launch."""
    return next(row for row in rows if row.name == name)


def pair_of(row: Compared, number: int) -> str:
    """Measured and predicted; a time that cannot be has a question mark."""
    mark = "" if row.sound[number] else "?"
    return f"{row.measured[number]:.1f}{mark} | {row.predicted[number]:.1f}"


def batch_of(name: str) -> str:
    """B."""
    return name.split("B ")[1].split(",")[0]


def count_lines() -> Iterator[str]:
    """What is counted of today's kernel."""
    for name in SHOWN:
        for phase in today()[name].phases:
            loads = phase.waits["far"] + phase.waits["cold"] + phase.waits["near"]
            words = f"{phase.warp_instructions:,} | {loads} | {phase.barriers} | {phase.atomics}"
            yield (
                f"| B {batch_of(name)}: {phase.phase} | {words} | {phase.wavefronts:,} | {phase.sectors:,} |"
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


@pytest.mark.parametrize("lines", [card_lines, time_lines, count_lines, module_lines])
def test_the_page_has_the_rows(lines: object) -> None:
    assert callable(lines)
    missing = [line for line in lines() if line not in PAGE]
    assert missing == [], "docs/kernel.md needs these rows:\n" + "\n".join(missing)


@pytest.mark.parametrize(("table", "rows"), HELD, ids=lambda value: getattr(value, "commit", ""))
def test_the_page_says_how_far_the_model_was_off(table: PhaseTable, rows: list[Compared]) -> None:
    held, (least, most) = worst(rows, fitted=False), range_by_phase(rows, fitted=False)
    assert f"{least:.2f} to {most:.2f} times measured" in TEXT, table.commit
    if table.commit == FITTED_ON:
        assert f"{held:.2f} times on the four rows held back" in TEXT
        assert f"{worst(rows, fitted=True):.2f} times on the five it was fitted on" in TEXT
    else:
        assert f"{held:.2f} times on the {len(rows)} rows of {table.commit}" in TEXT
