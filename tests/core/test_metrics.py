"""Open-set metrics against definitions written out by hand."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.integrate import trapezoid

from edgeosr import metrics
from edgeosr.errors import DataError, UsageError

SIZES = [(1, 1), (2, 3), (19, 20), (101, 57)]


def tied_scores(known: int, unknown: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, within and across the sides."""
    random = np.random.default_rng(seed)
    return random.normal(size=known).round(1), (random.normal(size=unknown) + 0.7).round(1)


def with_not_finite(scores: np.ndarray) -> np.ndarray:
    spoilt = scores.copy()
    places = np.arange(0, len(spoilt), max(1, len(spoilt) // 5))
    spoilt[places] = np.resize([np.nan, np.inf, -np.inf], len(places))
    return spoilt


def pair_sum(known: np.ndarray, unknown: np.ndarray, weight: np.ndarray) -> float:
    """osr-methods 5.4: 1/(n m) sum_i sum_j weight_i (1[known less unknown] + 1/2 [equal]), in float64."""
    known, unknown = (np.where(np.isfinite(side), side, np.inf) for side in (known, unknown))
    total = 0.0
    for i in range(len(known)):
        for j in range(len(unknown)):
            total += weight[i] * ((known[i] < unknown[j]) + 0.5 * (known[i] == unknown[j]))
    return total / (len(known) * len(unknown))


@pytest.mark.parametrize(("known", "unknown"), SIZES)
@pytest.mark.parametrize("spoil", [False, True])
def test_oscr_equals_the_double_sum_with_ties_and_scores_that_are_not_finite(known, unknown, spoil):
    k, u = tied_scores(known, unknown, seed=known)
    if spoil:
        k, u = with_not_finite(k), with_not_finite(u)
    correct = np.random.default_rng(1).random(known) < 0.8
    assert metrics.oscr(k, u, correct) == pytest.approx(pair_sum(k, u, correct), abs=1e-13)


@pytest.mark.parametrize(("known", "unknown"), SIZES)
def test_oscr_is_the_trapezoid_under_its_curve(known, unknown):
    k, u = tied_scores(known, unknown, seed=3)
    correct = np.random.default_rng(2).random(known) < 0.7
    rates, classified = metrics.oscr_curve(k, u, correct)
    assert (rates[0], classified[0]) == (0, 0)
    assert (rates[-1], classified[-1]) == (1, pytest.approx(correct.mean()))
    assert metrics.oscr(k, u, correct) == pytest.approx(trapezoid(classified, rates), abs=1e-13)


def test_oscr_of_constant_scores_is_half_the_accuracy_and_of_perfect_scores_the_accuracy():
    correct = np.array([True, True, True, False])
    assert metrics.oscr(np.zeros(4), np.zeros(5), correct) == pytest.approx(0.375)
    assert metrics.oscr(np.zeros(4), np.ones(5), correct) == pytest.approx(0.75)
    assert metrics.oscr(np.ones(4), np.zeros(5), correct) == 0


@pytest.mark.parametrize(("known", "unknown"), SIZES)
def test_auroc_equals_the_double_sum_and_not_finite_means_most_unknown(known, unknown):
    k, u = tied_scores(known, unknown, seed=4)
    assert metrics.auroc(k, u) == pytest.approx(pair_sum(k, u, np.ones(known)), abs=1e-12)
    assert metrics.auroc(k, np.full(unknown, np.nan)) == 1
    assert metrics.auroc(np.full(known, -np.inf), u) == 0


def test_scores_far_apart_and_next_to_each_other_keep_their_order():
    k = np.array([-3e38, 0, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    u = np.array([1, 3e38], np.float32)
    assert metrics.auroc(k, u) == 1


def fpr_by_search(positive: np.ndarray, negative: np.ndarray) -> float:
    """Larger = more positive; the strictest threshold that finds 95 % of positives, by trying them all."""
    for threshold in sorted(set(positive) | set(negative), reverse=True):
        if np.sum(positive >= threshold) >= 0.95 * len(positive) - 1e-9:
            return float(np.mean(negative >= threshold))
    raise AssertionError


@pytest.mark.parametrize(("known", "unknown"), [(1, 1), (20, 40), (100, 60), (57, 101)])
def test_fpr_at_95_tpr_in_both_conventions_equals_a_search(known, unknown):
    k, u = tied_scores(known, unknown, seed=5)
    known_positive, unknown_positive = metrics.fpr_at_95_tpr(k, u)
    assert known_positive == pytest.approx(fpr_by_search(-k, -u))
    assert unknown_positive == pytest.approx(fpr_by_search(u, k))


def test_the_two_conventions_of_fpr_differ_and_are_not_swapped():
    known = np.concatenate([np.zeros(80), np.full(20, 9.0)])  # a fifth of the known look very unknown
    unknown = np.full(100, 5.0)
    assert metrics.fpr_at_95_tpr(known, unknown) == (1.0, pytest.approx(0.2))


def average_precision_by_hand(positive: np.ndarray, negative: np.ndarray) -> float:
    total, found = 0.0, 0
    for threshold in sorted(set(positive) | set(negative), reverse=True):
        hits, false = np.sum(positive >= threshold), np.sum(negative >= threshold)
        total += (hits - found) / len(positive) * hits / (hits + false)
        found = hits
    return float(total)


@pytest.mark.parametrize(("known", "unknown"), SIZES)
def test_aupr_names_its_positive_class(known, unknown):
    k, u = tied_scores(known, unknown, seed=6)
    for_unknown, for_known = metrics.aupr(k, u)
    assert for_unknown == pytest.approx(average_precision_by_hand(u, k))
    assert for_known == pytest.approx(average_precision_by_hand(-k, -u))


def test_macro_f1_counts_an_accepted_unknown_against_the_class_it_is_taken_for():
    # Known: class 0 right, class 1 right, class 1 rejected. Unknown: one rejected, one taken for class 0.
    value = metrics.macro_f1_open(
        np.array([0.0, 0, 2]), np.array([2.0, 0]), np.array([0, 1, 1]), np.array([0, 1, 1]), np.array([1, 0]),
        threshold=1.0, classes=2,
    )  # fmt: skip
    # F1 = 2 TP / (2 TP + FP + FN): class 0 has one FP, class 1 one FN, unknown one of each.
    assert value == pytest.approx((2 / 3 + 2 / 3 + 2 / 4) / 3)


def test_a_score_equal_to_the_threshold_is_accepted_and_one_not_finite_never_is():
    scores = np.array([1.0, 1.0 + 1e-7, np.nan, -np.inf, np.inf], np.float32)
    assert metrics.acceptance_rate(scores, 1.0).value == pytest.approx(1 / 5)
    assert metrics.acceptance_rate(scores, np.inf).value == pytest.approx(2 / 5)


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (0, 10), (3, 10), (10, 10), (50, 1000)])
def test_the_interval_of_a_rate_is_clopper_pearsons(hits, count):
    from scipy.stats import binomtest

    rate = metrics.rejection_rate(np.repeat([1.0, 0.0], [hits, count - hits]), 0.5)
    exact = binomtest(hits, count).proportion_ci(0.95, method="exact")
    assert (rate.value, rate.samples) == (hits / count, count)
    assert (rate.low, rate.high) == pytest.approx((exact.low, exact.high))


def test_images_of_a_group_count_as_one():
    scores = np.array([1.0] * 30 + [0.0, 0.0])
    groups = np.array([7] * 30 + [1, 2])
    rate = metrics.rejection_rate(scores, 0.5, groups)
    assert (rate.value, rate.samples) == (pytest.approx(1 / 3), 3)
    single = metrics.rejection_rate(np.array([1.0, 0.0, 0.0]), 0.5)
    assert (rate.low, rate.high) == pytest.approx((single.low, single.high))


def test_autc_follows_its_definition_by_integration():
    k, u = tied_scores(40, 30, seed=8)
    low, high = min(k.min(), u.min()), max(k.max(), u.max())
    thresholds = np.linspace(0, 1, 20001)
    flagged_known = ((k - low) / (high - low) >= thresholds[:, None]).mean(axis=1)
    missed = ((u - low) / (high - low) < thresholds[:, None]).mean(axis=1)
    area = (trapezoid(flagged_known, thresholds) + trapezoid(missed, thresholds)) / 2
    assert metrics.autc(k, u) == pytest.approx(area, abs=1e-3)
    assert metrics.autc(np.zeros(3), np.zeros(3)) is None
    assert metrics.autc(np.array([0.0, 1]), np.array([np.nan])) == pytest.approx((0.5 + 0) / 2)


def report(**changes):
    k, u = tied_scores(60, 50, seed=9)
    labels = np.arange(60) % 3
    arguments = {
        "known_scores": k, "unknown_scores": u, "known_labels": labels, "threshold": 0.5, "classes": 3,
        "known_predictions": np.where(np.arange(60) < 6, (labels + 1) % 3, labels),
        "unknown_predictions": np.arange(50) % 3,
    }  # fmt: skip
    return metrics.open_set_report(**{**arguments, **changes})


def test_the_report_agrees_with_the_single_metrics_and_is_plain_json():
    k, u = tied_scores(60, 50, seed=9)
    full = report()
    assert full.closed_accuracy == pytest.approx(0.9)
    assert full.oscr <= full.closed_accuracy
    assert full.auroc == metrics.auroc(k, u)
    assert full.false_reject == metrics.rejection_rate(k, 0.5)
    assert full.false_accept == metrics.acceptance_rate(u, 0.5)
    plain = json.loads(json.dumps(full.as_json(), allow_nan=False))
    assert set(plain) == {field.name for field in dataclasses.fields(metrics.OpenSetMetrics)}
    assert set(plain["false_reject"]) == {"value", "low", "high", "samples"}


def test_without_a_threshold_the_report_leaves_out_what_needs_one():
    plain = report(threshold=None).as_json()
    assert {key for key, value in plain.items() if value is None} == {
        "threshold", "macro_f1", "false_reject", "false_accept"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"threshold": float("nan")}, UsageError, "got NaN"),
        ({"unknown_predictions": None}, UsageError, "unknown_predictions"),
        ({"known_labels": np.zeros(59, int)}, DataError, "known images must have one length"),
        (
            {"unknown_scores": np.zeros(0), "unknown_predictions": np.zeros(0, int)},
            DataError,
            "unknown scores",
        ),
    ],
)
def test_input_that_does_not_fit_is_refused_with_the_reason(changes, error, words):
    with pytest.raises(error, match=words):
        report(**changes)
