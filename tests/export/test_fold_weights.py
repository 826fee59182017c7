"""One set of weights for several folds: the part that wins is found, and chance does not move the weights."""

from dataclasses import replace

import numpy as np
import pytest

from edgeosr.bundle.left_out import FREE_SIGNS, STRENGTHS
from edgeosr.export import fold_weights
from edgeosr.export.conformal import conformal_threshold
from edgeosr.export.fold_weights import (
    FoldValues,
    _chosen,
    fit_over_folds,
    logistic_weights,
)
from edgeosr.metrics import auroc

COMPANIONS = (0, 1, 2)
SCALES, CENTRES = np.array([0.1, 30.0, 2.0, 5.0]), np.array([-0.8, 400.0, 1.0, -7.0])


def fold(shift: list[float], seed: int, images: int = 300) -> FoldValues:
    """Four normal parts of very different scales; the unknowns lie ``shift`` standard deviations higher."""
    random = np.random.default_rng(seed)
    known = random.normal(size=(images, 4))
    unknown = random.normal(size=(images, 4)) + shift
    return FoldValues(known=known * SCALES + CENTRES, unknown=unknown * SCALES + CENTRES)


@pytest.mark.parametrize("winner", range(4))
def test_the_part_that_wins_on_every_fold_gets_the_weight(winner):
    shift = [0.0] * 4
    shift[winner] = 2.5
    fit = fit_over_folds([fold(shift, seed) for seed in range(4)], COMPANIONS)
    assert fit.weights.argmax() == winner and fit.weights[winner] > 0.9
    assert fit.strength >= (2 if winner == 3 else 0.75)
    assert fit.auroc.argmax() == winner and fit.auroc[winner] > 0.94
    assert fit.weights.sum() == pytest.approx(1) and fit.weights.min() >= 0


def test_parts_that_are_equally_good_keep_equal_weights():
    fit = fit_over_folds([fold([1.0, 1.0, 1.0, 0.0], seed) for seed in range(5)], COMPANIONS)
    assert fit.strength < 0.5
    np.testing.assert_allclose(fit.weights[:3], 1 / 3, atol=0.06)
    assert fit.scores.mean() > fit.auroc.max() + 0.05  # three together tell more than any alone


def test_folds_that_contradict_each_other_leave_equal_weights():
    shifts = [[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 0]]
    fit = fit_over_folds([fold(shift, seed) for seed, shift in enumerate(shifts)], COMPANIONS)
    assert fit.strength == STRENGTHS[0]
    np.testing.assert_allclose(fit.weights, [1 / 3, 1 / 3, 1 / 3, 0])


def test_the_score_of_a_fold_is_by_weights_made_without_it():
    # Only the last fold rates part 3: with it among the makers its own score would be high.
    folds = [fold([1.5, 0, 0, 0], seed) for seed in range(3)] + [fold([0, 0, 0, 4.0], 9)]
    fit = fit_over_folds(folds, COMPANIONS)
    assert fit.scores[-1] < 0.7 < fit.scores[:3].min()
    assert fit.spread[3] > 0.15 > fit.spread[1]


def test_a_part_that_only_one_fold_has_can_win_there_but_never_alone():
    folds = [fold([0.8, 0.8, 0.8, 0], seed) for seed in range(3)]
    for one in folds:
        one.known[:, 3] = one.unknown[:, 3] = np.nan
    folds.append(fold([0.8, 0.8, 0.8, 3.0], 7))
    fit = fit_over_folds(folds, COMPANIONS)
    assert 0 <= fit.weights[3] < 1 and np.isfinite(fit.weights).all()
    assert fit.auroc[3] == pytest.approx(auroc(folds[-1].known[:, 3], folds[-1].unknown[:, 3]))
    assert fit.spread[3] == 0


