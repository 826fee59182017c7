"""A wrong preprocessing and a wrong order of the class names at once, tried on known images.

Names in a wrong order hide which preprocessing is right, and a wrong preprocessing hides the order. What
shows both is how well the answers agree with *some* order. So each usual preprocessing is tried on
``SCREENED`` images; the ``FINALISTS`` that agree best are then run on all, and one is named with its order
where the order is clear under it (``class_order.py``) and the two together are clearly better than anything
alone: the tests of ``alternatives.py``. What passes only at ``OPEN_LEVEL`` is told, not proven. Of what is
right on ``ENOUGH`` of the images, nothing more is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.export.foreign.alternatives import LEAST_GAIN, LEVEL, NEAR, Alternative, Answers, Found
from edgeosr.export.foreign.class_order import ClassOrder, answer_counts, best_places, better, other_order

SCREENED, FINALISTS, ENOUGH, OPEN_LEVEL = 120, 3, 0.9, 0.05


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Other preprocessings, each with the order of the names that shows under it.

    Attributes:
        found: the likeliest first, with those that are about as good behind it.
        clear: False if these may be no better than what was found alone.
    """

    found: tuple[tuple[Alternative, ClassOrder], ...]
    clear: bool


def alternatives_with_order(
    tried: Sequence[Alternative],
    names: Sequence[str],
    labels: NDArray[np.int64],
    alone: NDArray[np.bool_],
    answers: Answers,
    found: Found | None,
) -> Joint | None:
    """Return preprocessings and orders that are better together than anything alone; None if none are.

    Args:
        tried: the preprocessings.
        names: by output, as given.
        labels: int64 ``[n]`` of the images.
        alone: bool ``[n]``, which are named correctly by the best that was found alone: another
            preprocessing, another order, or neither.
        answers: what the model answers for a preprocessing on the images at these places.
        found: the other preprocessing that was found alone, if one was.
    """
    if alone.mean() >= ENOUGH:
        return None
    screen = np.linspace(0, len(labels) - 1, min(SCREENED, len(labels))).round().astype(np.int64)
    shown = [_explained(labels[screen], answers(one.preprocessing, screen), len(names)) for one in tried]
    ranked = np.argsort([-share for share in shown], kind="stable")[:FINALISTS].tolist()
    everywhere = np.arange(len(labels))
    finalists = [(tried[i], answers(tried[i].preprocessing, everywhere)) for i in ranked]
    if found is not None and found.alternative not in tried:
        finalists.append((found.alternative, found.answers))
    passed: list[tuple[Alternative, ClassOrder]] = []
    for one, given in finalists:
        order = other_order(names, labels, given)
        if order is None or order.right.mean() < alone.mean() + LEAST_GAIN:
            continue
        if better(order.right, alone, OPEN_LEVEL):
            passed.append((one, order))
    level = LEVEL / max(len(tried), 1)
    clear = [both for both in passed if better(both[1].right, alone, level)]
    if not passed:
        return None
    told = clear or passed
    most = max(order.right.mean() for _, order in told)
    near = [(one, order) for one, order in told if order.right.mean() >= most - NEAR]
    # Of those that are about as good, an order that people use, then the one that moves fewest names.
    near.sort(key=lambda both: (not both[1].called, both[1].moved))
    return Joint(found=tuple(near), clear=bool(clear))


def _explained(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> float:
    """Return the share of the answers that the best order of the names explains."""
    counts = answer_counts(labels, answers, classes)
    return float(counts[np.arange(classes), best_places(counts)].sum()) / max(len(labels), 1)
