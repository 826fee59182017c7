"""The fused kernel on the CPU at every edge that reference.py's docstring names, in all twelve entries."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from fused_cases import PARAMETERS, Case, random_inputs, random_scorer, reference_of
from fused_run import SOURCE, prepared
from fused_values import wrong_part
from simt_build import built
from simt_run import Library

from edgeosr.kernels.device_verdicts import ACCEPTED, NOT_FINITE, WRITTEN
from edgeosr.kernels.packing import pack_scorer, unpacked_weights
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.verdict import FLOOR

ENTRIES = [
    Case(
        dimension=37,
        batch=9,
        classes=5,
        head="linear",
        discriminator="two",
        half_weights=half_weights,
        half_input=half_input,
        positions=positions,
        filter=3,
        probes=0 if positions else 3,
        seed=41,
    )
    for positions in (16, 0)
    for half_weights in (True, False)
    for half_input in (True, False)
]


# Before sm_90 one block finishes a tile; from there on, with fp16 weights, a cluster does.
WAYS = {"one block": (), "a cluster": ("EDGEOSR_SIMT_ARCH=900",)}
way = pytest.fixture(params=WAYS)(lambda request: request.param)


@functools.cache
def library(way):
    return Library(built(SOURCE, defines=WAYS[way]))


def run(case, scorer, inputs, way="one block"):
    architecture = "sm_90" if way == "a cluster" else ""
    packed = pack_scorer(scorer, half=case.half_weights)
    launch = prepared(case, packed, inputs, shift=1, architecture=architecture)
    assert launch.plan.cluster == (8 if way == "a cluster" and case.half_weights else 1)
    return launch.run(library(way))


def column(verdicts, scorer, part):
    """One part's values."""
    return verdicts["values"][:, scorer.fusion.parts.index(part)]


def assert_unknown(verdicts, rows):
    """Not finite in ``rows``, and only there."""
    bad = np.zeros(len(verdicts), bool)
    bad[rows] = True
    assert ((verdicts["flags"] & NOT_FINITE != 0) == bad).all()
    assert (np.isnan(verdicts["score"]) == bad).all()
    assert (verdicts["flags"] & WRITTEN).all() and not (verdicts["flags"][bad] & ACCEPTED).any()


@pytest.mark.parametrize("case", ENTRIES, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_makes_its_sample_unknown(case, value, way):
    scorer = replace(random_scorer(case), threshold=1e30)
    inputs = random_inputs(case)
    if case.positions:
        inputs.map[2, 36, 3, 3] = value  # the last of a row: the peeled end
        inputs.map[8, 0, 0, 0] = value
        rows = [2, 8]
    else:
        inputs.embedding[2, 36] = value
        inputs.tangents[1, 7, 0] = value
        rows = [2, 7]
    assert_unknown(run(case, scorer, inputs, way), rows)


@pytest.mark.parametrize("case", [ENTRIES[0], ENTRIES[7]], ids=str)
def test_a_given_logit_that_is_not_finite_does_too(case, way):
    case = replace(case, head="external")
    inputs = random_inputs(case)
    inputs.logits[0, 4], inputs.logits[3, 0], inputs.logits[5, 1] = np.nan, -np.inf, np.inf
    assert_unknown(run(case, replace(random_scorer(case), threshold=1e30), inputs, way), [0, 3, 5])


@pytest.mark.parametrize("case", [ENTRIES[1], ENTRIES[3], ENTRIES[7]], ids=str)
def test_a_square_beyond_float32_is_not_finite(case, way):
    inputs = random_inputs(case)
    array = inputs.map if case.positions else inputs.embedding
    array[4] = 1e25
    assert_unknown(run(case, replace(random_scorer(case), threshold=1e30), inputs, way), [4])


@pytest.mark.parametrize("case", ENTRIES, ids=str)
def test_zeros_give_the_floors_and_finite_scores(case, way):
    scorer = random_scorer(case)
    inputs = random_inputs(case)
    if case.positions:
        inputs.map[1] = 0
        inputs.map[3] = -1  # all of ReLU's masks are empty
    else:
        inputs.embedding[1] = 0
        inputs.tangents[:, 3] = 0
    verdicts = run(case, scorer, inputs, way)
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    assert_unknown(verdicts, [])
    floor = -np.log(FLOOR)
    np.testing.assert_allclose(column(verdicts, scorer, "log_norm")[1], floor, rtol=1e-6)
    np.testing.assert_allclose(column(verdicts, scorer, "log_jacobian")[3], -floor, rtol=1e-6)
    np.testing.assert_allclose(verdicts["score"], expected["score"], rtol=1e-5, atol=1e-2)
    assert ((verdicts["flags"] & ACCEPTED != 0) == expected["accepted"]).all()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "clip", "hard_swish"])
