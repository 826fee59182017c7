"""The fused kernel's own source, executed on the CPU, against the float64 reference with the same weights."""

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fused_cases import (
    MAP_AXES,
    TANGENT_AXES,
    Case,
    Inputs,
    covering_cases,
    random_inputs,
    random_scorer,
)
from fused_outcome import outcome
from fused_run import SOURCE, prepared
from fused_suite import problem
from fused_values import wrong_part
from largest_row import DEFINE, HEADER
from simt_build import built
from simt_run import Library

from edgeosr.kernels.device_verdicts import ACCEPTED, NOT_FINITE, WRITTEN
from edgeosr.kernels.packing import pack_scorer
from edgeosr.scoring.parts import part_names

CASES = covering_cases()
SCORE_TOLERANCE = {False: 2e-5, True: 1e-2}  # by fp16 weights; in standard deviations of known samples


@functools.cache
def library():
    return Library(built(SOURCE))


@pytest.fixture(scope="module")
def outcomes():
    """Of all cases; two processes share them, since the emulation is one thread."""
    built(SOURCE)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        return dict(zip(CASES, pool.map(outcome, CASES, chunksize=5), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_verdicts_are_those_of_the_float64_reference(case, outcomes):
    result = outcomes[case]
    verdicts, expected = result.verdicts, result.expected
    tolerance = SCORE_TOLERANCE[case.half_weights]
    assert ((verdicts["flags"] & (WRITTEN | NOT_FINITE)) == WRITTEN).all()
    assert (verdicts["label"] == expected["label"]).all()
    assert np.abs(verdicts["score"] - expected["score"]).max() <= tolerance
    assert wrong_part(case, result.parts, verdicts, expected["values"], result.condition) is None
    far = np.abs(expected["score"] - result.threshold) > tolerance
    assert ((verdicts["flags"] & ACCEPTED != 0) == expected["accepted"])[far].all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_bits_do_not_depend_on_the_order_of_threads_and_blocks(case, outcomes):
    assert len(outcomes[case].bits) >= 2 and len(set(outcomes[case].bits.values())) == 1


def test_at_most_one_sample_in_a_hundred_lies_within_the_tolerance_of_its_threshold(outcomes, capsys):
    samples = inside = differing = 0
    for case in CASES:
        result = outcomes[case]
        near = np.abs(result.expected["score"] - result.threshold) <= SCORE_TOLERANCE[case.half_weights]
        accepted = result.verdicts["flags"] & ACCEPTED != 0
        samples, inside = samples + near.size, inside + int(near.sum())
        differing += int((accepted != result.expected["accepted"]).sum())
    with capsys.disabled():
        print(f"\nfused kernel on the CPU: {len(CASES)} cases, {samples} samples, ", end="")
        print(f"{inside} within the tolerance of their threshold, {differing} decisions differ")
    assert inside <= samples / 100 and differing <= inside


def test_the_covering_set_holds_every_pair_of_values():
    for axes, cases in (
        (MAP_AXES, [case for case in CASES if case.positions]),
        (TANGENT_AXES, [case for case in CASES if not case.positions]),
    ):
        names = list(axes)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                seen = {(getattr(case, a), getattr(case, b)) for case in cases}
                assert len(seen) == len(axes[a]) * len(axes[b]), (a, b)


def test_the_cases_list_every_part_without_constants_and_both_losses_side_by_side(outcomes):
    with_constants = {"bank", "relative_mahalanobis", "class_jacobian"}  # in test_parts_from_features.py
    lists = [outcomes[case].parts for case in CASES]
    assert {name for parts in lists for name in parts} == set(part_names()) - with_constants
    assert any({"movr_loss", "ovr_loss"} <= set(parts) for parts in lists)
    assert len({len(parts) for parts in lists}) > 2 and len(set(lists)) > 20


BATCH_CASES = [
    Case(
        dimension=130,
        batch=21,
        classes=40,
        head="cosine",
        discriminator="four",
        half_weights=half,
        half_input=half,
        positions=positions,
        filter=3,
        activation="silu" if half else "relu",
        probes=0 if positions else 5,
        seed=5,
    )
    for half in (True, False)
    for positions in (49, 0)
]


@pytest.mark.parametrize("case", BATCH_CASES, ids=str)
def test_a_sample_has_the_same_bits_in_every_batch_and_at_every_position(case):
    packed, inputs = pack_scorer(random_scorer(case), half=case.half_weights), random_inputs(case)
    whole = prepared(case, packed, inputs).run(library())
    rng = np.random.default_rng(9)
    for size in (1, 3, 4, 5, 8, 9, 16, 17, 21):
        chosen = rng.permutation(case.batch)[:size]
        part = prepared(case, packed, taken(inputs, chosen), shift=size % 8).run(library(), seed=size)
        assert part.tobytes() == whole[chosen].tobytes(), f"batch of {size}"


@pytest.mark.parametrize("case", BATCH_CASES[:2], ids=str)
def test_both_layouts_of_a_map_and_every_alignment_give_the_same_bits(case):
    if not case.positions:
        case = replace(case, positions=16, probes=0)
    packed, inputs = pack_scorer(random_scorer(case), half=case.half_weights), random_inputs(case, 3)
    answers = {
        prepared(replace(case, channels_last=last), packed, inputs, shift=shift).run(library()).tobytes()
        for last in (False, True)
        for shift in range(8)
    }
    assert len(answers) == 1


def test_turings_instructions_pass_the_short_suite_too():
    # sm_75: two m16n8k8 for an m16n8k16, plain copies for cp.async.
    defines = ("EDGEOSR_SIMT_ARCH=750", DEFINE)
    assert problem(Library(built(SOURCE, defines=defines, headers=(HEADER,)))) is None


def test_an_empty_batch_is_no_launch():
    case = BATCH_CASES[0]
    packed = pack_scorer(random_scorer(case), half=case.half_weights)
    assert prepared(case, packed, random_inputs(case, 0)).plan.blocks == 0


def taken(inputs: Inputs, chosen):
    return Inputs(
        map=None if inputs.map is None else inputs.map[chosen],
        embedding=None if inputs.embedding is None else inputs.embedding[chosen],
        tangents=None if inputs.tangents is None else inputs.tangents[:, chosen],
        logits=None if inputs.logits is None else inputs.logits[chosen],
    )
