"""Every class is looked at, also where groups hold several classes."""

from types import SimpleNamespace

import numpy as np

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.export.foreign.known_sample import known_sample


def part(labels, groups):
    return LabelledImages(
        class_names=("a", "b", "c"),
        labels=np.array(labels, np.int64),
        groups=np.array(groups, np.int64),
        read=lambda i: None,
        name_of=str,
    )


def parts(**given):
    return SimpleNamespace(
        known=("a", "b", "c"),
        **{name: given.get(name, part([], [])) for name in ("select", "train", "calibrate", "test")},
    )


def test_a_group_of_several_classes_gives_one_image_of_each():
    # Ten patients, each with two pictures of every class.
    labels, groups = np.tile([0, 0, 1, 1, 2, 2], 10), np.repeat(np.arange(10), 6)
    sample = known_sample(parts(select=part(labels, groups)))
    assert np.bincount(sample.labels).tolist() == [10, 10, 10]
    assert len({(int(g), int(n)) for g, n in zip(sample.groups, sample.labels, strict=True)}) == 30


def test_only_a_class_of_few_images_borrows_those_of_the_other_parts():
    select = part([0] * 12 + [1] * 2 + [2] * 2, range(16))
    calibrate = part([0] * 9 + [1] * 2 + [2] * 30, range(16, 57))
    # Groups of an official test set begin at 0 again, and its two pictures of one group are one.
    official = part([0, 1, 1], [0, 1, 1])
    sample = known_sample(parts(select=select, calibrate=calibrate, test=official))
    assert np.bincount(sample.labels).tolist() == [12, 5, 10]
    assert [sample.name_of(i) for i in range(12, 17)] == ["12", "13", "9", "10", "1"]