def test_every_fold_weighs_the_same_whatever_its_images():
    large, small = fold([2.0, 0, 0, 0], 0, images=4000), fold([0, 2.0, 0, 0], 1, images=100)
    sides = [((one.known - CENTRES) / SCALES, (one.unknown - CENTRES) / SCALES) for one in (large, small)]
    weights = logistic_weights(sides)
    assert weights[0] == pytest.approx(weights[1], abs=0.1)
    pooled = logistic_weights([tuple(np.concatenate(side) for side in zip(*sides, strict=True))])
    assert pooled[0] > 0.8  # what it would be if images were counted


def test_values_that_are_not_finite_and_constant_parts_do_not_spoil_the_fit():
    folds = [fold([0, 2.5, 0, 0], seed) for seed in range(3)]
    folds[0].known[3, 1], folds[1].unknown[5, 0] = np.nan, np.inf
    folds[2].known[:, 2] = folds[2].unknown[:, 2] = 1.0
    fit = fit_over_folds(folds, COMPANIONS)
    assert fit.weights.argmax() == 1 and np.isfinite(fit.weights).all()


def test_the_same_folds_give_the_same_weights():
    first, second = (
        fit_over_folds([fold([1, 0.3, 2, 0], seed) for seed in range(4)], COMPANIONS) for _ in "ab"
    )
    assert first.weights.tolist() == second.weights.tolist() and first.strength == second.strength


def test_false_accepts_of_a_fold_are_by_weights_made_without_it(monkeypatch):
    folds = [fold([2.5, 0, 0, 0], seed) for seed in range(4)]
    made_without = fit_over_folds(folds, COMPANIONS).false_accepts
    path = fold_weights._path

    def spoilt_by_all_folds(sides, *others):
        weights = path(sides, *others)
        return [np.eye(4)[3]] * len(weights) if len(sides) == len(folds) else weights

    monkeypatch.setattr(fold_weights, "_path", spoilt_by_all_folds)
    spoilt = fit_over_folds(folds, COMPANIONS)
    assert spoilt.weights.argmax() == 3 and spoilt.false_accepts == made_without
    assert [one.false_reject for one in made_without] == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert {one.folds for one in made_without} == {4} and made_without[2].mean < 0.4
    means = [one.mean for one in made_without]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("images", [19, 20, 99, 150])
def test_the_threshold_of_a_fold_is_the_conformal_one_of_its_own_known_images(images):
    folds = [fold([2.0, 0, 0, 0], seed, images) for seed in range(3)]
    for one in folds:  # one part alone: no weights can change the order
        one.known[:, 1:] = one.unknown[:, 1:] = np.nan
    (found,) = fit_over_folds(folds, (0,), (0.05,)).false_accepts
    shares = []
    for one in folds:
        known = one.known[:, 0].astype(np.float32)
        threshold = conformal_threshold(known, np.arange(images), 0.05).value
        shares.append(float(np.mean(one.unknown[:, 0].astype(np.float32) <= threshold)))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(shares), min(shares), max(shares)))


def test_near_copies_count_once_in_the_threshold_of_a_fold():
    folds = [fold([1.0] * 4, seed) for seed in range(3)]
    tracks = [replace(one, known_groups=np.arange(300) % 19) for one in folds]
    found = {one.false_reject: one for one in fit_over_folds(tracks, COMPANIONS).false_accepts}
    assert sorted(found) == [0.05, 0.1, 0.2]  # 19 tracks can promise 5 %, and no less
    # The last of 19 is rejected by no threshold below the largest score of all.
    images = {one.false_reject: one for one in fit_over_folds(folds, COMPANIONS).false_accepts}
    assert sorted(images) == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert found[0.05].mean > images[0.05].mean + 0.1


def test_a_rate_that_the_images_of_fewer_than_two_folds_can_tell_is_left_out():
    folds = [fold([2.0, 0, 0, 0], seed, images) for seed, images in enumerate((18, 19, 99))]
    found = {one.false_reject: one.folds for one in fit_over_folds(folds, COMPANIONS).false_accepts}
    assert found == {0.05: 2, 0.1: 3, 0.2: 3}


