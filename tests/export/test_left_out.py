"""Folds of left-out classes on features of a frozen backbone, and what happens without them."""

from dataclasses import replace

import numpy as np
import pytest

from edgeosr.data.class_folds import has_collapsed, planned_folds
from edgeosr.export.fold import NOTHING, Fold, PartValues
from edgeosr.export.frozen_features import FrozenFeatures, KnownFeatures
from edgeosr.export.frozen_folds import FrozenRecipe, frozen_folds, full_as_fold
from edgeosr.export.left_out import _dropped, candidates_for, decide_weights
from edgeosr.export.weights import GivenWeights
from edgeosr.metrics import auroc
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.parts import carried_parts, with_constants
from edgeosr.scoring.scorer import Head, Scorer

DIMENSION = 12
NAMES = ("ant", "bee", "cat", "dog", "eel")
EQUAL = {"bank", "relative_mahalanobis", "movr_loss"}


def features(per_class: int, seed: int, *, classes: int = 5, spread: float = 0.25) -> FrozenFeatures:
    """Positive embeddings, as after a ReLU: one bump a class."""
    random = np.random.default_rng(seed)
    labels = np.arange(per_class * classes) % classes
    z = np.abs(np.eye(DIMENSION)[labels] + spread * random.normal(size=(len(labels), DIMENSION)))
    return FrozenFeatures(embeddings=z.astype(np.float32), jacobian_squared=None, labels=labels)


def strangers(images: int, seed: int) -> FrozenFeatures:
    """Images of no class: bumps where no class has one."""
    found = features(images, seed, classes=1)
    return replace(found, embeddings=np.roll(found.embeddings, 8, axis=1))


def head_of_means(train: FrozenFeatures, select: FrozenFeatures, classes: int) -> Head:
    assert set(train.labels) == set(range(classes)) == set(select.labels)
    means = np.stack([train.embeddings[train.labels == label].mean(axis=0) for label in range(classes)])
    unit = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    bias = np.zeros(classes, np.float32)
    return Head(kind="cosine", weight=unit, bias=bias, temperature=16.0, margin=0.3)


RECIPE = FrozenRecipe(train_head=head_of_means, epochs=1, seed=0)


def scorer_for(train: FrozenFeatures, *, classes: int = 5, discriminator: bool = False) -> Scorer:
    layers = ((np.ones((1, DIMENSION), np.float32), np.zeros(1, np.float32)),) if discriminator else ()
    scorer = Scorer(
        dimension=DIMENSION,
        classes=classes,
        head=head_of_means(train, train, classes),
        fusion=unfitted_fusion(()),
        threshold=0.0,
        layers=layers,
    )
    scorer = with_constants(scorer, train.for_parts(classes, 0))
    return replace(scorer, fusion=unfitted_fusion(carried_parts(scorer)))


def decided(
    *, classes: int = 5, most_folds: int = 10, recipe: FrozenRecipe = RECIPE, per_class: int = 20, **more
):
    train = features(3 * per_class, 0, classes=classes)
    discriminator, rate = more.pop("discriminator", False), more.pop("false_reject_rate", 0.05)
    scorer = scorer_for(train, classes=classes, discriminator=discriminator)
    kept = KnownFeatures(train=train, select=features(per_class, 1, classes=classes), **more)
    folds = frozen_folds(scorer, kept, recipe, planned_folds(classes, most_folds, recipe.seed))
    return decide_weights(
        folds,
        full_as_fold(scorer, kept),
        candidates_for("movr_loss", frozen=True),
        classes=NAMES[:classes],
        why_none="said so",
        false_reject_rate=rate,
    )


def test_weights_and_record_come_from_one_fold_a_class(capsys):
    found = decided()
    assert set(found.given.weights) == EQUAL | {"ovr_loss"}
    assert sum(found.given.weights.values()) == pytest.approx(1) and min(found.given.weights.values()) >= 0
    assert [fold.classes for fold in found.record.folds] == [(name,) for name in NAMES]
    # Known: select images of the other four; unknown: train and select images of the one.
    assert {(fold.known, fold.unknown) for fold in found.record.folds} == {(80, 80)}
    assert all(fold.accuracy > 0.9 and fold.auroc > 0.8 and not fold.dropped for fold in found.record.folds)
    assert found.given.note.startswith("weighed on left-out classes, 5 folds: ")
    assert "5 heads of 1 epoch, each without 1 of 5 classes, on 300" in capsys.readouterr().err


