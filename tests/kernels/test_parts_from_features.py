"""The parts with constants from train features: file, ONNX graph and kernel against the reference."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fused_cases import Case, random_inputs, random_scorer, reference_of
from fused_outcome import condition
from fused_run import SOURCE, prepared
from fused_values import wrong_part
from numpy.typing import NDArray
from onnx_scoring import onnx_verdicts
from simt_build import built
from simt_run import SCHEDULES, Library

from edgeosr.kernels.device_verdicts import NOT_FINITE, WRITTEN
from edgeosr.kernels.packing import pack_scorer, unpacked_weights
from edgeosr.scoring.activations import activate
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.part import TrainFeatures
from edgeosr.scoring.parts import with_constants
from edgeosr.scoring.reference import closed_form_squared
from edgeosr.scoring.scorer import Scorer
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

BROUGHT = ("bank", "relative_mahalanobis")
OF_A_CLOSED_FORM = ("class_jacobian",)
CASES = [
    Case(
        dimension=130,
        batch=9,
        classes=20,
        head=head,
        discriminator="two",
        half_weights=half_weights,
        half_input=half_weights,
        positions=positions,
        filter=3,
        probes=probes,
        seed=61,
    )
    for positions, probes in ((49, 0), (0, 3), (0, 0))
    for half_weights in (True, False)
    for head in ("cosine", "linear", "external")
]


def embedding_of(case: Case, images: int) -> NDArray[np.float32]:
    """Embeddings like those of the case's inputs."""
    inputs = random_inputs(case, images, seed=9)
    if inputs.map is None:
        assert inputs.embedding is not None
        return inputs.embedding.astype(np.float32)
    return np.maximum(inputs.map.astype(np.float32), 0).mean(axis=(2, 3))


def jacobian_squared_of(case: Case, images: int) -> NDArray[np.float64] | None:
    """|dz/dh|_F^2 of the same inputs."""
    inputs, form = random_inputs(case, images, seed=9), random_scorer(case).closed_form
    if inputs.map is None or form is None:
        return None
    return closed_form_squared(form, activate(form.activation, form.parameters, inputs.map.astype(float))[1])


def scorer_of(case: Case, images: int = 40) -> Scorer:
    """A scorer of every part, its constants from as many images, as its file gives it."""
    z = embedding_of(case, images)
    features = TrainFeatures(
        embeddings=z,
        # The first two classes have images enough for constants of their own.
        labels=np.where(np.arange(images) < 24, np.arange(images) % 2, np.arange(images) % case.classes),
        classes=case.classes,
        seed=0,
        jacobian_squared=jacobian_squared_of(case, images),
    )
    made = with_constants(random_scorer(case), features).constants
    brought = (*BROUGHT, *(OF_A_CLOSED_FORM if case.positions else ()))
    assert tuple(made) == brought
    scorer = random_scorer(case, made)
    assert set(brought) <= set(scorer.fusion.parts)
    return read_scorer(write_scorer(scorer))


@functools.cache
def library(architecture: str) -> Library:
    return Library(built(SOURCE, defines=("EDGEOSR_SIMT_ARCH=900",) if architecture else ()))


def kernel_verdicts(case: Case, scorer: Scorer, inputs: Any, architecture: str = "") -> NDArray[Any]:
    packed = pack_scorer(scorer, half=case.half_weights)
    launch = prepared(case, packed, inputs, shift=1, architecture=architecture)
    assert launch.plan.cluster == (8 if architecture else 1)
    found = [launch.run(library(architecture), schedule=schedule, seed=3) for schedule in SCHEDULES]
    assert len({verdicts.tobytes() for verdicts in found}) == 1
    return found[0]


@pytest.mark.parametrize(
    ("case", "architecture"),
    [*((case, "") for case in CASES), *((case, "sm_90") for case in CASES if case.half_weights)],
    ids=str,
)
def test_the_kernel_s_values_are_the_reference_s(case: Case, architecture: str) -> None:
    scorer, inputs = scorer_of(case), random_inputs(case)
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    verdicts = kernel_verdicts(case, scorer, inputs, architecture)
    assert ((verdicts["flags"] & (WRITTEN | NOT_FINITE)) == WRITTEN).all()
    assert (verdicts["label"] == expected["label"]).all()
    assert wrong_part(case, scorer.fusion.parts, verdicts, expected["values"], condition(inputs)) is None


