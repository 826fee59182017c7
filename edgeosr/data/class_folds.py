"""Folds of classes: each leaves some known classes out, and these are its unknowns."""

from collections.abc import Sequence

import numpy as np

from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Parts, digest, four_parts
from edgeosr.errors import DataError

FEWEST_CLASSES = 3
# A fold that keeps less than this share of the full network's accuracy above chance has collapsed. Of 36 that
# took about as many steps as their run, on six image sets, each kept 0.98 or more; after one epoch three of
# digits kept 0.75 to 0.81.
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


def has_collapsed(accuracy: float, classes: int, full_accuracy: float, full_classes: int) -> bool:
    """Tell whether a fold's network is so much worse than the full one that it says nothing about it.

    Args:
        accuracy: of the fold on the classes that it knows, 0 to 1.
        classes: how many these are, at least 2.
        full_accuracy: of the full network.
        full_classes: how many it knows.
    """
    above_chance = (accuracy - 1 / classes) / (1 - 1 / classes)
    full_above_chance = (full_accuracy - 1 / full_classes) / (1 - 1 / full_classes)
    return above_chance < KEPT_ACCURACY * full_above_chance


def named_classes(names: Sequence[str]) -> str:
    """Return class names for a line of text, the first ``MOST_NAMED`` of them."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
