"""A part with rows and numbers of its own, end to end: file, reference, ONNX graph, and the kernel."""

import functools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fused_cases import Case, random_inputs, random_scorer, reference_of
from fused_outcome import condition
from fused_run import SOURCE, prepared
from fused_values import wrong_part
from largest_row import DEFINE, HEADER, PART, ROWS, known, random_constants
from onnx_scoring import onnx_verdicts
from simt_build import DEVICE, built
from simt_run import SCHEDULES, Library

from edgeosr.errors import UsageError
from edgeosr.kernels.build.toolchain import find_nvcc
from edgeosr.kernels.device_verdicts import ACCEPTED, NOT_FINITE, WRITTEN
from edgeosr.kernels.packing import pack_scorer, unpacked_weights
from edgeosr.scoring.scorer import Scorer
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

# The part's rows behind hidden rows and classes, behind one of them, and alone in the split matrix.
HEADS = (("cosine", "two"), ("external", "none"), ("external", "one"), ("linear", "none"))
CASES = [
    Case(
        dimension=130,
        batch=9,
        classes=20,
        head=head,
        discriminator=discriminator,
        half_weights=half_weights,
        half_input=half_weights,
        positions=positions,
        filter=3,
        probes=0 if positions else 3,
        seed=51,
    )
    for positions in (49, 0)
    for half_weights in (True, False)
    for head, discriminator in HEADS
]


@pytest.fixture(autouse=True)
def part() -> Iterator[None]:
    with known():
        yield


@functools.cache
def library() -> Library:
    return Library(built(SOURCE, defines=(DEFINE,), headers=(HEADER,)))


def scorer_of(case: Case, rows: int = ROWS) -> Scorer:
    """A scorer that lists the part, as its file gives it."""
    return read_scorer(write_scorer(random_scorer(case, random_constants(case.dimension, rows))))


@pytest.mark.parametrize("rows", [ROWS, 0])
def test_the_scorer_s_file_keeps_its_rows_and_numbers(rows: int) -> None:
    scorer = random_scorer(CASES[0], random_constants(CASES[0].dimension))
    if not rows:
        own = scorer.constants[PART.name]
        own = replace(own, rows=own.rows[:0], biases=own.biases[:0])
        scorer = replace(scorer, constants={PART.name: own})
    again = read_scorer(write_scorer(scorer))
    assert again.fusion == replace(scorer.fusion, note="") and PART.name in again.fusion.parts
    for name in ("rows", "biases", "numbers"):
        kept, given = getattr(again.constants[PART.name], name), getattr(scorer.constants[PART.name], name)
        assert kept.tobytes() == given.tobytes() and kept.shape == given.shape


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernel_s_verdicts_are_the_reference_s(case: Case) -> None:
    scorer, inputs = scorer_of(case), random_inputs(case)
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    launch = prepared(case, pack_scorer(scorer, half=case.half_weights), inputs, shift=1)
    found = [launch.run(library(), schedule=schedule, seed=3) for schedule in SCHEDULES]
    assert len({verdicts.tobytes() for verdicts in found}) == 1
    verdicts = found[0]
    tolerance = 1e-2 if case.half_weights else 2e-5
    assert ((verdicts["flags"] & (WRITTEN | NOT_FINITE)) == WRITTEN).all()
    assert (verdicts["label"] == expected["label"]).all()
    assert np.abs(verdicts["score"] - expected["score"]).max() <= tolerance
    assert wrong_part(case, scorer.fusion.parts, verdicts, expected["values"], condition(inputs)) is None
    far = np.abs(expected["score"] - scorer.threshold) > tolerance
    assert ((verdicts["flags"] & ACCEPTED != 0) == expected["accepted"])[far].all()


@pytest.mark.parametrize("rows", [1, 31, 33, 100])
def test_any_number_of_rows_is_taken(rows: int) -> None:
    case = CASES[2]
    scorer, inputs = scorer_of(case, rows), random_inputs(case)
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    verdicts = prepared(case, pack_scorer(scorer, half=case.half_weights), inputs).run(library())
    assert wrong_part(case, scorer.fusion.parts, verdicts, expected["values"], condition(inputs)) is None


@pytest.mark.parametrize("case", [CASES[0], CASES[9]], ids=str)
def test_a_row_whose_product_is_not_a_number_makes_the_sample_unknown(case: Case) -> None:
    scorer, inputs = replace(scorer_of(case), threshold=1e30), random_inputs(case)
    first = inputs.map if inputs.map is not None else inputs.embedding
    assert first is not None
    first[4].reshape(-1)[7] = np.nan
    verdicts = prepared(case, pack_scorer(scorer, half=case.half_weights), inputs).run(library())
    place = scorer.fusion.parts.index(PART.name)
    assert np.isnan(verdicts["values"][4, place]) and verdicts["flags"][4] == WRITTEN | NOT_FINITE
    assert np.isfinite(np.delete(verdicts["values"][:, place], 4)).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_onnx_graph_s_verdicts_are_the_reference_s(case: Case) -> None:
    scorer, inputs = scorer_of(case), random_inputs(case)
    expected = reference_of(scorer, inputs)
    label, score, values = onnx_verdicts(scorer, inputs)
    assert (label == expected["label"]).all()
    assert np.abs(score - expected["score"]).max() <= 1e-4
    place = scorer.fusion.parts.index(PART.name)
    np.testing.assert_allclose(values[:, place], expected["values"][:, place], rtol=1e-5, atol=1e-5)
    assert values.shape == expected["values"].shape


def test_nvcc_takes_the_same_source_with_the_part_s_one_function(tmp_path: Path) -> None:
    for path in [*DEVICE.glob("*.cu*"), HEADER]:
        shutil.copy(path, tmp_path)
    main = tmp_path / "fused_score.cu"
    main.write_text(f"#define {DEFINE.replace('=', ' ')}\n{main.read_text('utf-8')}")
    report = find_nvcc().cubin("sm_87", tmp_path / "out.cubin", tmp_path)
    assert report.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == 8


def test_a_kernel_without_the_function_says_not_finite() -> None:
    case = CASES[0]
    scorer, inputs = replace(scorer_of(case), threshold=1e30), random_inputs(case)
    launch = prepared(case, pack_scorer(scorer, half=case.half_weights), inputs)
    verdicts = launch.run(Library(built(SOURCE)))
    place = scorer.fusion.parts.index(PART.name)
    assert np.isnan(verdicts["values"][:, place]).all()
    assert (verdicts["flags"] == WRITTEN | NOT_FINITE).all()


def test_a_scorer_with_a_part_that_the_kernel_has_no_function_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = scorer_of(CASES[0])
    monkeypatch.setattr("edgeosr.kernels.packing.kernel_parts", lambda: {0: "log_jacobian", 3: "max_logit"})
    words = "must be among log_jacobian, max_logit for the fused kernel; got .*; score with model.onnx"
    with pytest.raises(UsageError, match=words):
        pack_scorer(scorer, half=True)
