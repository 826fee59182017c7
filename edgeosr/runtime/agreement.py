"""Does a backend say what it must? Expected verdicts against those that came, one by one.

A class or a decision that differs is a difference, whatever the score: only where the expected score is so
near to the threshold, or the first two classes so near to each other, that rounding decides, it cannot be
told. What rounding can do is a ``Band``; it never comes from how far two graphs of different precision are
apart at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.runtime.golden import Expected
from edgeosr.verdict import UNKNOWN, Verdict

# One graph, two processors or two versions of onnxruntime: float32 sums in another order.
SAME_GRAPH = 1e-3
# The kernel's fp16 weights against the float64 reference (kernels/selftest).
KERNEL = 1e-2
# Of the typed graph's own rounding (its median on the golden frames), this much may come out differently:
# an engine fuses and sums in another order, so it rounds some tensors at other places than the CPU does.
OTHER_ORDER = 1.0
# Verdicts that cannot be told, of all: with more, the frames prove too little.
MOST_TIES = 0.25
# Scores that may lie outside the band, of all: a mask that flips moves one frame, a fault moves most.
MOST_OUTSIDE = 0.1


@dataclass(frozen=True)
class Band:
    """What rounding can do.

    Attributes:
        score: to a score, in standard deviations of known images.
        gap: to the gap between the first two classes, in standard deviations of the logits.
    """

    score: float
    gap: float


def engine_band(rounding: tuple[float, float]) -> Band:
    """Return the band of an engine with the kernel; ``rounding`` as ``golden.npz`` records it."""
    return Band(*(KERNEL + OTHER_ORDER * share for share in rounding))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What came of it.

    Attributes:
        agreed: verdicts that are the expected ones.
        ties: verdicts that cannot be told, equal or not.
        distance: (median, largest) distance of the scores; of those that are finite on both sides.
        differences: the others, one line each; and what is wrong with all of them together.
    """

    agreed: int
    ties: int
    distance: tuple[float, float]
    differences: tuple[str, ...]


def agreement(
    expected: Expected,
    found: Sequence[tuple[int, str, Verdict]],
    *,
    classes: Sequence[str],
    threshold: float,
    band: Band,
) -> Agreement:
    """Compare.

    Args:
        expected: of every frame.
        found: (frame, how it was judged, what came).
        classes: names by index.
        threshold: of the expected scores.
        band: what rounding can do.
    """
    agreed, ties, differences = 0, 0, []
    for index, how, verdict in found:
        score, label = float(expected.score[index]), int(expected.label[index])
        accepted = bool(np.isfinite(score)) and score <= threshold
        # With a score that is not finite the class is any.
        same_class = verdict.index == label or not np.isfinite(score)
        same_decision = verdict.accepted == accepted
        near_threshold = bool(abs(score - threshold) <= band.score)
        near_class = not same_class and bool(expected.gap[index] <= band.gap)
        if (same_decision or near_threshold) and (same_class or near_class):
            tie = near_threshold or near_class
            ties += tie
            agreed += not tie
            continue
        name = classes[label]
        differences.append(
            f"golden frame {index} {how}: expected {_said(accepted, name, score)}, got "
            f"{_said(verdict.accepted, verdict.nearest, verdict.score)}; threshold {threshold:.4f}"
        )
    scores = np.array([[expected.score[index], verdict.score] for index, _, verdict in found], np.float64)
    distances = _distances(scores)
    finite = distances[np.isfinite(distances)]
    median, largest = (float(np.median(finite)), float(finite.max())) if finite.size else (0.0, 0.0)
    outside = int((distances > band.score).sum())
    if outside > MOST_OUTSIDE * len(found):
        differences.append(
            f"scores: {outside} of {len(found)} are more than {band.score:.3g} from the expected ones, which "
            f"rounding does not explain ({median:.3g} in the median, {largest:.3g} at most)"
        )
    if ties > MOST_TIES * len(found):
        differences.append(
            f"{ties} of {len(found)} verdicts are within rounding ({band.score:.3g}) of another one, more "
            f"than {MOST_TIES:.0%}: the golden frames prove too little; export the bundle again, with "
            "--recalibrate or in a wider precision"
        )
    return Agreement(agreed=agreed, ties=ties, distance=(median, largest), differences=tuple(differences))


def _distances(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each pair ``[n, 2]``; 0 if neither is finite, infinite if one is not."""
    finite = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        distance = np.abs(scores[:, 0] - scores[:, 1])
    return np.where(finite.all(axis=1), distance, np.where(finite.any(axis=1), np.inf, 0.0))


def _said(accepted: bool, nearest: str, score: float) -> str:
    return f"{nearest if accepted else f'{UNKNOWN} (nearest {nearest})'} (score {score:.4f})"
