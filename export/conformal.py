"""The threshold that ships, from known images alone, with a promise about how often it rejects them.

**The promise.** Calibrated on k independent groups of known images (a group is one image, or the near copies
of one: the frames of a track), the chance that a new known image of a new group is rejected is at most the
target, averaged over calibration sets. It needs no assumption about the scores' distribution, but the new
image must come from where the calibration images came from.

**How.** Split conformal prediction: the threshold is the smallest score t with

    sum over groups j of F_j(t)  >=  (k + 1) (1 - target),     F_j(t) = share of group j's scores <= t,

which for groups of one image is the ceil((k + 1)(1 - target))-th smallest score (Vovk et al. 2005;
Angelopoulos and Bates, A gentle introduction to conformal prediction, 2021, section 1). With larger groups
every group weighs one, and the (k + 1)-th group, the new one, stands at infinity: the pooled-CDF quantile of
Dunn, Wasserman and Ramdas (2022, arXiv 1809.07441), in the form for which Lee, Barber and Willett (2023,
arXiv 2306.06342) prove the promise for finite k.

**The interval.** One calibration set is not the average of all: for groups of one image and no ties, the
rejected share of a given threshold follows Beta(k + 1 - r, r), r = ceil((k + 1)(1 - target)) (Vovk 2012;
Angelopoulos and Bates, section 3.2). Its central 95 % is what ``interval`` holds. Groups of several images
are treated as if all images of a group had one score, the case in which they tell least; ties push the
rejected share below the law, never above it.

**Per class** (``--threshold-rule per-class``; Mondrian conformal prediction, Vovk et al. 2005, section 4.5):
the same once for each class, on the calibration images that are *predicted* as it, for that is what is known
of a new image. Then the chance that a new known image **predicted as that class** is rejected is at most the
target, for each class with at least ``groups_needed`` groups of its own. Of a group only the images predicted
as the class count. Given which images are predicted as the class, these are exchangeable with a new one, so
the promise needs nothing more than the common one; the number of groups alone decides which classes have one.

- Misclassified known images count for the class that they are taken for: they are among the images of the
  promise, and often the ones that it rejects. Of the images that *show* a class nothing is promised.
- A class with fewer groups takes the common threshold, and nothing is promised of it alone. Over all known
  images the chance of a rejection is at most the target if every class has a threshold of its own. Else it is
  at most the target times (1 + the share of images predicted as classes with their own), never more than
  twice the target: the common threshold may reject among the others all that it may reject at all.
- A class whose images have so many scores that are not finite that no threshold exists takes the common one.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, UsageError, import_extra
from edgeosr.scoring.thresholds import ClassThreshold, Threshold

CONFIDENCE = 0.95
# Sums of group shares and (k + 1)(1 - target) are compared with this relative slack, so that rounding (20 *
# 0.95) never asks for one group more. It costs the promise 1e-9.
ROUNDING = 1e-9


def groups_needed(false_reject_rate: float) -> int:
    """Return the smallest number of groups with which a rate can be promised: 19 for 0.05."""
    return math.ceil((1 - false_reject_rate) / false_reject_rate * (1 - ROUNDING))


def smallest_rate(count: int) -> float:
    """Return the smallest rate that ``count`` groups can promise, rounded up to three digits."""
    return math.ceil(1000 / (count + 1)) / 1000


def require_enough_groups(
    groups: NDArray[np.integer[Any]], false_reject_rate: float, more: str = "more images"
) -> int:
    """Return how many groups there are; DataError if they are too few to promise the rate.

    Args:
        groups: of the calibrate part.
        false_reject_rate: the target.
        more: where more images of the calibrate part come from, for the message.
    """
    count = len(np.unique(groups))
    needed = groups_needed(false_reject_rate)
    if count < needed:
        raise DataError(
            f"a false-reject rate of {false_reject_rate:g} needs at least {needed} independent groups of "
            f"known images to calibrate on (copies, bursts and tracks count once); got {count}"
            + (
                f" of {len(groups)} images (if they do not belong together, see --groups); "
                if count < len(groups)
                else "; "
            )
            + (f"ask for --false-reject-rate {smallest_rate(count):g} or more, or " if count else "")
            + f"put more images into the calibrate part ({more})"
        )
    return count


def conformal_threshold(
    scores: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]], false_reject_rate: float
) -> Threshold:
    """Return the split-conformal threshold (see the module's docstring).

    Args:
        scores: unknown scores of the calibrate part, ``[n]``, as the shipped graph computes them (float32);
            larger = more unknown, not finite = most unknown. None of these images may have been used to
            train, to select or to fit the fusion.
        groups: ``[n]``, equal for near copies.
        false_reject_rate: the target, in (0, 1).

    Raises:
        UsageError: the target is not in (0, 1).
        DataError: too few groups for the target, or so many scores not finite that no threshold exists.
        MissingDependencyError: scipy is not installed.
    """
    if not 0 < false_reject_rate < 1:
        raise UsageError(
            f"the false-reject rate must be between 0 and 1, for example 0.05; got {false_reject_rate!r}"
        )
    values = np.asarray(scores, np.float32)
    groups = np.asarray(groups)
    if values.ndim != 1 or np.shape(groups) != values.shape:
        raise DataError(
            f"scores and groups must be two rows of one length; got {values.shape} and {np.shape(groups)}"
        )
    count = require_enough_groups(groups, false_reject_rate)
    value = smallest_threshold(values, groups, false_reject_rate)
    if not math.isfinite(value):
        unusable = int((~np.isfinite(values)).sum())
        raise DataError(
            f"{unusable} of {len(values)} calibration scores are not finite, more than a false-reject rate "
            f"of {false_reject_rate:g} leaves room for; the network overflows on known images (train it "
            "again, or export it in a wider precision), or names them as one of --unknown-outputs"
        )
    rank = math.ceil(_required(count, false_reject_rate))
    images = "" if count == len(values) else f" ({len(values)} images, each group weighs one)"
    return Threshold(
        value=value,
        target_false_reject_rate=false_reject_rate,
        interval=_interval(count, rank),
        confidence=CONFIDENCE,
        groups=count,
        images=len(values),
        method=f"split conformal, rank {rank} of {count} groups{images}",
    )


def per_class(
    common: Threshold,
    scores: NDArray[np.floating[Any]],
    groups: NDArray[np.integer[Any]],
    predictions: NDArray[np.integer[Any]],
    classes: int,
) -> Threshold:
    """Return the common threshold with one a class beside it (see the module's docstring).

    Args:
        common: of the same scores and groups.
        scores: ``[n]``, of the calibrate part, see ``conformal_threshold``.
        groups: ``[n]``, see there.
        predictions: ``[n]``, the predicted classes, 0 .. classes - 1.
        classes: how many classes there are.
    """
    values, groups = np.asarray(scores, np.float32), np.asarray(groups)
    rate, needed = common.target_false_reject_rate, groups_needed(common.target_false_reject_rate)
    found = []
    for label in range(classes):
        taken = np.flatnonzero(np.asarray(predictions) == label)
        count = len(np.unique(groups[taken]))
        value, interval = common.value, None
        if count >= needed:
            own = smallest_threshold(values[taken], groups[taken], rate)
            if math.isfinite(own):
                value, interval = own, _interval(count, math.ceil(_required(count, rate)))
        found.append(ClassThreshold(value=value, interval=interval, groups=count, images=len(taken)))
    own = sum(one.own for one in found)
    method = f"{common.method}; per predicted class for {own} of {classes} classes"
    return replace(common, by_class=tuple(found), method=method)


def smallest_threshold(
    scores: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]] | None, false_reject_rate: float
) -> float:
    """Return the smallest score that keeps the promise; inf where none does: too few groups or finite scores.

    Args:
        scores: ``[n]``; larger = more unknown, not finite = most unknown.
        groups: ``[n]``, equal for near copies; None if there are none.
        false_reject_rate: in (0, 1).
    """
    ids = np.arange(len(scores)) if groups is None else groups
    _, index, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    required = _required(len(sizes), false_reject_rate)
    if required > len(sizes):
        return math.inf
    values = np.where(np.isfinite(scores), scores, np.inf)
    order = np.argsort(values, kind="stable")
    # Every group weighs one.
    pooled = np.cumsum((1.0 / sizes[index])[order])
    return float(values[order[min(int(np.searchsorted(pooled, required)), len(values) - 1)]])


def is_largest(threshold: Threshold, scores: NDArray[np.floating[Any]]) -> bool:
    """Tell whether no score of the calibrate part ``[n]`` lies above the common threshold.

    So it is with hardly more groups than the rate needs, but not always: of a group with several images only
    the largest may lie above.
    """
    return not np.any(~np.isfinite(scores) | (np.asarray(scores, np.float32) > threshold.value))


def _required(count: int, false_reject_rate: float) -> float:
    return (count + 1) * (1 - false_reject_rate) - ROUNDING * (count + 1)


def _interval(count: int, rank: int) -> tuple[float, float]:
    """Return the central interval of Beta(count + 1 - rank, rank), the law of the false-reject rate."""
    stats = import_extra("scipy.stats", extra="export", purpose="calibration")
    tail = (1 - CONFIDENCE) / 2
    low, high = stats.beta.ppf([tail, 1 - tail], count + 1 - rank, rank)
    return float(low), float(high)
