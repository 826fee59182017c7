"""Golden verdicts against those that came: the library tells the same differences as Python."""

import ctypes

import numpy as np
import pytest

from edgeosr.bundle.manifest import manifest_bytes
from edgeosr.runtime.agreement import Found, agreement
from edgeosr.runtime.bands import CEILING, KERNEL, SAME_GRAPH, engine_band, same_graph_band
from edgeosr.runtime.golden import Rounding, write_golden
from edgeosr.scoring.parts import part
from edgeosr.verdict import UNKNOWN, Verdict


@pytest.fixture(scope="module")
def golden(tiny):
    return tiny.golden_verdicts()


@pytest.fixture(scope="module")
def told(built, golden, manifest):
    """Tells the differences of scores, as judged in batches of some sizes, by the library and by Python."""
    function = ctypes.CDLL(str(built)).edgeosr_test_agreement
    data, document = write_golden(golden), manifest_bytes(manifest)
    limit, classes, expected = manifest.threshold.value, manifest.classes, golden.portable

    def by_library(rows, score, values, kinked):
        room = ctypes.create_string_buffer(1 << 16)
        values = np.ascontiguousarray(values, np.float32)
        same_graph = 0 if kinked is None else 1 + kinked
        function(
            data, ctypes.c_size_t(len(data)), document, ctypes.c_size_t(len(document)),
            ctypes.c_size_t(len(rows)), np.ascontiguousarray(rows, np.int64).ctypes.data_as(ctypes.c_void_p),
            score.ctypes.data_as(ctypes.c_void_p), values.ctypes.data_as(ctypes.c_void_p), same_graph,
            room, ctypes.c_size_t(len(room)),
        )  # fmt: skip
        return room.value.decode().splitlines()

    def by_python(rows, score, values, kinked):
        found = []
        for (frame, batch, place, label), one in zip(rows.tolist(), score.tolist(), strict=True):
            accepted = one <= limit
            verdict = Verdict(
                accepted=accepted, label=classes[label] if accepted else UNKNOWN, nearest=classes[label],
                index=label, score=one, threshold=limit, latency_ms=1.0, finite=True,
                parts=dict(zip(manifest.parts, values[frame].tolist(), strict=True)),
            )  # fmt: skip
            found.append(Found(frame, "bgr" if golden.bgr[frame] else "rgb", batch, place, verdict))
        steps = tuple(bool(kinked) and part(name).counts_masks for name in manifest.parts)
        rounding = Rounding(0.0, 0.0, (0.0,) * len(manifest.parts))
        band = engine_band(rounding) if kinked is None else same_graph_band(len(manifest.parts), steps)
        return agreement(
            expected, found, classes=classes, threshold=limit, band=band, fusion=manifest.fusion
        ).differences

    def both(sizes, score, label=None, values=None, kinked=None):
        """Without ``kinked`` as of an engine; else of the same graph, whose activation has a kink or none."""
        label = expected.label if label is None else label
        values = (expected.values if values is None else values).astype(np.float32)
        rows = np.stack([np.arange(len(score)), sizes, np.arange(len(score)) % 7, label], axis=1)
        given = rows, score.astype(np.float32), values, kinked
        return by_library(*given), list(by_python(*given))

    return both


def what_of(lines):
    """A line without its figures, which are spelled in other ways."""
    return [line.split(" are more than ")[0].split(": expected ")[0] for line in lines]


def away_from_the_limit(golden, manifest, bands):
    """Scores that lie so many bands further from the threshold, so that none decides otherwise."""
    score = golden.portable.score.astype(np.float64)
    return score + np.where(score > manifest.threshold.value, 1, -1) * bands * KERNEL


@pytest.mark.parametrize(
    ("sizes", "wrong", "said"),
    [
        ((0,) * 64, 6, []),
        ((0,) * 64, 7, ["scores alone: 7 of 64"]),
        ((64,) * 64, 7, ["scores in a batch: 7 of 64"]),
        ((8,) * 24 + (40,) * 40, 2, []),
        ((8,) * 24 + (40,) * 40, 3, ["scores in a batch of 8: 3 of 24"]),
        ((8,) * 24 + (40,) * 40, 7, ["scores in a batch: 7 of 64"]),
        ((1,) + (63,) * 63, 1, []),
        ((2, 2) + (62,) * 62, 2, ["scores in a batch of 2: 2 of 2"]),
        ((0,) * 32 + (32,) * 32, 4, ["scores alone: 4 of 32"]),
    ],
)
def test_a_fault_of_batches_of_one_size_is_told_as_python_tells_it(
    told, golden, manifest, sizes, wrong, said
):
    away = away_from_the_limit(golden, manifest, 2.0)
    score = np.where(np.arange(64) < wrong, away, golden.portable.score)
    by_library, by_python = told(np.array(sizes), score)
    assert what_of(by_library) == what_of(by_python) == said


