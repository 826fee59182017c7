"""Which classes are known in trial 0 to 4 of each set (``--split``).

MNIST and CIFAR-10: the lists of ARPL (``split.py: splits_2020``, repository iCGY96/ARPL), in the printed
order, which is the order of the labels. No lists are published for the others: those of Fashion-MNIST and
digits are MNIST's by class id; those of GTSRB, NEU and DTD are our choice, given by their unknown classes.
"""

from collections.abc import Sequence

MNIST_KNOWN = (
    (2, 4, 5, 9, 8, 3),
    (3, 2, 6, 9, 4, 0),
    (5, 8, 3, 2, 4, 6),
    (3, 7, 8, 4, 0, 5),
    (6, 3, 4, 9, 8, 2),
)
CIFAR10_KNOWN = (
    (0, 6, 4, 9, 1, 7),
    (7, 6, 4, 9, 0, 1),
    (1, 5, 7, 3, 9, 4),
    (8, 6, 1, 9, 0, 7),
    (2, 4, 1, 7, 9, 6),
)
GTSRB_UNKNOWN = (
    (0, 6, 7, 14, 15, 19, 20, 26, 28, 31, 32, 35, 40),
    (0, 5, 6, 7, 13, 16, 18, 20, 22, 25, 28, 29, 31),
    (4, 5, 9, 18, 21, 22, 24, 28, 29, 32, 34, 35, 36),
    (1, 5, 7, 13, 19, 23, 25, 27, 29, 31, 36, 38, 41),
    (1, 14, 16, 24, 25, 26, 30, 31, 32, 33, 38, 41, 42),
)
NEU_UNKNOWN = ((0, 1), (2, 3), (4, 5), (0, 3), (2, 5))
DTD_UNKNOWN = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 0, 5), (2, 4, 7))


def known_without(unknown: Sequence[Sequence[int]], classes: int) -> tuple[tuple[int, ...], ...]:
    """Return, for each list of unknown class ids, the other ids below ``classes`` in ascending order."""
    return tuple(tuple(i for i in range(classes) if i not in ids) for ids in unknown)


KNOWN: dict[str, tuple[tuple[int, ...], ...]] = {
    "digits": MNIST_KNOWN,
    "mnist": MNIST_KNOWN,
    "fashion-mnist": MNIST_KNOWN,
    "cifar10": CIFAR10_KNOWN,
    "gtsrb": known_without(GTSRB_UNKNOWN, 43),
    "neu": known_without(NEU_UNKNOWN, 6),
    "dtd10": known_without(DTD_UNKNOWN, 10),
}
