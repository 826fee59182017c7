"""The fused kernel in clusters of 8 blocks, executed on the CPU, against the float64 reference."""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fused_cases import (
    CLUSTER_AXES,
    TANGENT_PROBES,
    Case,
    Inputs,
    cluster_cases,
    random_inputs,
    random_scorer,
    reference_of,
)
from fused_outcome import condition
from fused_run import SOURCE, Launch, prepared
from fused_values import wrong_part
from largest_row import DEFINE, HEADER, known, random_constants
from mutant_builds import Entry, compiled
from numpy.typing import NDArray
from simt_build import built
from simt_run import SCHEDULES, Library

from edgeosr.kernels.build.phases import MACRO, PHASES
from edgeosr.kernels.device_verdicts import ACCEPTED, NOT_FINITE, WRITTEN
from edgeosr.kernels.packing import PackedScorer, pack_scorer, unpacked_weights
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.sharing import CLUSTER, Tiling
from edgeosr.scoring.scorer import Scorer

TOLERANCE = 1e-2  # of the score: fp16 weights


@pytest.fixture(scope="module", autouse=True)
def part() -> Iterator[None]:
    """A part with rows of the split matrix is known."""
    with known():
        yield


@functools.cache
def library() -> Library:
    defines = ("EDGEOSR_SIMT_ARCH=900", DEFINE)
    return Library(built(SOURCE, defines=defines, headers=(HEADER,)))


def scorer_of(case: Case) -> Scorer:
    """A scorer that lists every part that it can carry, and one with rows of its own."""
    return random_scorer(case, random_constants(case.dimension, 33))


def planned(case: Case, packed: PackedScorer, inputs: Inputs, tile: int, *, shift: int = 0) -> Launch:
    """A launch in clusters, with so many samples a tile."""
    table = PlanTable(tried=Tiling(origin="tried", samples=tile))
    launch = prepared(case, packed, inputs, shift=shift, architecture="sm_90", table=table)
    assert launch.plan.cluster == CLUSTER and launch.plan.tile == tile
    assert launch.plan.entry.split("_")[3] == "cluster"
    return launch


def assert_right(
    case: Case, scorer: Scorer, inputs: Inputs, verdicts: NDArray[Any], expected: Mapping[str, NDArray[Any]]
) -> None:
    """Scores, labels, parts and decisions are the reference's."""
    assert ((verdicts["flags"] & (WRITTEN | NOT_FINITE)) == WRITTEN).all()
    assert (verdicts["label"] == expected["label"]).all()
    assert wrong_part(case, scorer.fusion.parts, verdicts, expected["values"], condition(inputs)) is None
    if case.dimension == 1 and len(scorer.layers) > 1:
        # The logit of one channel hardly differs from sample to sample: in its standard deviations, fp16's
        # rounding of hidden values is more than the tolerance, in a cluster and without.
        return
    assert np.abs(verdicts["score"] - expected["score"]).max() <= TOLERANCE
    far = np.abs(expected["score"] - scorer.threshold) > TOLERANCE
    assert ((verdicts["flags"] & ACCEPTED != 0) == expected["accepted"])[far].all()


@pytest.mark.parametrize("case", cluster_cases(), ids=str)
def test_verdicts_are_those_of_the_float64_reference_in_every_order(case: Case) -> None:
    scorer, inputs = scorer_of(case), random_inputs(case)
    expected = reference_of(unpacked_weights(scorer, half=True), inputs)
    launch = planned(case, pack_scorer(scorer, half=True), inputs, cluster_cases()[case], shift=case.seed % 8)
    schedules = ["shuffled", ("forward", "reverse")[case.seed % 2]]
    found = [launch.run(library(), schedule=schedule, seed=case.seed + 1) for schedule in schedules]
    assert len({verdicts.tobytes() for verdicts in found}) == 1
    assert_right(case, scorer, inputs, found[0], expected)


