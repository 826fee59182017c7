"""Figures of a bundle class by class, with their intervals.

An accuracy over all images hides a class of a few: 300 images against 5 of which none is accepted read 98 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.metrics import Labels, Rate, Scores, rate_of
from edgeosr.scoring.thresholds import Threshold, limits_of, margins_of

# A class with fewer groups of images is told apart: whatever is measured on them, little is known.
RARE = 20


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """One class on one part of the known images. Rates count groups; None without an image.

    Attributes:
        name: of the class.
        images: that show it.
        right, rejected: of these, those predicted as it, and those rejected; numbers of images.
        accuracy: share of the images that show it that are predicted as it, accepted or not.
        false_reject: share of them that are rejected.
        predicted: images of any class that are predicted as it.
        predicted_rejected: of these, those rejected.
        false_reject_predicted: share of these that are rejected: what a threshold of its own promises.
        threshold: of the images predicted as it.
        own_threshold: it has one of its own.
        threshold_groups: of the calibrate part, that the threshold was found on.
        named_unknown: images that show it that the model itself names an output that means unknown; they are
            not right.
    """

    name: str
    images: int
    right: int
    rejected: int
    accuracy: Rate | None
    false_reject: Rate | None
    predicted: int
    predicted_rejected: int
    false_reject_predicted: Rate | None
    threshold: float
    own_threshold: bool
    threshold_groups: int
    named_unknown: int = 0


@dataclass(frozen=True, kw_only=True)
class RareClass:
    """A class with fewer than ``RARE`` groups of images, near copies being one group.

    Attributes:
        name: of the class.
        images, groups: how many show it.
        right, rejected: images of these that were named right, and that were rejected.
        named_unknown: see ``ClassFigures``.
    """

    name: str
    images: int
    groups: int
    right: int
    rejected: int
    named_unknown: int = 0


def class_figures(
    classes: Sequence[str],
    threshold: Threshold,
    *,
    labels: Labels,
    predictions: Labels,
    scores: Scores,
    groups: Labels,
) -> tuple[ClassFigures, ...]:
    """Measure every class on one part of the known images.

    Args:
        classes: their names.
        threshold: the bundle's.
        labels: ``[n]``, the classes that the images show.
        predictions: ``[n]``, those that they are predicted as.
        scores: ``[n]``, unknown scores; not finite = rejected; see ``named_unknown``.
        groups: ``[n]``, equal for near copies, which count as one in every rate.
    """
    rejected = rejections(threshold, predictions, scores)
    unknown = named_unknown(scores)
    right = (np.asarray(labels) == np.asarray(predictions)) & ~unknown
    limits = limits_of(threshold.limit, np.arange(len(classes)))

    def rate(hits: Any, chosen: Any) -> Rate | None:
        return rate_of(hits[chosen], groups[chosen]) if chosen.any() else None

    figures = []
    for label, name in enumerate(classes):
        own = bool(threshold.by_class) and threshold.by_class[label].own
        shows, taken = np.asarray(labels) == label, np.asarray(predictions) == label
        figures.append(
            ClassFigures(
                name=name,
                images=int(shows.sum()),
                right=int(right[shows].sum()),
                rejected=int(rejected[shows].sum()),
                accuracy=rate(right, shows),
                false_reject=rate(rejected, shows),
                predicted=int(taken.sum()),
                predicted_rejected=int(rejected[taken].sum()),
                false_reject_predicted=rate(rejected, taken),
                threshold=float(limits[label]),
                own_threshold=own,
                threshold_groups=threshold.by_class[label].groups if own else threshold.groups,
                named_unknown=int(unknown[shows].sum()),
            )
        )
    return tuple(figures)


def named_unknown(scores: Scores) -> NDArray[np.bool_]:
    """Tell of which images the model's own answer is an output that means unknown, bool ``[n]``.

    Their scores are infinite; those of numbers that are not finite are NaN.
    """
    return np.asarray(np.isposinf(scores))


def rejections(threshold: Threshold, predictions: Labels, scores: Scores) -> NDArray[np.bool_]:
    """Tell which images are rejected, bool ``[n]``: above their threshold, or not finite."""
    accepted = np.isfinite(scores) & (margins_of(scores, threshold.limit, predictions) <= 0)
    return np.asarray(~accepted)


def rare_classes(figures: Sequence[ClassFigures]) -> tuple[RareClass, ...]:
    """Return the classes that few groups of the measured images show, one at least."""
    return tuple(
        RareClass(
            name=one.name,
            images=one.images,
            groups=one.accuracy.samples,
            right=one.right,
            rejected=one.rejected,
            named_unknown=one.named_unknown,
        )
        for one in figures
        if one.accuracy is not None and one.accuracy.samples < RARE
    )
