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


def test_a_group_of_several_classes_gives_one_image_of_each():
    # Ten patients, each with two pictures of every class.
    labels, groups = np.tile([0, 0, 1, 1, 2, 2], 10), np.repeat(np.arange(10), 6)
    sample = known_sample(
        SimpleNamespace(select=part(labels, groups), train=part([], []), known=("a", "b", "c"))
    )
    assert np.bincount(sample.labels).tolist() == [10, 10, 10]
    assert len({(int(g), int(n)) for g, n in zip(sample.groups, sample.labels, strict=True)}) == 30