def test_false_accepts_are_estimated_at_the_bundles_own_rate_too():
    record = decided(false_reject_rate=0.03).record
    rates = [one.false_reject for one in record.false_accepts]
    # 80 select images a fold: 1 % would need 99.
    assert rates == [0.02, 0.03, 0.05, 0.1, 0.2]
    assert {one.folds for one in record.false_accepts} == {5}
    said = record.false_accepts_described(0.03)
    assert said.startswith("at 3 % false rejects, on left-out classes: ") and "no promise" in said
    assert "not estimated at 1 %" in record.false_accepts_described(0.01)
    assert decided(per_class=1).record.false_accepts == ()


def test_a_head_never_sees_the_class_that_is_left_out():
    seen = []

    def watched(train, select, classes):
        seen.append((train.embeddings, classes))
        return head_of_means(train, select, classes)

    decided(recipe=replace(RECIPE, train_head=watched))
    train = features(60, 0)
    for left, (embeddings, classes) in enumerate(seen):
        assert classes == 4
        np.testing.assert_array_equal(embeddings, train.embeddings[train.labels != left])


def test_without_folds_the_three_parts_weigh_the_same():
    found = decided(most_folds=0)
    assert found.record is None
    assert found.given.weights == pytest.approx(dict.fromkeys(EQUAL, 1 / 3))
    assert found.given.note == "equal weights: said so"


def test_classes_of_few_images_leave_equal_weights_and_say_why():
    found = decided(per_class=1)
    assert found.given.weights == pytest.approx(dict.fromkeys(EQUAL, 1 / 3))
    assert found.given.note == "equal weights: 0 of 5 folds could be used"
    assert found.record.parts == () and found.record.strength is None
    assert found.record.folds[0].dropped == "4 images on one side, 8 are needed"


def collapsing(bad: int):
    """A recipe whose heads of the first ``bad`` folds name classes by chance."""
    made = []

    def train_head(train, select, classes):
        head = head_of_means(train, select, classes)
        made.append(head)
        return replace(head, weight=np.roll(head.weight, 1, axis=0)) if len(made) <= bad else head

    return replace(RECIPE, train_head=train_head)


def test_a_collapsed_fold_is_set_aside_and_told():
    found = decided(recipe=collapsing(2))
    assert [bool(fold.dropped) for fold in found.record.folds] == [True, True, False, False, False]
    assert found.record.folds[0].auroc is None
    dropped = found.record.folds[0]
    # Four classes, so guessing is right on 25 %.
    way = 100 * (dropped.accuracy - 0.25) / 0.75
    assert dropped.dropped.startswith(
        f"it learnt too little: select accuracy {dropped.accuracy:.1%} ({way:.0f} % of the way from "
        "guessing), the full network among the same classes "
    )
    assert dropped.dropped.endswith("a fold counts from 85% of the full network's way on")
    assert "3 folds" in found.given.note
    lines = found.record.described()
    assert lines[0].startswith("AUROC, mean +- spread of 3 folds: ") and "(estimates, not test" in lines[0]
    cat, dog, eel = (found.record.folds[i].auroc for i in (2, 3, 4))
    assert (
        lines[1] == f"the score on what each fold left out: cat: {cat:.3f} | dog: {dog:.3f} | eel: {eel:.3f}"
    )
    assert lines[2].startswith("set aside: ant (it learnt too little") and len(lines) == 4


