"""Which known classes each fold leaves out, and which folds say something about the full network."""

import numpy as np

FEWEST_CLASSES = 3
# A fold that keeps less than this share of the full network's accuracy above chance has collapsed.
KEPT_ACCURACY = 0.7
# Images on either side below which a fold tells nothing.
FEWEST_IMAGES = 8


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
