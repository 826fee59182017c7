"""Which threshold an image is compared with, and that a margin decides exactly as the comparison does."""

import numpy as np
import pytest

from edgeosr.scoring.thresholds import COMMON, PER_CLASS, ClassThreshold, Threshold, limits_of, margins_of


def threshold_of(*by_class: ClassThreshold) -> Threshold:
    return Threshold(
        value=1.5, target_false_reject_rate=0.05, interval=(0.02, 0.09), confidence=0.95, groups=90,
        images=99, method="made for a test", by_class=by_class,
    )  # fmt: skip


OWN = ClassThreshold(value=0.5, interval=(0.01, 0.1), groups=40, images=41)
NONE_OF_ITS_OWN = ClassThreshold(value=1.5, interval=None, groups=3, images=3)


def test_a_threshold_a_class_is_compared_with_the_predicted_one() -> None:
    labels = np.array([2, 0, 1, 0])
    assert limits_of((1.0, 2.0, 3.0), labels).tolist() == [3.0, 1.0, 2.0, 1.0]
    assert limits_of(7.0, labels).tolist() == [7.0] * 4
    assert limits_of((1.0, 2.0, 3.0), np.zeros(0, np.int64)).shape == (0,)


def test_the_rule_is_what_the_threshold_holds() -> None:
    common, per_class = threshold_of(), threshold_of(OWN, NONE_OF_ITS_OWN)
    assert (common.rule, common.limit, common.class_values) == (COMMON, 1.5, ())
    assert (per_class.rule, per_class.limit) == (PER_CLASS, (0.5, 1.5))
    assert per_class.without_own(("cat", "owl")) == ["owl"]


@pytest.mark.parametrize("scale", [1e-38, 1.0, 1e30])
def test_a_margin_has_the_sign_of_the_comparison_to_the_last_bit(scale: float) -> None:
    random = np.random.default_rng(0)
    limits = tuple((random.normal(size=5) * scale).astype(np.float32).tolist())
    labels = random.integers(0, 5, 300)
    scores = np.asarray(limits, np.float32)[labels]
    scores[100:200] = np.nextafter(scores[100:200], np.float32(np.inf))
    scores[200:] = np.nextafter(scores[200:], np.float32(-np.inf))
    margins = margins_of(scores, limits, labels)
    assert (np.sign(margins).reshape(3, 100) == [[0], [1], [-1]]).all()
    assert (np.sign(margins.astype(np.float32)) == np.sign(margins)).all()
    assert np.array_equal(margins <= 0, scores <= np.asarray(limits, np.float32)[labels])


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_what_is_not_finite_is_never_below_a_threshold(score: float) -> None:
    assert not (margins_of(np.array([score]), (1.0, 2.0), np.array([1])) <= 0).any()
