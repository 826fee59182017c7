"""Folds of classes, and the proof that no image of the full run's other parts is trained on."""

import dataclasses

import numpy as np
import pytest

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.class_folds import fold_parts, has_collapsed, least_accuracy, named_classes, planned_folds
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import four_parts
from edgeosr.errors import DataError

DIGITS = open_image_set("digits")
KNOWN = ("8", "1", "5", "3")


def test_every_class_is_left_out_once_and_many_classes_go_in_groups():
    assert planned_folds(4, 10, 0) == [(0,), (1,), (2,), (3,)]
    groups = planned_folds(23, 10, 0)
    assert len(groups) == 10 and sorted(label for group in groups for label in group) == list(range(23))
    assert {len(group) for group in groups} == {2, 3}
    assert planned_folds(23, 10, 0) == groups != planned_folds(23, 10, 1)
    assert planned_folds(2, 10, 0) == planned_folds(5, 0, 0) == []


@pytest.mark.parametrize("per_group", [None, 1])
def test_a_fold_s_parts_are_the_full_run_s_without_the_classes_left_out(per_group):
    parts = four_parts(DIGITS, known=KNOWN, seed=5, per_group=per_group)
    own = fold_parts(DIGITS, parts, ("8", "5", "3"))
    trained = {own.train.name_of(i) for i in range(len(own.train))}
    for part in (parts.select, parts.calibrate, parts.test):
        assert not trained & {part.name_of(i) for i in range(len(part))}
    kept = parts.train.labels != KNOWN.index("1")
    assert trained == {parts.train.name_of(int(i)) for i in np.flatnonzero(kept)}


def straddling() -> ImageSet:
    """40 images of each of three classes; image 2 of class a and image 2 of class b are one track."""
    labels = np.repeat(np.arange(3), 40)
    groups = np.arange(120)
    groups[42] = groups[2]
    images = LabelledImages(
        class_names=("a", "b", "c"),
        labels=labels,
        groups=groups,
        read=lambda i: np.zeros((4, 4, 3), np.uint8),
        name_of=lambda i: f"{'abc'[i // 40]}/{i % 40}",
    )
    return ImageSet(source="x", title="three classes", train=images, test=None)


def test_a_group_of_several_classes_stays_in_its_part_in_every_fold():
    mixed = straddling()
    for seed in range(12):
        parts = four_parts(mixed, seed=seed)
        for kept in (("b", "c"), ("a", "c"), ("a", "b")):
            assert len(fold_parts(mixed, parts, kept).train) == len(parts.train.of_classes(kept))


def test_a_fold_that_would_be_cut_otherwise_is_refused_by_an_image_s_name():
    mixed = straddling()
    other = dataclasses.replace(mixed, train=dataclasses.replace(mixed.train, groups=np.arange(120) // 2))
    with pytest.raises(DataError, match=r"without a, b/.* would change between the parts.*--folds 0"):
        fold_parts(mixed, four_parts(other, seed=0), ("b", "c"))


def test_many_classes_are_named_shortly():
    assert named_classes(["cat", "dog"]) == "cat, dog"
    assert named_classes(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


@pytest.mark.parametrize(
    ("accuracy", "collapsed"),
    [(0.7895, True), (0.8103, True), (0.8305, True), (0.22, True), (0.90, False), (0.966, False), (1, False)],
)
def test_a_fold_far_below_the_full_network_has_collapsed(accuracy, collapsed):
    # The first three: folds of digits that know 4 classes, after one epoch, beside a run of 96.6 % on 6: of
    # what it can be on theirs, the least.
    assert has_collapsed(accuracy, least_accuracy(0.966, 180, 120), 4) == collapsed
    assert has_collapsed(accuracy, 0.966, 4) == collapsed


@pytest.mark.parametrize("accuracy", [0.22, 0.44])
def test_folds_of_20_traffic_signs_that_collapsed_are_told_by_the_records_alone(accuracy):
    # 30 classes at 93 %: on the 20 of the fold it has 89.5 % at least.
    assert has_collapsed(accuracy, least_accuracy(0.93, 3000, 2000), 20)
    assert not has_collapsed(0.93, least_accuracy(0.93, 3000, 2000), 20)


def test_a_weak_network_may_have_weak_folds():
    assert not has_collapsed(0.72, 0.75, 4)
    assert has_collapsed(0.25, 0.75, 4)
    # One that only guesses among these classes says nothing against a fold.
    assert not has_collapsed(0.25, 0.2, 4) and has_collapsed(0.2, 0.2, 4)


def test_the_errors_of_the_full_network_may_all_lie_on_the_classes_that_a_fold_knows():
    # Of three classes two look alike: 0.812 in all is 0.718 on those two, and a fold of them is no worse.
    least = least_accuracy(0.812, 3000, 2000)
    assert least == pytest.approx(0.718)
    assert not has_collapsed(0.718, least, 2)
    assert least_accuracy(0.2, 30, 10) == 0 and least_accuracy(1.0, 30, 10) == 1
