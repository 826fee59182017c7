"""The library's scoring of a map, an embedding or tangents against the float64 reference; and its reader."""

import ctypes
import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from readers import Readers, require_same

from edgeosr.bench.reliability.spoil import array_entries, array_headers, flipped_bits
from edgeosr.errors import BundleError
from edgeosr.runtime.golden_verdicts import is_kinked
from edgeosr.scoring.activations import KINKED
from edgeosr.scoring.parts import carried_parts, part_names
from edgeosr.scoring.scorer import ACTIVATIONS, PartConstants
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))  # the kernel's cases are this one's
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core" / "scoring"))  # hostile files

from fused_cases import Case, covering_cases, random_inputs, random_scorer, reference_of
from hostile_npz import good, hostile, zipped

SCORED = np.dtype([("label", np.int64), ("score", np.float32), ("values", np.float32, 16)], align=True)
# Of a value, and of a score in standard deviations: float32 sums of up to 2048 numbers.
RELATIVE, ABSOLUTE = 2e-5, 2e-5
SMALL = 60_000
BASE = Case(
    dimension=7,
    batch=5,
    classes=6,
    head="cosine",
    discriminator="two",
    half_weights=False,
    half_input=False,
    seed=1,
)


@pytest.fixture(scope="module")
def library(built):
    return ctypes.CDLL(str(built))


def said_by(library, scorer, inputs):
    arrays = {
        name: None if one is None else np.ascontiguousarray(one, np.float32)
        for name, one in vars(inputs).items()
    }
    first = inputs.embedding if inputs.map is None else inputs.map
    height, width = (0, 0) if inputs.map is None else inputs.map.shape[2:]
    out, room, data = np.zeros(len(first), SCORED), ctypes.create_string_buffer(4096), write_scorer(scorer)
    pointers = {
        name: None if one is None else ctypes.c_void_p(one.ctypes.data) for name, one in arrays.items()
    }
    status = library.edgeosr_test_score(
        *(data, ctypes.c_size_t(len(data)), ctypes.c_size_t(len(first)), pointers["map"], height, width),
        *(pointers["embedding"], pointers["tangents"], pointers["logits"]),
        *(ctypes.c_void_p(out.ctypes.data), room, ctypes.c_size_t(4096)),
    )
    assert status == 0, room.value
    return out


def require_reference(library, scorer, inputs):
    """Fail unless labels, values and scores are those of the reference, but for rounding."""
    expected, found = reference_of(scorer, inputs), said_by(library, scorer, inputs)
    parts = len(scorer.fusion.parts)
    finite = np.isfinite(expected["score"])
    assert (np.isfinite(found["score"]) == finite).all()
    if not finite.any():
        return
    order = np.sort(expected["logits"], axis=1)
    clear = finite & (order.shape[1] < 2 or order[:, -1] - order[:, -2 % order.shape[1]] > 1e-5)
    assert (found["label"][clear] == expected["label"][clear]).all()
    values = expected["values"][finite]
    # What a part of little spread loses in float32, the score loses enlarged.
    allowed = ABSOLUTE + RELATIVE * np.abs(values)
    assert (np.abs(found["values"][finite][:, :parts] - values) <= allowed).all()
    gain = np.abs(np.array(scorer.fusion.weights) / scorer.fusion.stds)
    distance = np.abs(found["score"][finite] - expected["score"][finite])
    assert (distance <= ABSOLUTE + allowed @ gain).all()


def small(case):
    return (
        case.batch * case.dimension * max(case.positions, 1) * (1 + case.probes) <= SMALL
        and case.classes < 99
    )


def test_every_pair_of_shapes_heads_and_activations_scores_as_the_reference(library):
    cases = [replace(case, half_input=False) for case in covering_cases() if small(case)]
    assert len(cases) > 25
    assert {case.head for case in cases} == {"cosine", "linear", "external"}
    for case in cases:
        require_reference(library, random_scorer(case), random_inputs(case))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_and_its_derivative_are_the_references_at_kinks_too(library, activation):
    scorer = random_scorer(replace(BASE, positions=16, filter=3))
    parameters = {"leaky_relu": [0.1], "elu": [0.7], "clip": [0.0, 6.0], "prelu": np.linspace(-0.2, 0.4, 7)}
    made = np.array(parameters.get(activation, []), np.float32)
    scorer = replace(scorer, closed_form=replace(scorer.closed_form, activation=activation, parameters=made))
    inputs = random_inputs(replace(BASE, positions=16, filter=3))
    places = np.array([0, -3, 3, 6, -40, 40, -0.0, 1e-8], np.float32)
    inputs.map.reshape(5, -1)[:, : len(places)] = places
    require_reference(library, scorer, inputs)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, None])
