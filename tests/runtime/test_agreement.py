"""Expected verdicts against those that came: a fault is a difference, rounding is not, a tie is counted."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeosr.runtime.agreement import Agreement, Found, agreement, cannot_be_told
from edgeosr.runtime.bands import CEILING, KERNEL, Band, engine_band, same_graph_band
from edgeosr.runtime.golden import Expected, Rounding
from edgeosr.scoring.fusion import Fusion
from edgeosr.verdict import UNKNOWN, Verdict

CLASSES = ("cat", "dog", "owl")
COUNT = 64
LIMIT = 1.0
FUSION = Fusion(parts=("log_norm", "max_logit"), means=(0.0, 0.0), stds=(1.0, 4.0), weights=(1.0, 0.0))
BAND = engine_band(Rounding(0.004, 0.004, (0.004, 0.01)))
SAME = same_graph_band(2)


def expected_verdicts(near: int = 0) -> Expected:
    """Scores on both sides of the threshold, the nearest 0.05 from it; ``near`` of them 0.001 below it."""
    distance = np.linspace(0.05, 3, COUNT // 2)
    score = np.concatenate([LIMIT - distance, LIMIT + distance])
    score[:near] = LIMIT - 0.001
    label = np.arange(COUNT) % len(CLASSES)
    return Expected(
        label=label.astype(np.int64),
        second=((label + 1) % len(CLASSES)).astype(np.int64),
        gap=np.full(COUNT, 0.5, np.float32),
        score=score.astype(np.float32),
        values=np.stack([score, np.random.default_rng(0).normal(-8, 4, COUNT)], axis=1).astype(np.float32),
    )


def verdict(label: int, score: float, values: Any, threshold: float = LIMIT) -> Verdict:
    finite = bool(np.isfinite([score, *values]).all())
    accepted = finite and bool(score <= threshold)
    return Verdict(
        accepted=accepted, label=CLASSES[label] if accepted else UNKNOWN, nearest=CLASSES[label],
        index=label, score=score, threshold=threshold, latency_ms=1.0, finite=finite,
        parts=dict(zip(FUSION.parts, map(float, values), strict=True)),
    )  # fmt: skip


def compared(
    expected: Expected,
    label: Any = None,
    score: Any = None,
    values: Any = None,
    *,
    band: Band = BAND,
    batch: Callable[[int], int] = lambda frame: 0,
) -> Agreement:
    label = expected.label if label is None else label
    score = expected.score if score is None else score
    values = expected.values if values is None else values
    found = [
        Found(i, "rgb", batch(i), i, verdict(int(label[i]), float(score[i]), values[i])) for i in range(COUNT)
    ]
    return agreement(expected, found, classes=CLASSES, threshold=LIMIT, band=band, fusion=FUSION)


@pytest.mark.parametrize("band", [BAND, SAME])
def test_equal_verdicts_agree(band: Band) -> None:
    result = compared(expected_verdicts(), band=band)
    assert (result.agreed, result.ties, result.one_sided, result.differences) == (COUNT, 0, 0, ())
    assert result.distance == (0, 0)


def test_an_engine_that_shifts_every_score_by_half_a_deviation_fails() -> None:
    expected = expected_verdicts()
    for shift in (0.5, -0.5):
        result = compared(expected, score=expected.score + shift)
        assert any("golden frame" in line for line in result.differences)
        assert any(
            "scores alone: 64 of 64 are more than 0.014 from the expected ones" in line
            for line in result.differences
        )
    # Even where no decision changes.
    expected.score[:] = -5
    assert len(compared(expected, score=expected.score + 0.5).differences) == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_a_swapped_class_is_a_difference_wherever_it_is(accepted: bool) -> None:
    expected = expected_verdicts(near=1)
    label = expected.label.copy()
    index = 0 if accepted else COUNT - 1  # inside the band; and far away, rejected
    label[index] = (label[index] + 1) % len(CLASSES)
    (line,) = compared(expected, label).differences
    assert line.startswith(f"golden frame {index} (rgb) alone: expected ")
    swapped = np.array([1, 0, 2])[expected.label]
    assert len(compared(expected, swapped).differences) > COUNT // 2


def test_rounding_is_no_difference() -> None:
    expected = expected_verdicts()
    random = np.random.default_rng(0)
    noise = random.uniform(-KERNEL, KERNEL, COUNT)
    moved = expected.values + random.uniform(-KERNEL, KERNEL, (COUNT, 2)) * FUSION.stds
    result = compared(expected, score=expected.score + noise, values=moved)
    assert (result.agreed, result.differences) == (COUNT, ())
    moved = expected.values + 0.05 * (moved - expected.values)
    result = compared(expected, score=expected.score + 0.05 * noise, values=moved, band=SAME)
    assert (result.agreed, result.differences) == (COUNT, ())


def test_what_cannot_be_told_is_counted_whatever_came() -> None:
    expected = expected_verdicts(near=4)
    expected.gap[10] = BAND.gap / 2
    score = expected.score.copy()
    score[:2] += np.float32(0.005)  # over the threshold, by rounding
    result = compared(expected, score=score)
    assert (result.agreed, result.ties, result.differences) == (COUNT - 5, 5, ())
    assert np.flatnonzero(cannot_be_told(expected, LIMIT, BAND)).tolist() == [0, 1, 2, 3, 10]


def test_two_classes_within_rounding_are_a_tie_and_others_are_not() -> None:
    expected = expected_verdicts()
    expected.gap[:3] = BAND.gap / 2, BAND.gap * 2, BAND.gap / 2
    label = expected.label.copy()
    label[:2] = expected.second[:2]
    result = compared(expected, label)
    assert (result.agreed, result.ties) == (COUNT - 3, 2)
    assert [line.split(" alone")[0] for line in result.differences] == ["golden frame 1 (rgb)"]


def test_a_third_class_is_a_difference_however_near_the_first_two_are() -> None:
    expected = expected_verdicts()
    expected.gap[:2] = 0.0
    label = expected.label.copy()
    label[0], label[1] = expected.second[0], (expected.label[1] + 2) % len(CLASSES)
    (line,) = compared(expected, label).differences
    assert line.startswith("golden frame 1 (rgb) alone: expected dog")


def test_frames_that_are_nearly_all_ties_prove_too_little() -> None:
    assert compared(expected_verdicts(near=COUNT // 4)).differences == ()
    (line,) = compared(expected_verdicts(near=COUNT // 4 + 1)).differences
    assert line.startswith("17 of 64 verdicts are within rounding (0.014) of another one, more than 25%")
    assert "export the bundle again, with --frame" in line


def test_a_score_that_is_not_finite_must_stay_so_and_its_class_is_any() -> None:
    expected = expected_verdicts()
    expected.score[3] = np.nan
    label, score = expected.label.copy(), expected.score.copy()
    label[3] = (label[3] + 1) % len(CLASSES)
    assert compared(expected, label, score).differences == ()
    score[3] = 0.0
    (line,) = compared(expected, label, score).differences
    assert line.startswith("golden frame 3 (rgb) alone: expected unknown")


@pytest.mark.parametrize("of_a_value", [False, True])
def test_nan_is_a_difference_where_a_finite_score_is_expected_though_the_frame_is_rejected(
    of_a_value: bool,
) -> None:
    expected = expected_verdicts()
    score, values = expected.score.copy(), expected.values.copy()
    # Of 64, 6 that are rejected anyway: once within the share that may lie outside the band.
    if of_a_value:
        values[-6:, 1] = np.nan
    else:
        score[-6:] = np.nan
    result = compared(expected, score=score, values=values)
    assert (result.agreed, result.one_sided, len(result.differences)) == (COUNT - 6, 6, 6)
    assert all(line.startswith("golden frame") for line in result.differences)
    assert not compared(expected, score=score, values=values, band=SAME).agreed > COUNT - 6


def test_a_few_frames_may_round_out_of_the_band_but_not_many_and_none_far_away() -> None:
    expected = expected_verdicts()
    score = expected.score.copy()
    score[:6] -= np.float32(0.9 * CEILING * BAND.score)
    assert compared(expected, score=score).differences == ()
    score[:7] = expected.score[:7] - np.float32(0.9 * CEILING * BAND.score)
    (line,) = compared(expected, score=score).differences
    assert line.startswith("scores alone: 7 of 64 are more than")
    one = expected.score.copy()
    one[5] -= np.float32(1.1 * CEILING * BAND.score)
    (line,) = compared(expected, score=one).differences
    assert line.startswith("scores alone: 1 of 64 are more than") and "golden frame 5)" in line


def test_of_the_same_graph_no_frame_may_lie_outside() -> None:
    expected = expected_verdicts()
    score = expected.score.copy()
    score[9] -= np.float32(2 * SAME.score)
    (line,) = compared(expected, score=score, band=SAME).differences
    assert line.startswith("scores alone: 1 of 64 are more than 0.001 from")


def test_a_fault_at_one_place_of_every_batch_is_not_outvoted_by_frames_judged_alone() -> None:
    expected = expected_verdicts()
    last = np.arange(COUNT) % 8 == 7
    score = np.where(last, expected.score - 2, expected.score)
    score[expected.score > LIMIT] = (expected.score + 2 * last)[expected.score > LIMIT]
    lines = compared(expected, score=score, batch=lambda frame: COUNT).differences
    assert len(lines) == 1 and lines[0].startswith("scores in a batch: 8 of 64 are more than")
    # Outside by little: 4 of the 32 in a batch are too many, though they are few of all 64.
    score = expected.score.copy()
    score[1:8:2] -= np.float32(2 * BAND.score)
    (line,) = compared(expected, score=score, batch=lambda frame: 32 * (frame % 2)).differences
    assert line.startswith("scores in a batch: 4 of 32 are more than")
    assert re.search(r", golden frame [1357] in a batch of 32, at place [2468]\)$", line)
    assert compared(expected, score=score).differences == ()


def test_a_fault_of_batches_of_one_size_is_not_outvoted_by_those_of_another() -> None:
    """An engine has buffers of its own for each size."""
    expected = expected_verdicts()
    sizes = np.where(np.arange(COUNT) < 24, 8, 40)
    for wrong, lines in ((1, 0), (3, 1), (7, 1)):
        score = expected.score.copy()
        score[:wrong] -= np.float32(2 * BAND.score)
        found = compared(expected, score=score, batch=lambda frame: int(sizes[frame])).differences
        assert len(found) == lines
    assert found[0].startswith("scores in a batch: 7 of 64")  # too many of all, told once
    score[:7] = expected.score[:7]
    score[:3] -= np.float32(2 * BAND.score)
    (line,) = compared(expected, score=score, batch=lambda frame: int(sizes[frame])).differences
    assert line.startswith("scores in a batch of 8: 3 of 24 are more than")
    sizes[1:] = 63  # one that is a batch of its own may lie outside, as of all
    score = expected.score.copy()
    score[0] -= np.float32(2 * BAND.score)
    sizes[0] = 1
    assert compared(expected, score=score, batch=lambda frame: int(sizes[frame])).differences == ()
    score[0] -= np.float32(CEILING * BAND.score)
    assert len(compared(expected, score=score, batch=lambda frame: int(sizes[frame])).differences) == 1


def test_a_part_of_weight_0_that_is_wrong_is_a_difference() -> None:
    expected = expected_verdicts()
    for band in (BAND, SAME):
        values = expected.values.copy()
        values[:, 1] *= np.float32(1.1)
        (line,) = compared(expected, values=values, band=band).differences
        assert line.startswith("values of max_logit alone: ") and "rounding does not explain" in line
        swapped = compared(expected, values=expected.values[:, ::-1], band=band).differences
        assert [line.split(" alone")[0] for line in swapped] == ["values of log_norm", "values of max_logit"]
    one = expected.values.copy()
    one[7, 1] += np.float32(1.1 * CEILING * BAND.values[1] * FUSION.stds[1])
    (line,) = compared(expected, values=one).differences
    assert line.startswith("values of max_logit alone: 1 of 64") and "golden frame 7)" in line


def test_a_large_value_may_round_by_a_share_of_itself() -> None:
    expected = expected_verdicts()
    expected.values[:, 1] = 1e5
    values = expected.values.copy()
    values[:, 1] += np.float32(0.5)  # float32 has 1 / 128 here
    assert compared(expected, values=values, band=SAME).differences == ()
    values[:, 1] += np.float32(1.0)
    assert len(compared(expected, values=values, band=SAME).differences) == 1


def test_the_band_of_an_engine_grows_with_the_rounding_of_its_graph_and_not_with_the_worst_frame() -> None:
    plain = engine_band(Rounding(0.0, 0.0, (0.0,)))
    assert (plain.score, plain.gap, plain.values) == (KERNEL, KERNEL, (KERNEL,))
    wide = engine_band(Rounding(0.02, 0.01, (0.03, 0.0)))
    assert (wide.score, wide.gap, wide.values) == (KERNEL + 0.02, KERNEL + 0.01, (KERNEL + 0.03, KERNEL))


# Of the three classes: the scores of expected_verdicts are moved by what lies between them and LIMIT.
OWN = (-2.0, 1.0, 4.0)


def own_verdicts(expected: Expected, label: Any = None, score: Any = None) -> list[Found]:
    label = expected.label if label is None else label
    score = expected.score if score is None else score
    return [
        Found(i, "rgb", 0, 0, verdict(int(label[i]), float(score[i]), expected.values[i], OWN[label[i]]))
        for i in range(COUNT)
    ]


def with_own_thresholds(near: int = 0) -> Expected:
    expected = expected_verdicts(near)
    expected.score[:] += (np.array(OWN) - LIMIT)[expected.label].astype(np.float32)
    expected.values[:, 0] = expected.score
    return expected


def judged_by_class(expected: Expected, found: list[Found]) -> Agreement:
    return agreement(expected, found, classes=CLASSES, threshold=OWN, band=BAND, fusion=FUSION)


def test_with_a_threshold_a_class_ties_lie_at_the_class_s_own() -> None:
    expected = with_own_thresholds(near=3)
    assert np.flatnonzero(cannot_be_told(expected, OWN, BAND)).tolist() == [0, 1, 2]
    result = judged_by_class(expected, own_verdicts(expected))
    assert (result.agreed, result.ties, result.differences) == (COUNT - 3, 3, ())


def test_a_decision_by_another_class_s_threshold_is_a_difference() -> None:
    expected = with_own_thresholds()
    common = [
        Found(i, "rgb", 0, 0, verdict(int(label), float(score), expected.values[i], LIMIT))
        for i, (label, score) in enumerate(zip(expected.label, expected.score, strict=True))
    ]
    result = judged_by_class(expected, common)
    assert 0 < len(result.differences) < COUNT
    assert any("threshold -2.0000" in line for line in result.differences)


def test_a_class_that_rounding_brings_to_the_front_decides_by_its_own_threshold() -> None:
    expected = with_own_thresholds()
    expected.gap[:] = BAND.gap / 2
    result = judged_by_class(expected, own_verdicts(expected, expected.second))
    assert not [line for line in result.differences if line.startswith("golden frame")]
    # With the first class's threshold the same verdicts are wrong.
    wrong = [
        Found(i, "rgb", 0, 0, verdict(int(two), float(score), expected.values[i], OWN[one]))
        for i, (one, two, score) in enumerate(
            zip(expected.label, expected.second, expected.score, strict=True)
        )
    ]
    assert [line for line in judged_by_class(expected, wrong).differences if line.startswith("golden frame")]
