"""Folds of left-out classes on features of a frozen backbone, and what happens without them."""

from dataclasses import replace

import numpy as np
import pytest

from edgeosr.data.class_folds import planned_folds
from edgeosr.export.frozen_features import FrozenFeatures, KnownFeatures
from edgeosr.export.frozen_folds import FrozenRecipe, frozen_folds, full_as_fold
from edgeosr.export.left_out import candidates_for, decide_weights
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
    discriminator = more.pop("discriminator", False)
    scorer = scorer_for(train, classes=classes, discriminator=discriminator)
    kept = KnownFeatures(train=train, select=features(per_class, 1, classes=classes), **more)
    folds = frozen_folds(scorer, kept, recipe, planned_folds(classes, most_folds, recipe.seed))
    rate = more.pop("false_reject_rate", 0.05)
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
    assert "5 heads of 1 epochs, each without 1 of 5 classes, on 300" in capsys.readouterr().err


def test_false_accepts_are_estimated_at_the_bundles_own_rate_too():
    record = decided(false_reject_rate=0.03).record
    rates = [one.false_reject for one in record.false_accepts]
    # 80 select images a fold: 1 % would need 99.
    assert rates == [0.02, 0.03, 0.05, 0.1, 0.2]
    assert {one.folds for one in record.false_accepts} == {5}
    said = record.false_accepts_described(0.03)
    assert said.startswith("at 3 % false rejects, on left-out classes: ") and "never promised" in said
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
    assert "far below the full run's" in found.record.folds[0].dropped
    assert "3 folds" in found.given.note
    lines = found.record.described()
    assert lines[0].startswith("AUROC, mean +- spread of 3 folds: ") and "(estimates, not test" in lines[0]
    assert lines[1].startswith("set aside: ant (select accuracy ") and len(lines) == 3


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


def test_real_outliers_are_one_more_fold_and_bring_the_discriminator():
    found = decided(outliers=strangers(50, 3), discriminator=True)
    assert [fold.classes for fold in found.record.folds] == [*((name,) for name in NAMES), ()]
    assert found.record.folds[-1].name == "real outliers"
    assert (found.record.folds[-1].known, found.record.folds[-1].unknown) == (100, 50)
    assert "discriminator" in found.record.parts
    assert "discriminator" not in decided(discriminator=True).record.parts


def test_real_outliers_decide_alone_where_no_fold_can_be_used():
    assert decided(outliers=strangers(50, 3), per_class=1).given is None
    assert decided(outliers=strangers(50, 3), classes=2).given is None


def test_the_same_features_give_the_same_weights_and_record():
    first, second = decided(), decided()
    assert first == second


def test_an_embedding_without_the_two_companions_keeps_the_rule_of_one_part():
    train = features(60, 0)
    bare = replace(scorer_for(train), constants={}, fusion=unfitted_fusion(("movr_loss", "max_logit")))
    kept = KnownFeatures(train=train, select=features(20, 1))
    found = decide_weights(
        [], full_as_fold(bare, kept), candidates_for("movr_loss", frozen=True), classes=NAMES, why_none=""
    )
    assert found.given is None and found.record is None