def test_the_library_knows_the_activations_with_a_kink(library, activation):
    scorer = random_scorer(replace(BASE, positions=16, filter=3))
    parameters = {"leaky_relu": [0.1], "elu": [0.7], "clip": [0.0, 6.0], "prelu": np.linspace(-0.2, 0.4, 7)}
    made = np.array(parameters.get(activation, []), np.float32)
    form = replace(scorer.closed_form, activation=activation or "relu", parameters=made)
    scorer = replace(scorer, closed_form=form)
    if activation is None:  # no Jacobian norm
        scorer = random_scorer(BASE)
        assert scorer.closed_form is scorer.probes is None
    assert kinked(library, scorer) == is_kinked(scorer) == (activation in KINKED)


def test_a_norm_by_probes_may_step(library):
    scorer = random_scorer(replace(BASE, probes=3))
    assert scorer.closed_form is None and scorer.probes is not None
    assert kinked(library, scorer) and is_kinked(scorer)


def kinked(library, scorer):
    data = write_scorer(scorer)
    return bool(library.edgeosr_test_is_kinked(data, ctypes.c_size_t(len(data))))


def with_every_part(case):
    random = np.random.default_rng(4)
    rows = random.standard_normal((9, case.dimension)).astype(np.float32)
    numbers = np.concatenate([random.normal(0, 1, case.classes), np.full(case.classes, 0.5)]).astype(
        np.float32
    )
    nothing = np.zeros(0, np.float32)
    own = {
        "bank": PartConstants(rows=rows, biases=np.zeros(9, np.float32), numbers=nothing),
        "relative_mahalanobis": PartConstants(
            rows=rows, biases=rows[:, 0].copy(), numbers=np.array([3.5], np.float32)
        ),
        "class_jacobian": PartConstants(rows=rows[:0], biases=nothing, numbers=numbers),
    }
    return random_scorer(case, own)


def test_every_part_is_the_references(library):
    case = replace(BASE, positions=49, filter=3, activation="silu")
    scorer = with_every_part(case)
    assert set(scorer.fusion.parts) == set(part_names()) == set(carried_parts(scorer))
    require_reference(library, scorer, random_inputs(case, 20))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20, -1e20, 0.0, 1e-30])
def test_what_is_not_finite_or_out_of_range_or_nothing_is_told_as_the_reference_tells_it(library, value):
    case = replace(BASE, positions=16, filter=3, activation="relu")
    inputs = random_inputs(case)
    inputs.map[1, 2, 1, 1] = value
    inputs.map[2] = value
    require_reference(library, with_every_part(case), inputs)
    case = replace(BASE, probes=5)
    inputs = random_inputs(case)
    inputs.embedding[0] = value
    inputs.tangents[:, 1] = value
    require_reference(library, random_scorer(case), inputs)


def test_a_scorer_is_taken_or_refused_as_python_does(built):
    readers, random = Readers(built), np.random.default_rng(9)
    good = [
        write_scorer(with_every_part(replace(BASE, positions=16, filter=3, activation="clip"))),
        write_scorer(random_scorer(replace(BASE, probes=5, head="external"))),
        write_scorer(replace(random_scorer(replace(BASE, positions=1)), class_thresholds=(0.5,) * 6)),
    ]
    taken = 0
    for number in range(240):
        files = {"scorer.npz": good[number % 3], "golden.npz": good[number % 3]}
        if number >= 3:
            (flipped_bits, array_entries, array_headers)[number // 3 % 3](files, random)
        data, error = files["scorer.npz"], None
        try:
            read_scorer(data)
        except BundleError as found:
            error = found
        status, said = readers.scorer(data)
        require_same(error, status, said, data[:200])
        taken += status == 0
    assert 20 < taken < 200


@pytest.mark.parametrize("document", hostile().values(), ids=hostile())
def test_what_two_readers_could_take_for_different_things_is_refused(built, document):
    assert Readers(built).npz(zipped(good()))[0] == 0
    status, said = Readers(built).npz(document)
    assert status == 2 and "export the bundle again" in said


def test_constants_of_a_part_without_an_axis_are_refused_as_a_bundle_that_is_not_valid(built):
    with np.load(io.BytesIO(write_scorer(random_scorer(replace(BASE, positions=1))))) as file:
        arrays = dict(file)
    name = arrays["parts"].tobytes().decode().split("\n")[0]
    nothing = np.zeros(0, np.float32)
    arrays |= {
        f"part_{name}_rows": np.float32(1), f"part_{name}_biases": nothing, f"part_{name}_numbers": nothing
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(BundleError, match=f"part_{name}_rows must be float32"):
        read_scorer(buffer.getvalue())
    status, said = Readers(built).scorer(buffer.getvalue())
    assert status == 2 and f"part_{name}_rows" in said
