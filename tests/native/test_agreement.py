"""Golden verdicts against those that came: the library tells the same differences as Python."""

import ctypes

import numpy as np
import pytest

from edgeosr.bundle.manifest import manifest_bytes
from edgeosr.runtime.agreement import CEILING, KERNEL, Found, agreement, engine_band
from edgeosr.runtime.golden import Rounding, write_golden
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

    def by_library(rows, score):
        room = ctypes.create_string_buffer(1 << 16)
        values = np.ascontiguousarray(expected.values)
        function(
            data, ctypes.c_size_t(len(data)), document, ctypes.c_size_t(len(document)),
            ctypes.c_size_t(len(rows)), np.ascontiguousarray(rows, np.int64).ctypes.data_as(ctypes.c_void_p),
            score.ctypes.data_as(ctypes.c_void_p), values.ctypes.data_as(ctypes.c_void_p), room,
            ctypes.c_size_t(len(room)),
        )  # fmt: skip
        return room.value.decode().splitlines()

    def by_python(rows, score):
        found = []
        for (frame, batch, place, label), one in zip(rows.tolist(), score.tolist(), strict=True):
            accepted = one <= limit
            verdict = Verdict(
                accepted=accepted, label=classes[label] if accepted else UNKNOWN, nearest=classes[label],
                index=label, score=one, threshold=limit, latency_ms=1.0, finite=True,
                parts=dict(zip(manifest.parts, expected.values[frame].tolist(), strict=True)),
            )  # fmt: skip
            found.append(Found(frame, "bgr" if golden.bgr[frame] else "rgb", batch, place, verdict))
        band = engine_band(Rounding(0.0, 0.0, (0.0,) * len(manifest.parts)))
        return agreement(
            expected, found, classes=classes, threshold=limit, band=band, fusion=manifest.fusion
        ).differences

    def both(sizes, score, label=None):
        label = expected.label if label is None else label
        rows = np.stack([np.arange(len(score)), sizes, np.arange(len(score)) % 7, label], axis=1)
        return by_library(rows, score.astype(np.float32)), list(by_python(rows, score.astype(np.float32)))

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