@pytest.mark.parametrize("half_input", [True, False])
def test_derivatives_at_the_kinks_are_the_reference_ones(activation, half_input):
    case = replace(ENTRIES[0], activation=activation, half_input=half_input, half_weights=False)
    scorer = random_scorer(case)
    inputs = random_inputs(case)
    kinks = np.array([0.0, -0.0, 6.0, 3.0, -3.0, *PARAMETERS.get(activation, [])], inputs.map.dtype)
    inputs.map[...] = np.random.default_rng(4).choice(kinks, inputs.map.shape)
    verdicts, expected = run(case, scorer, inputs), reference_of(scorer, inputs)
    assert wrong_part(case, scorer.fusion.parts, verdicts, expected["values"]) is None


@pytest.mark.parametrize("positions", [16, 49, 100])
def test_a_tap_counts_the_same_from_either_end(positions):
    case = replace(ENTRIES[0], positions=positions, filter=5)
    scorer, inputs = random_scorer(case), random_inputs(case)
    form = scorer.closed_form
    turned = replace(scorer, closed_form=replace(form, offsets=-form.offsets))
    assert run(case, turned, inputs).tobytes() == run(case, scorer, inputs).tobytes()


@pytest.mark.parametrize("classes", [2, 33, 65, 513, 1100])
def test_among_equal_logits_the_lowest_class_wins(classes, way):
    case = replace(ENTRIES[3], classes=classes, head="external", half_weights=way == "a cluster")
    inputs = random_inputs(case)
    inputs.logits[:] = np.minimum(inputs.logits, 1)
    firsts = np.random.default_rng(classes).integers(0, classes - 1, case.batch)
    for row, first in enumerate(firsts):
        inputs.logits[row, first] = inputs.logits[row, -1] = 2
        inputs.logits[row, (first + classes) // 2] = 2
    assert (run(case, random_scorer(case), inputs, way)["label"] == firsts).all()


def test_zeros_of_either_sign_are_equal_logits(way):
    case = replace(ENTRIES[3], classes=40, head="external", half_weights=way == "a cluster")
    inputs = random_inputs(case)
    inputs.logits[:] = -1
    inputs.logits[:4, [3, 7]] = [[-0.0, 0.0], [0.0, -0.0], [-0.0, -0.0], [0.0, 0.0]]
    inputs.logits[4:, [5, 36]] = [-0.0, 0.0]
    labels = run(case, random_scorer(case), inputs, way)["label"]
    assert (labels == [3, 3, 3, 3, 5, 5, 5, 5, 5]).all()


def test_without_anything_optional_j_is_1_and_the_logit_0(way):
    case = replace(ENTRIES[7], probes=0, discriminator="none", half_weights=way == "a cluster")
    scorer = replace(random_scorer(case), fusion=unfitted_fusion(("discriminator", "log_jacobian")))
    assert (run(case, scorer, random_inputs(case), way)["values"][:, :2] == 0).all()


@pytest.mark.parametrize("case", [ENTRIES[0], ENTRIES[7]], ids=str)
@pytest.mark.parametrize("parts", [("log_norm",), ("max_logit", "log_jacobian"), ("movr_loss", "ovr_loss")])
def test_only_what_is_listed_is_in_a_verdict_but_every_logit_counts(case, parts, way):
    case = replace(case, head="external", classes=40)
    scorer = replace(random_scorer(case), fusion=replace(unfitted_fusion(parts), weights=(0.5,) * len(parts)))
    inputs = random_inputs(case)
    # Not the top class, in another warp than it, and of no weight in a sum: only a rule can see it.
    inputs.logits[3, 36] = -np.inf
    verdicts = run(case, scorer, inputs, way)
    assert_unknown(verdicts, [3])
    sound = np.arange(case.batch) != 3
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    assert wrong_part(case, parts, verdicts[sound], expected["values"][sound]) is None
    np.testing.assert_allclose(verdicts["score"], expected["score"], rtol=1e-5, atol=1e-5)


def test_a_value_that_is_not_finite_counts_even_with_weight_0(way):
    case = replace(ENTRIES[7], half_weights=way == "a cluster")
    scorer = random_scorer(case)
    weight, bias = scorer.layers[-1]
    scorer = replace(
        scorer,
        layers=(*scorer.layers[:-1], (np.full_like(weight, 3e38), bias)),
        fusion=replace(scorer.fusion, weights=(0.0,) * len(scorer.fusion.parts)),
    )
    assert_unknown(run(case, scorer, random_inputs(case), way), slice(None))


@pytest.mark.parametrize("case", [ENTRIES[0], ENTRIES[7]], ids=str)
def test_a_score_equal_to_the_threshold_is_accepted_and_a_nan_threshold_accepts_nothing(case, way):
    scorer, inputs = random_scorer(case), random_inputs(case)
    scores = run(case, scorer, inputs, way)["score"]
    verdicts = run(case, replace(scorer, threshold=float(scores[4])), inputs, way)
    assert ((verdicts["flags"] & ACCEPTED != 0) == (scores <= scores[4])).all()
    assert not (run(case, replace(scorer, threshold=float("nan")), inputs, way)["flags"] & ACCEPTED).any()
