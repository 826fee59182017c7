"""Standardisation and weights of the score parts, fitted on values."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from edgeosr.data.outlier_weighing import FEWEST_OUTLIERS, too_few_to_weigh
from edgeosr.errors import DataError, UsageError
from edgeosr.export.weights import GivenWeights, _logistic_weights, settled_by_outliers
from edgeosr.export.weights import fit_fusion as fit_any_fusion
from edgeosr.metrics import auroc

PARTS = ("log_jacobian", "discriminator", "movr_loss", "max_logit", "log_norm")


def fit_fusion(known, unknown, **options):
    return fit_any_fusion(PARTS, known, unknown, **options)


def parts(count: int, shift: list[float], seed: int) -> np.ndarray:
    """Normal parts of very different scales, moved by ``shift`` standard deviations."""
    scales, centres = np.array([0.2, 5, 1, 0.1, 2]), np.array([-3, 40, 2, -0.9, 0])
    normal = np.random.default_rng(seed).normal(size=(count, 5)) + shift
    return (normal * scales + centres).astype(np.float32)


KNOWN = parts(400, [0, 0, 0, 0, 0], seed=0)
OPEN = parts(200, [0.2, 1.0, 0.8, 0.0, -1.0], seed=1)


def column(name: str) -> int:
    return PARTS.index(name)


@pytest.mark.parametrize("default", ["movr_loss", "max_logit"])
def test_without_open_images_the_default_part_alone_counts(default):
    fusion = fit_fusion(KNOWN, None, default_part=default)
    assert list(fusion.weights) == [float(name == default) for name in PARTS]
    assert "no outliers to fit weights on" in fusion.note
    standard = (KNOWN - fusion.means) / fusion.stds
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-4)
    assert fusion.scores(OPEN) == pytest.approx(
        ((OPEN - fusion.means) / fusion.stds) @ fusion.weights, abs=1e-4
    )


def test_with_open_images_weights_are_not_negative_sum_to_one_and_beat_the_default_on_new_images():
    fusion = fit_fusion(KNOWN, OPEN, default_part="movr_loss")
    assert fusion.note.startswith("non-negative logistic regression: 5-fold AUROC")
    assert min(fusion.weights) >= 0 and sum(fusion.weights) == pytest.approx(1)
    assert fusion.weights[column("log_norm")] == 0  # it points the wrong way here
    assert fusion.weights[column("discriminator")] > fusion.weights[column("log_jacobian")]
    known, unknown = parts(3000, [0] * 5, seed=2), parts(3000, [0.2, 1.0, 0.8, 0.0, -1.0], seed=3)
    alone = auroc(known[:, 2], unknown[:, 2])
    assert auroc(fusion.scores(known), fusion.scores(unknown)) > alone + 0.05


def test_weights_agree_with_scikit_learn_where_no_bound_is_active():
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(4)
    known = random.normal(size=(500, 5))
    unknown = random.normal([0.5, 1, 0.8, 0.3, 0.6], size=(500, 5))
    found = _logistic_weights(known, unknown, np.ones(5, bool))
    # Our loss is a mean over images plus penalty / 2 |w|^2: scikit-learn's C is 1 / (penalty * images).
    oracle = LogisticRegression(C=1 / (0.01 * 1000), tol=1e-10, max_iter=1000)
    oracle.fit(np.concatenate([known, unknown]), np.repeat([0, 1], 500))
    np.testing.assert_allclose(found, oracle.coef_[0] / oracle.coef_[0].sum(), atol=1e-4)


def test_fitted_weights_that_do_not_win_the_cross_validation_are_dropped():
    # Only the default part tells anything; the others are noise that a fit can only overweigh.
    lost = 0
    for seed in range(6):
        known, unknown = parts(40, [0] * 5, seed=10 + seed), parts(25, [0, 0, 2.0, 0, 0], seed=30 + seed)
        fusion = fit_fusion(known, unknown, default_part="movr_loss")
        if fusion.note.startswith("weight 1 on movr_loss: 5-fold"):
            assert list(fusion.weights) == [0, 0, 1, 0, 0]
            lost += 1
        fitted, alone = (float(fusion.note.split(word)[1].split()[0]) for word in ("AUROC ", "against "))
        assert (fitted > alone) == (not fusion.note.startswith("weight 1")) or fitted == alone
    assert lost > 0


def test_open_images_that_look_known_leave_the_default_part():
    # Every part points the wrong way, so every weight is held at zero.
    fusion = fit_fusion(KNOWN, parts(200, [-2] * 5, seed=5), default_part="movr_loss")
    assert list(fusion.weights) == [0, 0, 1, 0, 0]


def test_a_constant_part_has_std_one_and_no_weight():
    known, unknown = KNOWN.copy(), OPEN.copy()
    known[:, 0] = 7.1
    fusion = fit_fusion(known, unknown, default_part="movr_loss")
    assert (fusion.stds[0], fusion.weights[0]) == (1, 0)
    with pytest.raises(DataError, match="'log_jacobian' has the same value for all 400"):
        fit_fusion(known, unknown, default_part="log_jacobian")


def test_rows_that_are_not_finite_do_not_spoil_the_fit():
    known, unknown = KNOWN.copy(), OPEN.copy()
    known[5, 1], known[6], unknown[7, 0] = np.nan, np.inf, -np.inf
    fusion = fit_fusion(known, unknown, default_part="movr_loss")
    clean = fit_fusion(KNOWN, OPEN, default_part="movr_loss")
    np.testing.assert_allclose(fusion.weights, clean.weights, atol=0.05)
    np.testing.assert_allclose(fusion.stds, clean.stds, rtol=0.05)
    assert not np.isfinite(fusion.scores(known)[5])
    with pytest.raises(DataError, match="none of the 400"):
        fit_fusion(np.full_like(KNOWN, np.nan), None, default_part="movr_loss")


def test_too_few_open_images_to_cross_validate_leave_the_default_part():
    fusion = fit_fusion(KNOWN, OPEN[:19], default_part="movr_loss")
    assert list(fusion.weights) == [0, 0, 1, 0, 0]
    assert fusion.note == (
        "weight 1 on movr_loss: the outliers weigh nothing: 19 images are left beside those that the "
        "discriminator learns from, too few to cross-validate on; 40 separate ones in all are enough"
    )
    assert "5-fold AUROC" in fit_fusion(KNOWN, OPEN[:20], default_part="movr_loss").note


def test_tracks_share_a_fold_so_that_two_tracks_cannot_be_cross_validated():
    groups = np.arange(len(OPEN)) % 2
    fusion = fit_fusion(KNOWN, OPEN, default_part="movr_loss", open_groups=groups)
    assert "too few" in fusion.note


def test_the_same_parts_give_the_same_fusion_as_plain_json():
    first, second = (json.dumps(asdict(fit_fusion(KNOWN, OPEN, default_part="movr_loss"))) for _ in range(2))
    assert first == second and set(json.loads(first)) == {*("parts", "means", "stds", "weights", "note")}


def test_a_default_part_that_is_not_there_is_refused_with_the_near_ones():
    with pytest.raises(UsageError, match=r"did you mean 'log_jacobian'\?"):
        fit_fusion(KNOWN, None, default_part="log_jacobean")
    with pytest.raises(DataError, match=r"5 parts must be \[n, 5\]"):
        fit_fusion(KNOWN[:, :4], None, default_part="movr_loss")


def test_given_weights_of_either_sign_keep_their_sign_and_magnitudes_that_sum_to_one():
    given = GivenWeights({"movr_loss": 0.5, "max_logit": 0.1, "log_norm": -0.4}, "by hand")
    fusion = fit_fusion(KNOWN, None, default_part="movr_loss", given=given)
    assert fusion.used() == pytest.approx({"movr_loss": 0.5, "max_logit": 0.1, "log_norm": -0.4})
    still = KNOWN.copy()
    still[:, column("max_logit")] = 3.0  # it does not vary here: its share goes to the others
    fusion = fit_fusion(still, None, default_part="movr_loss", given=given)
    assert fusion.used() == pytest.approx({"movr_loss": 0.5 / 0.9, "log_norm": -0.4 / 0.9})


def settled(unknown, **groups):
    given = GivenWeights({"movr_loss": 0.9, "log_jacobian": 0.1}, "by folds")
    return settled_by_outliers(given, PARTS, KNOWN.astype(float), unknown.astype(float), **groups)


def test_outliers_that_cannot_be_cross_validated_leave_the_given_weights():
    weights = {"movr_loss": 0.9, "log_jacobian": 0.1}
    for found in (settled(OPEN[:19]), settled(OPEN, open_groups=np.arange(len(OPEN)) % 2)):
        assert found.weights == weights and "the outliers weigh nothing: " in found.note
    assert "40 images in 2 groups are left" in settled(OPEN[:40], open_groups=np.arange(40) % 2).note


def test_the_number_of_outliers_that_is_told_is_enough_and_one_less_is_not():
    # Half of them, rounded down, are for the discriminator: what is left of 39 and of 38 is 20 and 19.
    half = FEWEST_OUTLIERS // 2
    assert not too_few_to_weigh(400, half) and too_few_to_weigh(400, half - 1)
    assert "19 known select images, too few" in too_few_to_weigh(19, 400)


def test_outliers_choose_the_given_weights_with_the_discriminator_or_neither():
    found = settled(OPEN)
    assert found.weights["discriminator"] > 0.4 and sum(found.weights.values()) == pytest.approx(1)
    # The two given weights keep their ratio: 200 outliers say no more about them than the folds did.
    assert found.weights["movr_loss"] == pytest.approx(9 * found.weights["log_jacobian"])
    assert "real outliers chose: with the discriminator (5-fold AUROC " in found.note
    other = settled(parts(300, [0, 0, 0, 3.0, 0], seed=8))  # what the given weights do not look at
    assert other.weights["max_logit"] > 0.8 and "chose: outliers alone" in other.note


def test_where_only_a_negative_given_weight_is_left_the_default_part_decides():
    still = KNOWN.copy()
    still[:, column("max_logit")] = 3.0
    given = GivenWeights({"max_logit": 0.6, "log_norm": -0.4}, "by hand")
    fusion = fit_fusion(still, None, default_part="movr_loss", given=given)
    assert fusion.used() == {"movr_loss": 1.0}
