"""The counter against an H200's own counters: the machine code that ran there, no factor fitted."""

import pytest
from card_launches import card_build, card_launch, launch_names

from edgeosr.bench.kernel_counts import counts_of_source
from edgeosr.bench.latency_table import FITTED_ON
from edgeosr.bench.phase_table import measured_tables
from edgeosr.kernels.counting.compiled import Compiled
from edgeosr.kernels.counting.counts import LaunchCounts
from edgeosr.kernels.counting.launch import run_launch
from edgeosr.kernels.counting.phases import PHASES

LARGEST_ERROR = 0.15
COUNTED_ANEW = (
    "map 512 x 49 relu 3x3, B 1, fp16",
    "map 512 x 49 relu 3x3, B 16, fp16",
    "map 512 x 49 relu 3x3, B 8, fp32",
    "map 1280 x 49 clip 1x1, B 1, fp16",
)
RECOUNT = "python tests/kernels/card_launches.py"


@pytest.fixture(scope="module")
def build() -> Compiled:
    return card_build()


@pytest.fixture(scope="module")
def kept() -> dict[str, LaunchCounts]:
    (table,) = [table for table in measured_tables() if table.commit == FITTED_ON]
    return counts_of_source(table.source, "sm_90", table.multiprocessors)


def on_card() -> dict[str, int]:
    (table,) = [table for table in measured_tables() if table.commit == FITTED_ON]
    return dict(table.warp_instructions)


@pytest.mark.parametrize("name", COUNTED_ANEW)
def test_a_launch_counted_anew_is_what_is_kept_and_has_the_warp_instructions_of_the_card(
    name: str, build: Compiled, kept: dict[str, LaunchCounts]
) -> None:
    counts = run_launch(build, card_launch(name)).counts
    assert counts == kept[name], f"waits and all; if the counter has learnt something: {RECOUNT}"
    if name in on_card():
        assert counts.warp_instructions == pytest.approx(on_card()[name], rel=LARGEST_ERROR)
    assert [phase.phase for phase in counts.phases] == list(PHASES)


def test_every_launch_of_the_card_s_tables_can_be_counted_anew(kept: dict[str, LaunchCounts]) -> None:
    (table,) = [table for table in measured_tables() if table.commit == FITTED_ON]
    assert set(kept) == set(launch_names()) >= {*table.rows, *table.warp_instructions}


def test_the_phases_are_cut_where_the_builds_that_were_timed_stop(kept: dict[str, LaunchCounts]) -> None:
    """One fence publishes a block, and the last block's own comes after the third build's end."""
    for counts in kept.values():
        assert [phase.waits["fence"] for phase in counts.phases] == [0, 0, 1, 2, 2]
        assert counts.phases[2].barriers == 2, "before the counter, and before its answer is read"


@pytest.mark.parametrize("name", sorted(on_card()))
def test_the_kept_counts_are_within_the_stated_error_of_the_card(
    name: str, kept: dict[str, LaunchCounts]
) -> None:
    assert kept[name].warp_instructions == pytest.approx(on_card()[name], rel=0.01)


def test_the_kernel_of_that_commit_has_the_chain_that_the_card_was_slow_with(
    kept: dict[str, LaunchCounts],
) -> None:
    """Sums over slabs, sample after sample: a hundred waits for a load, and no load needs another."""
    sums = kept["map 512 x 49 relu 3x3, B 8, fp16"].phases[3]
    assert sums.waits["far"] + sums.waits["cold"] > 100
    assert sums.dependent_loads == 1
    assert (sums.atomics, kept["map 512 x 49 relu 3x3, B 64, fp16"].phases[2].atomics) == (0, 128)
