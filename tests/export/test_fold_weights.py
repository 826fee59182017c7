"""One set of weights for several folds: the part that wins is found, and chance does not move the weights."""

import numpy as np
import pytest

from edgeosr.export.fold_weights import STRENGTHS, FoldValues, fit_over_folds, logistic_weights
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