def test_a_fold_of_the_hard_classes_counts_as_long_as_it_does_as_well_as_the_full_network():
    """Two classes are alike, three are easy: on the alike ones the full network is no better than a fold."""

    def alike(per_class: int, seed: int) -> FrozenFeatures:
        easy, hard = features(per_class, seed), features(per_class, seed, spread=1.0)
        rows = np.where(easy.labels[:, None] < 3, easy.embeddings, hard.embeddings)
        return replace(easy, embeddings=rows)

    train, select = alike(60, 0), alike(100, 1)
    scorer, kept = scorer_for(train), KnownFeatures(train=train, select=select)
    (fold,) = frozen_folds(scorer, kept, RECIPE, [(0, 1, 2)])
    full = full_as_fold(scorer, kept).accuracy
    assert full > 0.8 and fold.accuracy < 0.75
    assert fold.full_accuracy == pytest.approx(fold.accuracy, abs=0.05)
    logits = (
        select.embeddings / np.linalg.norm(select.embeddings, axis=1, keepdims=True) @ scorer.head.weight.T
    )
    hard = select.labels >= 3
    expected = np.mean(logits[hard][:, 3:].argmax(axis=1) + 3 == select.labels[hard])
    assert fold.full_accuracy == expected
    assert not _dropped(fold, ["movr_loss"])
    assert has_collapsed(fold.accuracy, full, 2)  # so it had been set aside


def test_one_fold_that_is_left_over_cannot_be_checked_so_weights_are_equal():
    found = decided(recipe=collapsing(4))
    assert found.given.weights == pytest.approx(dict.fromkeys(EQUAL, 1 / 3))
    assert found.given.note == "equal weights: 1 of 5 folds could be used"
    assert found.record.folds[4].dropped == "alone it cannot be checked"


def test_folds_that_would_leave_one_class_are_not_trained():
    found = decided(classes=3, most_folds=2)
    assert sorted(fold.dropped for fold in found.record.folds) == [
        "alone it cannot be checked",
        "it leaves fewer than 2 classes to know",
    ]


def test_real_outliers_are_no_fold_and_leave_what_each_part_won_on_left_out_classes():
    found = decided(outliers=strangers(50, 3), discriminator=True)
    assert found.record == decided(discriminator=True).record
    assert "discriminator" not in found.record.parts and len(found.record.folds) == 5
    assert "real outliers chose: " in found.given.note and "50 outlier images" in found.given.note


SHIFTS = {"bank": 0.9, "relative_mahalanobis": 0.9, "movr_loss": 0.7, "ovr_loss": 0.1}


def made_up_side(random: np.random.Generator, n: int, shifts: dict[str, float]) -> PartValues:
    by_part = {name: shift + random.normal(size=n) for name, shift in shifts.items()}
    return PartValues(correct=np.zeros(n, bool), by_part=by_part)


def made_up(disc: float, seed: int) -> tuple[list[Fold], Fold]:
    """Four folds without a discriminator, and the full network with one that learnt from real outliers."""
    random = np.random.default_rng(seed)
    sides = [
        [
            made_up_side(random, 150, {name: share * shift for name, shift in SHIFTS.items()})
            for share in (0, 1)
        ]
        for _ in range(4)
    ]
    folds = [
        Fold(
            left_out=(left,), classes=4, known=replace(known, correct=~known.correct), unknown=unknown,
            full_accuracy=1.0,
        )
        for left, (known, unknown) in enumerate(sides)
    ]  # fmt: skip
    known = made_up_side(random, 200, dict.fromkeys([*SHIFTS, "discriminator"], 0.0))
    unknown = made_up_side(random, 200, {**SHIFTS, "discriminator": disc})
    known = replace(known, correct=~known.correct)
    return folds, Fold(left_out=(), classes=5, known=known, unknown=unknown)


def won(weights: dict[str, float], known: PartValues, unknown: PartValues) -> float:
    return auroc(
        *(sum(weight * side.by_part[name] for name, weight in weights.items()) for side in (known, unknown))
    )


def settled(folds: list[Fold], full: Fold) -> GivenWeights | None:
    candidates = candidates_for("movr_loss", frozen=True)
    return decide_weights(folds, full, candidates, classes=NAMES, why_none="").given


@pytest.mark.parametrize("seed", range(3))
def test_a_good_discriminator_gets_its_weight_beside_what_left_out_classes_said(seed):
    folds, full = made_up(1.5, seed)
    random = np.random.default_rng([seed, 1])
    known = made_up_side(random, 2000, dict.fromkeys([*SHIFTS, "discriminator"], 0.0))
    fresh = made_up_side(random, 2000, {**SHIFTS, "discriminator": 1.5})
    given = settled(folds, full)
    assert 0.2 < given.weights["discriminator"] < 0.7
    assert sum(abs(weight) for weight in given.weights.values()) == pytest.approx(1)
    without = settled(folds, replace(full, unknown=NOTHING))
    assert "discriminator" not in without.weights
    assert won(given.weights, known, fresh) > won(without.weights, known, fresh) + 0.05


