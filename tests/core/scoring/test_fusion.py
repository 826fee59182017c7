"""One score out of several parts."""

from dataclasses import replace

import numpy as np
import pytest

from edgeosr.scoring.fusion import Fusion, unfitted_fusion

FUSION = Fusion(
    parts=("log_jacobian", "movr_loss", "max_logit"),
    means=(1.0, -2.0, 0.5),
    stds=(0.5, 4.0, 1.0),
    weights=(0.25, 0.75, 0.0),
    note="by hand",
)


def test_the_score_is_the_weighted_sum_of_standardised_values():
    scores = FUSION.scores(np.array([[1.0, -2.0, 9.0], [2.0, 2.0, 0.0]], np.float32))
    assert scores.dtype == np.float32
    assert scores.tolist() == [0.0, 0.25 * 2 + 0.75 * 1]


def test_a_negative_weight_lets_what_looks_unknown_to_its_part_count_for_known():
    fusion = replace(FUSION, weights=(0.25, -0.75, 0.0))
    assert fusion.scores(np.array([[2.0, 2.0, 0.0]], np.float32)).tolist() == [0.25 * 2 - 0.75 * 1]
    assert fusion.used() == {"log_jacobian": 0.25, "movr_loss": -0.75}


def test_a_value_that_is_not_finite_makes_the_score_nan_whatever_its_weight():
    values = np.zeros((3, 3), np.float32)
    values[[0, 1, 2], [0, 1, 2]] = np.inf, np.nan, np.inf
    assert np.isfinite(FUSION.scores(values)).tolist() == [False, False, False]
    assert np.isnan(FUSION.scores(values)[1:]).all()


def test_the_weights_that_count_are_told_by_part():
    assert FUSION.used() == {"log_jacobian": 0.25, "movr_loss": 0.75}


@pytest.mark.parametrize("count", [1, 16])
def test_an_unfitted_fusion_scores_zero(count):
    fusion = unfitted_fusion([f"part{i}" for i in range(count)])
    assert fusion.scores(np.ones((2, count), np.float32)).tolist() == [0.0, 0.0]