def test_one_that_is_further_away_than_any_rounding_is_told_of_the_smallest_batch_too(told, golden, manifest):
    score = golden.portable.score.astype(np.float64)
    score[0] = away_from_the_limit(golden, manifest, 1.1 * CEILING)[0]
    by_library, by_python = told(np.array((1,) + (63,) * 63), score)
    assert what_of(by_library) == what_of(by_python) == ["scores in a batch: 1 of 64"]


def test_a_verdict_of_a_batch_says_of_which_and_at_which_place(told, golden):
    label = golden.portable.label.copy()
    for frame in (9, 20):
        label[frame] = next(k for k in range(4) if k not in (label[frame], golden.portable.second[frame]))
    sizes = np.where(np.arange(64) < 16, 16, 0)
    by_library, by_python = told(sizes, golden.portable.score, label)
    assert what_of(by_library) == what_of(by_python) == [
        "golden frame 9 (bgr) in a batch of 16, at place 3", "golden frame 20 (rgb) alone",
    ]  # fmt: skip


# Of log_jacobian (of weight 0.5) and max_logit: bands off, in how many of 64 frames; the score follows.
STEPS = [
    ({"log_jacobian": 2.0}, 1, 1, []),
    ({"log_jacobian": 3.0}, 6, 1, []),
    ({"log_jacobian": 0.9 * CEILING}, 1, 1, []),
    ({"log_jacobian": 3.0}, 7, 1, ["scores alone: 7 of 64", "values of log_jacobian alone: 7 of 64"]),
    ({"log_jacobian": 1.1 * CEILING}, 1, 1,
     ["scores alone: 1 of 64", "values of log_jacobian alone: 1 of 64"]),
    ({"log_jacobian": 1.5}, 1, 0, []),
    ({"log_jacobian": 0.9 * CEILING}, 1, 0, ["values of log_jacobian alone: 1 of 64"]),
    ({"log_jacobian": 1.5}, 1, -1, ["values of log_jacobian alone: 1 of 64"]),
    ({"max_logit": 2.0}, 1, 0, ["values of max_logit alone: 1 of 64"]),
    ({"log_jacobian": 1.5, "max_logit": 2.0}, 1, 0,
     ["values of log_jacobian alone: 1 of 64", "values of max_logit alone: 1 of 64"]),
]  # fmt: skip


def off_by(golden, manifest, bands, frames, follows):
    """Scores and values of which some frames are so many bands off, no decision otherwise."""
    values = golden.portable.values.astype(np.float64)
    score = golden.portable.score.astype(np.float64)
    away = np.where(score > manifest.threshold.value, 1, -1)
    for name, count in bands.items():
        place = manifest.parts.index(name)
        distance = count * SAME_GRAPH * away[:frames]
        relative = 1e-5 * np.abs(values[:frames, place]) * away[:frames]
        values[:frames, place] += distance * manifest.fusion.stds[place] + relative
        score[:frames] += follows * manifest.fusion.weights[place] * distance
    return score, values


@pytest.mark.parametrize(("bands", "frames", "follows", "said"), STEPS)
def test_a_step_of_the_jacobian_norm_is_told_from_a_fault_as_in_python(
    told, golden, manifest, bands, frames, follows, said
):
    """Rounding that moves one number of the map over a kink moves the norm by a step, and nothing else."""
    assert manifest.fusion.used()["log_jacobian"] > 0
    score, values = off_by(golden, manifest, bands, frames, follows)
    by_library, by_python = told(np.zeros(64, np.int64), score, values=values, kinked=True)
    assert what_of(by_library) == what_of(by_python) == said


@pytest.mark.parametrize(("bands", "frames", "follows", "said"), STEPS)
def test_where_the_activation_is_smooth_nothing_steps(told, golden, manifest, bands, frames, follows, said):
    score, values = off_by(golden, manifest, bands, frames, follows)
    by_library, by_python = told(np.zeros(64, np.int64), score, values=values, kinked=False)
    assert what_of(by_library) == what_of(by_python)
    assert {line.split(" alone")[0] for line in by_library} >= {f"values of {name}" for name in bands}


def test_a_score_that_moves_by_more_than_follows_of_the_step_is_a_fault(told, golden, manifest):
    score, values = off_by(golden, manifest, {"log_jacobian": 2.0}, 1, 1)
    score[0] += np.sign(score[0] - manifest.threshold.value) * 1.5 * SAME_GRAPH
    by_library, by_python = told(np.zeros(64, np.int64), score, values=values, kinked=True)
    assert what_of(by_library) == what_of(by_python)
    assert what_of(by_library)[0] == "scores alone: 1 of 64"