def test_an_image_that_is_not_finite_counts_as_rejected_on_both_sides():
    folds = [fold([0.0] * 4, seed, 40) for seed in range(3)]
    whole = fit_over_folds(folds, COMPANIONS, (0.05, 0.2)).false_accepts
    for one in folds:
        one.known[:2, 1], one.unknown[:20, 2] = np.inf, np.nan
    spoilt = fit_over_folds(folds, COMPANIONS, (0.05, 0.2)).false_accepts
    # Of 40 known images 5 % are 2, and these two take that up: no threshold is left for it.
    assert [one.false_reject for one in spoilt] == [0.2]
    assert whole[1].mean > 0.6 and 0.3 < spoilt[0].mean <= 0.5


def shared_noise(seed: int, unknown_shift: float, images: int = 150) -> FoldValues:
    """Part 0 is told by 1.5 standard deviations of its own, but carries the noise of part 3 as well."""
    random = np.random.default_rng([seed, 77])
    sides = random.normal(size=(2, images, 4))
    sides[1, :, 0] += unknown_shift
    sides[..., 0] += 1.5 * sides[..., 3]
    return FoldValues(known=sides[0] * SCALES + CENTRES, unknown=sides[1] * SCALES + CENTRES)


@pytest.mark.parametrize("folds", [3, 4, 6])
def test_a_negative_weight_is_found_where_the_left_out_classes_say_it_wins(folds):
    fit = fit_over_folds([shared_noise(seed, 1.5) for seed in range(folds)], COMPANIONS)
    assert fit.strength == FREE_SIGNS
    assert fit.weights[0] > 0.4 and fit.weights[3] < -0.3
    assert np.abs(fit.weights).sum() == pytest.approx(1)
    # It is what tells: part 0 alone, and weights without a sign, tell much less.
    assert fit.scores.mean() > fit.auroc.max() + 0.08


def test_a_part_that_points_the_wrong_way_on_single_folds_gets_no_negative_weight():
    # As the embedding's length was seen: from 15 to 99 % AUROC from fold to fold.
    shifts = [-2.0, -1.5, 2.0, -1.0, 0.5]
    folds = [fold([1.0, 1.0, 1.0, shift], seed) for seed, shift in enumerate(shifts)]
    fit = fit_over_folds(folds, COMPANIONS)
    assert fit.strength != FREE_SIGNS and fit.weights.min() >= 0


def test_a_free_sign_that_wins_little_is_not_chosen_however_sure_it_is():
    gains = np.array([[0.9, 0.9, 0.9, 0.9], [0.909, 0.909, 0.909, 0.909]])
    assert _chosen(gains) == 0
    assert _chosen(gains + np.array([[0], [0.002]])) == 1


def test_free_signs_are_held_to_a_stricter_confidence_than_steps_of_the_path():
    steps = np.array([0.0, 0.03, 0.05, 0.04])  # t = 2.8: above 95 %, below 97.5 %
    assert _chosen(np.stack([0.8 + 0 * steps, 0.8 + steps, 0.7 + 0 * steps])) == 1
    assert _chosen(np.stack([0.8 + 0 * steps, 0.8 + steps])) == 0


def quick_auroc(known, unknown):
    """Scikit-learn's checks would take most of the time below."""
    known = np.sort(known)
    below = np.searchsorted(known, unknown, "left") + np.searchsorted(known, unknown, "right")
    return float(below.mean() / (2 * len(known)))


def test_where_no_part_should_be_negative_free_signs_are_hardly_ever_taken(monkeypatch):
    monkeypatch.setattr(fold_weights, "auroc", quick_auroc)
    taken = 0
    for seed in range(200):
        random = np.random.default_rng([seed, 5])
        # As in a run: the folds share their known images, whose chance the weights fit. Part 3 says nothing.
        known = random.normal(size=(40, 4))
        folds = [
            FoldValues(
                known=known[np.arange(40) % 4 != left] + 0.3 * random.normal(size=(30, 4)),
                unknown=random.normal(size=(50, 4)) + [1, 1, 1, 0] + 0.2 * random.normal(size=4),
            )
            for left in range(4)
        ]
        taken += fit_over_folds(folds, COMPANIONS).strength == FREE_SIGNS
    assert taken <= 2