@pytest.mark.parametrize("images", [21, 300])
def test_few_rows_and_many_are_taken(images: int) -> None:
    case = CASES[0]
    scorer, inputs = scorer_of(case, images), random_inputs(case)
    assert len(scorer.constants["bank"].rows) == min(images, 256)
    of_classes = len(scorer.constants["relative_mahalanobis"].rows)
    assert (of_classes == case.classes) == (images == 300)
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    verdicts = kernel_verdicts(case, scorer, inputs)
    assert wrong_part(case, scorer.fusion.parts, verdicts, expected["values"], condition(inputs)) is None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_onnx_graph_s_values_are_the_reference_s(case: Case) -> None:
    scorer, inputs = scorer_of(case), random_inputs(case)
    expected = reference_of(scorer, inputs)
    label, _, values = onnx_verdicts(scorer, inputs)
    assert (label == expected["label"]).all()
    scale = np.abs(expected["values"]).max(axis=0) + 1
    assert (np.abs(values - expected["values"]) <= 1e-5 * scale).all()


def test_class_jacobian_reads_the_numbers_of_the_predicted_class() -> None:
    case = CASES[0]
    scorer, inputs = scorer_of(case), random_inputs(case)
    numbers = (np.arange(2 * case.classes, dtype=np.float32) + 1).reshape(2, -1)
    own = replace(scorer.constants["class_jacobian"], numbers=numbers.reshape(-1))
    scorer = replace(scorer, constants={**scorer.constants, "class_jacobian": own})
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    assert len(set(expected["label"].tolist())) > 2
    verdicts = kernel_verdicts(case, scorer, inputs)
    raw, place = (scorer.fusion.parts.index(name) for name in ("raw_jacobian", "class_jacobian"))
    by_hand = (expected["values"][:, raw] - numbers[0, expected["label"]]) / numbers[1, expected["label"]]
    np.testing.assert_allclose(verdicts["values"][:, place], by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=str)
def test_a_scorer_without_the_rows_of_parts_of_weight_0_scores_the_same(case: Case) -> None:
    full, inputs = scorer_of(case), random_inputs(case)
    listed = zip(full.fusion.parts, full.fusion.weights, strict=True)
    weights = tuple(0.0 if name in full.constants else weight for name, weight in listed)
    full = replace(full, fusion=replace(full.fusion, weights=weights))
    kept = [i for i, name in enumerate(full.fusion.parts) if name not in full.constants]
    columns = {
        field: tuple(getattr(full.fusion, field)[i] for i in kept)
        for field in ("parts", "means", "stds", "weights")
    }
    smaller = replace(full, fusion=Fusion(**columns), constants={})
    packed = [pack_scorer(scorer, half=case.half_weights) for scorer in (full, smaller)]
    assert packed[1].rows < packed[0].rows and len(packed[1].data) < len(packed[0].data)
    found = [kernel_verdicts(case, scorer, inputs) for scorer in (full, smaller)]
    assert (found[0]["label"] == found[1]["label"]).all()
    np.testing.assert_allclose(found[0]["score"], found[1]["score"], rtol=1e-5, atol=2e-5)


def test_raw_jacobian_is_log_jacobian_with_the_norm_put_back() -> None:
    case = CASES[0]
    parts = ("log_jacobian", "log_norm", "raw_jacobian")
    values = reference_of(scorer_of(case), random_inputs(case))["values"]
    listed = scorer_of(case).fusion.parts
    log_j, log_norm, raw = (values[:, listed.index(name)] for name in parts)
    np.testing.assert_allclose(raw, log_j - log_norm, rtol=1e-12)
    assert "raw_jacobian" not in scorer_of(replace(case, positions=0, probes=3)).fusion.parts
