"""Expected verdicts against those that came: a fault is a difference, rounding is not, a tie is counted."""

import numpy as np
import pytest

from edgeosr.runtime.agreement import KERNEL, SAME_GRAPH, Agreement, Band, agreement, engine_band
from edgeosr.runtime.golden import Expected
from edgeosr.verdict import UNKNOWN, Verdict

CLASSES = ("cat", "dog", "owl")
COUNT = 64
LIMIT = 1.0
BAND = engine_band((0.004, 0.004))


def expected_verdicts(near: int = 0) -> Expected:
    """Scores on both sides of the threshold, the nearest 0.05 from it; ``near`` of them 0.001 below it."""
    distance = np.linspace(0.05, 3, COUNT // 2)
    score = np.concatenate([LIMIT - distance, LIMIT + distance])
    score[:near] = LIMIT - 0.001
    label = np.arange(COUNT) % len(CLASSES)
    return Expected(
        label=label.astype(np.int64),
        score=score.astype(np.float32),
        gap=np.full(COUNT, 0.5, np.float32),
    )


def verdict(label: int, score: float, threshold: float = LIMIT) -> Verdict:
    accepted = bool(score <= threshold)
    return Verdict(
        accepted=accepted, label=CLASSES[label] if accepted else UNKNOWN, nearest=CLASSES[label],
        index=label, score=score, threshold=threshold, parts={}, latency_ms=1.0,
        finite=bool(np.isfinite(score)),
    )  # fmt: skip


def compared(expected: Expected, label: np.ndarray, score: np.ndarray, band: Band = BAND) -> Agreement:
    found = [
        (i, "alone", verdict(int(a), float(b))) for i, (a, b) in enumerate(zip(label, score, strict=True))
    ]
    return agreement(expected, found, classes=CLASSES, threshold=LIMIT, band=band)


def test_equal_verdicts_agree() -> None:
    expected = expected_verdicts()
    result = compared(expected, expected.label, expected.score)
    assert (result.agreed, result.ties, result.differences) == (COUNT, 0, ())
    assert result.distance == (0, 0)


def test_an_engine_that_shifts_every_score_by_half_a_deviation_fails() -> None:
    expected = expected_verdicts()
    for shift in (0.5, -0.5):
        result = compared(expected, expected.label, expected.score + shift)
        assert any("golden frame" in line for line in result.differences)
        assert any(
            "64 of 64 are more than 0.014 from the expected ones" in line for line in result.differences
        )
    # Even where no decision changes.
    far = Expected(label=expected.label, score=expected.score * 0 - 5, gap=expected.gap)
    assert len(compared(far, far.label, far.score + 0.5).differences) == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_a_swapped_class_is_a_difference_wherever_it_is(accepted: bool) -> None:
    expected = expected_verdicts(near=1)
    label = expected.label.copy()
    index = 0 if accepted else COUNT - 1  # inside the band; and far away, rejected
    label[index] = (label[index] + 1) % len(CLASSES)
    (line,) = compared(expected, label, expected.score).differences
    assert line.startswith(f"golden frame {index} alone: expected ")
    swapped = np.array([1, 0, 2])[expected.label]
    assert len(compared(expected, swapped, expected.score).differences) > COUNT // 2


def test_rounding_is_no_difference() -> None:
    expected = expected_verdicts()
    noise = np.random.default_rng(0).uniform(-KERNEL, KERNEL, COUNT)
    result = compared(expected, expected.label, expected.score + noise)
    assert (result.agreed, result.differences) == (COUNT, ())
    noise *= 0.05
    assert compared(expected, expected.label, expected.score + noise, Band(SAME_GRAPH, SAME_GRAPH)).agreed


def test_what_cannot_be_told_is_counted_whatever_came() -> None:
    expected = expected_verdicts(near=4)
    score = expected.score.copy()
    score[:2] += np.float32(0.005)  # over the threshold, by rounding
    result = compared(expected, expected.label, score)
    assert (result.agreed, result.ties, result.differences) == (COUNT - 4, 4, ())


def test_two_classes_within_rounding_are_a_tie_and_others_are_not() -> None:
    expected = expected_verdicts()
    expected.gap[:2] = BAND.gap / 2, BAND.gap * 2
    label = expected.label.copy()
    label[:2] = (label[:2] + 1) % len(CLASSES)
    result = compared(expected, label, expected.score)
    assert (result.agreed, result.ties) == (COUNT - 2, 1)
    assert [line.split(" alone")[0] for line in result.differences] == ["golden frame 1"]


def test_frames_that_are_nearly_all_ties_prove_too_little() -> None:
    few, many = expected_verdicts(near=COUNT // 4), expected_verdicts(near=COUNT // 4 + 1)
    assert compared(few, few.label, few.score).differences == ()
    (line,) = compared(many, many.label, many.score).differences
    assert line.startswith("17 of 64 verdicts are within rounding (0.014) of another one, more than 25%")
    assert "export the bundle again" in line


def test_a_score_that_is_not_finite_must_stay_so_and_its_class_is_any() -> None:
    expected = expected_verdicts()
    expected.score[3] = np.nan
    label, score = expected.label.copy(), expected.score.copy()
    label[3] = (label[3] + 1) % len(CLASSES)
    assert compared(expected, label, score).differences == ()
    score[3] = 0.0
    (line,) = compared(expected, label, score).differences
    assert line.startswith("golden frame 3 alone: expected unknown")


def test_one_frame_may_round_far_but_not_many() -> None:
    expected = expected_verdicts()
    score = expected.score.copy()
    score[:6] -= 0.3
    assert compared(expected, expected.label, score).differences == ()
    score[:7] = expected.score[:7] - 0.3
    (line,) = compared(expected, expected.label, score).differences
    assert line.startswith("scores: 7 of 64 are more than")


def test_the_band_of_an_engine_grows_with_the_rounding_of_its_graph_and_not_with_the_worst_frame() -> None:
    assert engine_band((0.0, 0.0)) == Band(KERNEL, KERNEL)
    assert engine_band((0.02, 0.01)) == Band(KERNEL + 0.02, KERNEL + 0.01)