def test_the_cases_hold_every_pair_of_values_and_all_homes_of_weights() -> None:
    rows = [{**vars(case), "tile": tile} for case, tile in cluster_cases().items()]
    for a, b in itertools.combinations(CLUSTER_AXES, 2):
        seen = {(row[a], row[b]) for row in rows}
        assert len(seen) == len(CLUSTER_AXES[a]) * len(CLUSTER_AXES[b]), (a, b)
    assert {row["probes"] for row in rows if not row["positions"]} == set(TANGENT_PROBES)
    columns = set()  # of a slab: how many a block keeps
    for case, tile in cluster_cases().items():
        params = planned(case, pack_scorer(scorer_of(case), half=True), random_inputs(case), tile).plan.params
        steps = params.slab_width // 16
        columns.add("none" if not params.kept_steps else "all" if params.kept_steps == steps else "some")
    assert columns == {"none", "some", "all"}
    kept = set()
    for discriminator in CLUSTER_AXES["discriminator"]:
        case = next(case for case in cluster_cases() if case.discriminator == discriminator)
        launch = planned(case, pack_scorer(scorer_of(case), half=True), random_inputs(case, 1), 1)
        kept.add((launch.plan.params.layers > 2, bool(launch.plan.params.keeps_layers)))
    assert kept == {(False, False), (True, False), (True, True)}


SAME_BITS = [
    Case(
        dimension=130,
        batch=21,
        classes=classes,
        head="cosine",
        discriminator=discriminator,
        half_weights=True,
        half_input=positions > 0,
        positions=positions,
        filter=3,
        probes=0 if positions else 5,
        seed=5,
    )
    for positions, classes, discriminator in ((49, 40, "wide"), (0, 100, "ragged"))
]


@pytest.mark.parametrize("case", SAME_BITS, ids=str)
def test_a_sample_has_the_same_bits_in_every_batch_at_every_position_in_every_tile(case: Case) -> None:
    packed, inputs = pack_scorer(scorer_of(case), half=True), random_inputs(case)
    whole = planned(case, packed, inputs, 8).run(library())
    rng = np.random.default_rng(9)
    for size, tile in ((1, 1), (1, 8), (3, 2), (5, 4), (8, 8), (9, 8), (9, 4), (21, 2)):
        chosen = rng.permutation(case.batch)[:size]
        launch = planned(case, packed, taken(inputs, chosen), tile, shift=size % 8)
        assert launch.run(library(), seed=size).tobytes() == whole[chosen].tobytes(), (size, tile)


@pytest.mark.parametrize("stop", PHASES)
def test_a_build_that_stops_after_a_phase_ends_when_what_it_asked_for_has_come(stop: int) -> None:
    defines = ("EDGEOSR_SIMT_ARCH=900", f"{MACRO}={stop}")
    built_so = compiled((), (Entry("map_cluster_f16", "true, true, true, true"),), defines)[None]
    assert not isinstance(built_so, AssertionError), built_so
    case = replace(SAME_BITS[0], discriminator="none", batch=3)
    launch = planned(case, pack_scorer(scorer_of(case), half=True), random_inputs(case), 2)
    for schedule in SCHEDULES:
        assert not (launch.run(Library(built_so), schedule=schedule)["flags"] & WRITTEN).any()


def taken(inputs: Inputs, chosen: NDArray[Any]) -> Inputs:
    """A batch of the chosen samples."""
    return Inputs(
        map=None if inputs.map is None else inputs.map[chosen],
        embedding=None if inputs.embedding is None else inputs.embedding[chosen],
        tangents=None if inputs.tangents is None else inputs.tangents[:, chosen],
        logits=None if inputs.logits is None else inputs.logits[chosen],
    )


def test_two_wide_halves_of_the_map_are_right() -> None:
    """A slab of 160 channels, eight samples: 80 chunks in five rounds of 16, and the hidden layers in L2."""
    case = Case(
        dimension=1280,
        batch=9,
        classes=10,
        head="cosine",
        discriminator="wide",
        half_weights=True,
        half_input=True,
        positions=49,
        filter=1,
    )
    scorer, inputs = scorer_of(case), random_inputs(case)
    packed = pack_scorer(scorer, half=True)
    launch = planned(case, packed, inputs, 8)
    params = launch.plan.params
    assert (params.chunks_per_half, params.keeps_layers) == (16, 0)
    verdicts = launch.run(library(), schedule="shuffled", seed=1)
    expected = reference_of(unpacked_weights(scorer, half=True), inputs)
    assert_right(case, scorer, inputs, verdicts, expected)
