"""Which frames of a pool become the golden ones."""

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.labelled_images import evenly_spaced
from edgeosr.runtime.golden import LEAST_FRAMES


def chosen_frames(
    margins: NDArray[np.float64],
    accepted: NDArray[np.bool_],
    rejected: NDArray[np.bool_],
    labels: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return which frames, in their order: one of each class, of both decisions the nearest, and others."""
    sides = [np.flatnonzero(accepted), np.flatnonzero(rejected)]
    half = [min(len(side), LEAST_FRAMES // 2) for side in sides]
    shares = [min(len(side), LEAST_FRAMES - half[1 - i]) for i, side in enumerate(sides)]
    clear = np.flatnonzero(accepted | rejected)
    one_each = clear[np.unique(labels[clear], return_index=True)[1]]
    one_each = one_each[evenly_spaced(len(one_each), LEAST_FRAMES // 4)]
    picked = [np.intersect1d(side, one_each)[:share] for side, share in zip(sides, shares, strict=True)]
    for i, side in enumerate(sides):
        rest = np.setdiff1d(side, picked[i])
        ordered = rest[np.argsort(np.abs(margins[rest]), kind="stable")]
        picked[i] = np.concatenate([picked[i], _spread(ordered, shares[i] - len(picked[i]))])
    chosen = np.concatenate(picked)
    if len(chosen) < LEAST_FRAMES:  # then with the clearest of those that are near a tie
        others = np.setdiff1d(np.arange(len(margins)), chosen)
        others = others[np.argsort(-np.abs(margins[others]), kind="stable")]
        chosen = np.concatenate([chosen, others[: LEAST_FRAMES - len(chosen)]])
    return np.sort(chosen)


def _spread(ordered: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return ``count`` of them: half from the front, the others spread evenly over the rest."""
    front = min(count, count // 2 + 1)
    rest = ordered[front:]
    return np.concatenate([ordered[:front], rest[evenly_spaced(len(rest), count - front)]])
