"""Folds of classes: each leaves some known classes out, and these are its unknowns."""

from collections.abc import Sequence

import numpy as np

from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Parts, digest, four_parts
from edgeosr.errors import DataError

FEWEST_CLASSES = 3
# A fold that keeps less than this share of the full network's accuracy above chance, on the same images and
# among the same classes, has collapsed: it learnt too little. Three folds of digits, trained for one epoch,
# kept at most 0.81 by any count (``test_class_folds.py``).
KEPT_ACCURACY = 0.85
# Images on either side below which a fold tells nothing.
FEWEST_IMAGES = 8
# A single fold cannot be checked on another.
FEWEST_FOLDS = 2
MOST_NAMED = 3


def planned_folds(classes: int, most: int, seed: int) -> list[tuple[int, ...]]:
    """Return the labels that each fold leaves out: one class a fold, or groups of classes if they are many.

    Empty for fewer than ``FEWEST_CLASSES`` classes and for ``most`` = 0.
    """
    if classes < FEWEST_CLASSES or most == 0:
        return []
    if classes <= most:
        return [(label,) for label in range(classes)]
    order = np.random.default_rng([seed, classes]).permutation(classes)
    return [tuple(sorted(group.tolist())) for group in np.array_split(order, most)]


def fold_parts(image_set: ImageSet, parts: Parts, kept: Sequence[str]) -> Parts:
    """Cut the images of the classes ``kept`` as a run on them alone does.

    Proves that nothing leaks: each of the four parts is the full part without the classes left out, so that
    no calibrate or test image of the full run is ever trained on.

    Args:
        image_set: what ``parts`` was cut from.
        parts: of all known classes.
        kept: names of the classes that the fold knows, in the order of ``parts.known``.

    Raises:
        DataError: a part differs: the images, or their groups, are not those of ``parts``.
    """
    own = four_parts(
        image_set, known=kept, seed=parts.seed, fractions=parts.fractions,
        test_fraction=parts.test_fraction, per_group=parts.per_group,
    )  # fmt: skip
    for name in ("train", "select", "calibrate", "test"):
        full = getattr(parts, name).of_classes(kept)
        if digest(full) != own.digests[name]:
            mine = getattr(own, name)
            names, others = ({part.name_of(i) for i in range(len(part))} for part in (mine, full))
            image = min(names ^ others, default="an image")
            raise DataError(
                f"without {named_classes([known for known in parts.known if known not in kept])}, "
                f"{image} of {image_set.title} would change between the parts: a fold sees other groups than "
                "the run was cut by; please report this, and train without folds: --folds 0"
            )
    return own


def fold_sides(parts: Parts, left_out: Sequence[str]) -> tuple[int, int]:
    """Return how many images tell what a fold is worth: of what it knows, and of what it never saw.

    Args:
        parts: of all known classes.
        left_out: names of the classes that the fold leaves out.
    """
    labels = [parts.known.index(name) for name in left_out]
    train, select = (np.isin(part.labels, labels) for part in (parts.train, parts.select))
    return int(np.sum(~select)), int(np.sum(train) + np.sum(select))


def has_collapsed(accuracy: float, full_accuracy: float, classes: int) -> bool:
    """Tell whether a fold's network is so much worse than the full one that it says nothing about it.

    A fold knows fewer classes than the full network, and other ones: they may be the hard ones. So both are
    asked the same: which of the fold's classes is it, on images of these?

    Args:
        accuracy: of the fold, 0 to 1.
        full_accuracy: of the full network among the same classes on the same images, or the least that it
            can be (``least_accuracy``).
        classes: how many classes the fold knows, at least 2.
    """
    full = max(above_chance(full_accuracy, classes), 0.0)
    return above_chance(accuracy, classes) < KEPT_ACCURACY * full


def above_chance(accuracy: float, classes: int) -> float:
    """Return how far an accuracy lies on the way from guessing among ``classes`` (0) to all right (1)."""
    return (accuracy - 1 / classes) / (1 - 1 / classes)


def least_accuracy(full_accuracy: float, images: int, of_fold: int) -> float:
    """Return the least accuracy that the full network can have among a fold's classes, 0 to 1.

    All its errors may lie on the fold's images, and with fewer classes to choose from it makes no more.

    Args:
        full_accuracy: of the full network on all select images.
        images: how many these are.
        of_fold: how many of them are of the fold's classes, at least 1.
    """
    return max(0.0, 1 - (1 - full_accuracy) * images / of_fold)


def named_classes(names: Sequence[str]) -> str:
    """Return class names for a line of text, the first ``MOST_NAMED`` of them."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
