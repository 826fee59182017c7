"""Scores whose smallest value is the best one (distances, costs, negative log-probabilities): told on images.

Nothing in the values says so, but known images do. Another order of the class names can look the same, so
nothing is turned round where an order explains the largest values nearly as well; the check of the order
(``class_order.py``) sees to those.
"""

import numpy as np
from numpy.typing import NDArray

from edgeosr.export.foreign.class_order import answer_counts, best_places, better

SMALLEST = "for most known images the right class has the smallest value"
LEVEL, LEAST_RIGHT, NEAR = 0.001, 0.5, 0.05
# With fewer images a class, some order explains any answers.
_EACH = 4


def smallest_is_right(rows: NDArray[np.float64], labels: NDArray[np.int64]) -> bool:
    """Tell whether the smallest value of each row, and not the largest, clearly names its class.

    Args:
        rows: ``[images, C]``.
        labels: int64 ``[images]``, which output each image's class has; -1 for none.

    Returns:
        False for two classes too, where this cannot be told from names that are exchanged.
    """
    classes = rows.shape[1] if rows.ndim == 2 else 0
    if classes < 3 or len(rows) != len(labels):
        return False
    told = (labels >= 0) & np.isfinite(rows).all(axis=1)
    rows, labels = rows[told], labels[told]
    largest, smallest = rows.argmax(axis=1), rows.argmin(axis=1) == labels
    if not len(rows) or smallest.mean() < LEAST_RIGHT or not better(smallest, largest == labels, LEVEL):
        return False
    if len(labels) < _EACH * classes:
        return True
    counts = answer_counts(labels, largest, classes)
    ordered = counts[np.arange(classes), best_places(counts)].sum() / len(labels)
    return bool(ordered < smallest.mean() - NEAR)
