"""The cut of known images into parts, group by group.

It is stratified by class, and depends on the seed and on the names of the images alone. A group that holds
images of several classes of the set, known or not, has no class of its own: such groups are cut together, so
that which classes are known moves none of them: a fold without some classes keeps every image in its part.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.errors import DataError

Fractions = tuple[float, float, float]
Indices = NDArray[np.int64]


def cut(
    pool: LabelledImages, image_set: ImageSet, seed: int, fractions: Fractions, held_out: float | None
) -> tuple[Indices, Indices, Indices, Indices]:
    """Return the indices, ascending, of train, select, calibrate and (empty if official) test images.

    Args:
        pool: the images to cut, of the known classes.
        image_set: that they are from; which of its classes are known moves no image of the others.
        seed: of the cut.
        fractions: of train, select and calibrate.
        held_out: share of test; None if it is official.

    Raises:
        DataError: a class has too few groups for the parts.
    """
    unique, first, group_of = np.unique(pool.groups, return_index=True, return_inverse=True)
    mixed = _cut_mixed(image_set.train, seed, fractions, held_out)
    part_of = np.array([mixed.get(group, -1) for group in unique.tolist()], np.int64)
    shared = np.unique(pool.labels[part_of[group_of.reshape(-1)] >= 0])
    own_label = np.where(part_of < 0, pool.labels[first], -1)
    keys = np.array([_key(seed, pool.name_of(int(i))) for i in first])
    parts = 3 if held_out is None else 4
    for label, name in enumerate(pool.class_names):
        mine = np.flatnonzero(own_label == label)
        mine = mine[np.argsort(keys[mine], kind="stable")]
        if len(mine) >= parts:
            part_of[mine] = np.repeat(np.arange(4), _counts(len(mine), fractions, held_out))
        elif label in shared:
            part_of[mine] = 0  # the groups that it shares with other classes are in the other parts
        else:
            raise _too_few(name, len(mine), parts, image_set)
    part = part_of[group_of.reshape(-1)]
    train, select, calibrate, test = (np.flatnonzero(part == i) for i in range(4))
    for chosen in (train, select, calibrate, test)[:parts]:
        missing = np.setdiff1d(np.arange(len(pool.class_names)), pool.labels[chosen])
        if len(missing):
            label = int(missing[0])
            raise _too_few(
                pool.class_names[label], len(np.unique(pool.groups[pool.labels == label])), parts, image_set
            )
    return train, select, calibrate, test


def _cut_mixed(
    images: LabelledImages, seed: int, fractions: Fractions, held_out: float | None
) -> dict[int, int]:
    """Return the part of each group that holds several classes, 0 to 3: train, select, calibrate, test.

    Args:
        images: of all classes of the set: which of them are known must not move a group.
        seed: of the cut.
        fractions: of train, select and calibrate.
        held_out: share of test; None if it is official.
    """
    mixed = np.flatnonzero(images.mixed)
    groups, first = np.unique(images.groups[mixed], return_index=True)
    keys = np.array([_key(seed, images.name_of(int(mixed[i]))) for i in first])
    order = groups[np.argsort(keys, kind="stable")].tolist()
    if len(order) < (3 if held_out is None else 4):
        return dict.fromkeys(order, 0)
    return dict(
        zip(order, np.repeat(np.arange(4), _counts(len(order), fractions, held_out)).tolist(), strict=True)
    )


def _key(seed: int, name: str) -> str:
    # A hash, not a random generator: the same on every NumPy, and blind to the order of the images.
    return hashlib.sha256(f"{seed}\t{name}".encode()).hexdigest()


def _counts(groups: int, fractions: Fractions, held_out: float | None) -> tuple[int, int, int, int]:
    """Return how many groups go to train, select, calibrate and test (0 if official); else each at least one.

    Args:
        groups: how many there are, at least one for each part.
        fractions: of train, select and calibrate.
        held_out: share of test; None if it is official.
    """
    test = 0 if held_out is None else min(max(1, _rounded(held_out * groups)), groups - 3)
    rest = groups - test
    select = min(max(1, _rounded(fractions[1] * rest)), rest - 2)
    calibrate = min(max(1, _rounded(fractions[2] * rest)), rest - select - 1)
    return rest - select - calibrate, select, calibrate, test


def _too_few(name: str, groups: int, parts: int, image_set: ImageSet) -> DataError:
    assert image_set.grouping is not None
    found = image_set.grouping
    why = f" ({found.described()}; if these are none, see --groups)" if found.groups < found.images else ""
    return DataError(
        f"the class {name!r} of {image_set.title} has {groups} separate images (or groups) to train from; "
        f"at least {parts} are needed, one for each part; add images or leave the class out of the known "
        f"ones (an output of MODEL.onnx: --unknown-outputs {name}){why}"
    )


def _rounded(value: float) -> int:
    return int(value + 0.5)