def test_a_discriminator_that_tells_nothing_gets_no_weight():
    weights = [settled(*made_up(0.0, seed)).weights for seed in range(6)]
    assert [found.get("discriminator", 0.0) for found in weights] == [0.0] * 6


def test_a_part_that_the_full_network_lacks_is_not_weighed():
    folds, full = made_up(0.0, 0)
    random = np.random.default_rng(9)
    for fold in folds:
        fold.known.by_part["discriminator"] = random.normal(size=150)
        fold.unknown.by_part["discriminator"] = random.normal(size=150) + 4.0
    bare = replace(full, unknown=NOTHING)
    assert settled(folds, bare).weights["discriminator"] > 0.1
    del bare.known.by_part["discriminator"]
    given = settled(folds, bare)
    assert set(given.weights) <= set(bare.known.by_part) and sum(given.weights.values()) == pytest.approx(1)


def test_a_part_without_finite_values_sets_its_fold_aside_and_says_why():
    folds, full = made_up(0.0, 0)
    folds[1].known.by_part["bank"][5:] = np.inf
    found = decide_weights(folds, full, candidates_for("movr_loss", frozen=True), classes=NAMES, why_none="")
    assert [bool(fold.dropped) for fold in found.record.folds] == [False, True, False, False]
    said = "5 independent images with finite score parts on one side, 8 are needed"
    assert found.record.folds[1].dropped == said


def test_a_track_counts_as_one_image_of_a_fold():
    folds, full = made_up(0.0, 0)
    for fold in folds[:2]:
        tracks = np.arange(150) % (7 if fold is folds[0] else 8)
        object.__setattr__(fold.unknown, "groups", tracks)
    found = decide_weights(folds, full, candidates_for("movr_loss", frozen=True), classes=NAMES, why_none="")
    assert [fold.dropped.split()[0] for fold in found.record.folds if fold.dropped] == ["7"]
    assert not found.record.folds[1].dropped


def test_two_known_classes_keep_the_rule_of_one_part_and_the_note_says_why():
    given = decided(classes=2).given
    assert given.weights == {"movr_loss": 1.0}
    assert given.note == "weight 1 on movr_loss: fewer than 3 known classes"


def test_real_outliers_decide_alone_where_no_fold_can_be_used():
    assert decided(outliers=strangers(50, 3), most_folds=0).given is None
    assert decided(outliers=strangers(50, 3), recipe=collapsing(9)).given is None
    assert decided(outliers=strangers(50, 3), classes=2).given is None


@pytest.mark.parametrize("classes", [2, 3])
def test_outliers_that_are_too_few_to_weigh_leave_what_ships_without_them(classes):
    for circumstances in ({"most_folds": 0}, {"per_class": 1}, {"recipe": collapsing(9)}):
        circumstances = {"per_class": 20, **circumstances}
        none = decided(classes=classes, **circumstances)
        few = decided(classes=classes, outliers=strangers(10, 3), **circumstances)
        assert few.given.weights == none.given.weights and few.record == none.record
        assert few.given.note.startswith(f"{none.given.note}; the outliers weigh nothing: ")
        assert none.given.weights == (
            {"movr_loss": 1.0} if classes == 2 else pytest.approx(dict.fromkeys(EQUAL, 1 / 3))
        )


def test_the_same_features_give_the_same_weights_and_record():
    first, second = decided(), decided()
    assert first == second


def test_an_embedding_without_the_two_companions_keeps_the_rule_of_one_part():
    train = features(60, 0)
    bare = replace(scorer_for(train), constants={}, fusion=unfitted_fusion(("movr_loss", "max_logit")))
    kept = KnownFeatures(train=train, select=features(20, 1))
    found = decide_weights(
        [], full_as_fold(bare, kept), candidates_for("movr_loss", frozen=True), classes=NAMES, why_none="so"
    )
    assert found.given is not None and found.record is None
    assert found.given.weights == {"movr_loss": 1.0}
    assert found.given.note == (
        "weight 1 on movr_loss: so, and no class has two images in the train part, which it takes for the "
        "nearest known image, relative Mahalanobis distance"
    )
