"""The threshold as a bundle records it; ``edgeosr.export.conformal`` finds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# How images are compared: all with one threshold, or each with that of the class it is predicted as.
COMMON, PER_CLASS = RULES = ("common", "per-class")
# What a score is compared with: one number, or one a class in the order of the bundle's classes.
Limit = float | tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ClassThreshold:
    """The threshold of the images that are predicted as one class, whatever they show.

    Attributes:
        value: a float32 number; the common threshold's where the class has none of its own.
        interval: (low, high) in which the false-reject rate among known images predicted as this class lies,
            with the confidence of the common threshold; None: the class takes the common threshold, and
            nothing is promised of it alone.
        groups: independent groups of the calibrate part with an image predicted as this class; may be 0.
        images: these images.
    """

    value: float
    interval: tuple[float, float] | None
    groups: int
    images: int

    @property
    def own(self) -> bool:
        """The class has a threshold of its own."""
        return self.interval is not None


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Accept a frame if its unknown score is finite and <= ``value``, or <= that of its predicted class.

    Attributes:
        value: a float32 number, one of the calibration scores; the threshold of all classes, or of those
            without one of their own.
        target_false_reject_rate: as asked for, in (0, 1).
        interval: (low, high) in which the shipped threshold's false-reject rate lies with ``confidence``.
        confidence: of ``interval``, and of those of the classes.
        groups: independent groups it was calibrated on.
        images: images in them.
        method: one line on how it was found, for reports.
        by_class: one a class, in the order of the bundle's classes; empty: all have ``value``.
    """

    value: float
    target_false_reject_rate: float
    interval: tuple[float, float]
    confidence: float
    groups: int
    images: int
    method: str
    by_class: tuple[ClassThreshold, ...] = ()

    @property
    def rule(self) -> str:
        """One of ``RULES``."""
        return PER_CLASS if self.by_class else COMMON

    @property
    def limit(self) -> Limit:
        """What scores are compared with."""
        return tuple(one.value for one in self.by_class) or self.value

    @property
    def class_values(self) -> tuple[float, ...]:
        """One value a class; empty with the common rule."""
        return tuple(one.value for one in self.by_class)

    def without_own(self, classes: Sequence[str]) -> list[str]:
        """Return the classes without a threshold of their own, where the rule is per class."""
        return [name for name, one in zip(classes, self.by_class, strict=True) if not one.own]


def limits_of(limit: Limit, labels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the threshold of each image, float64 ``[n]``.

    Args:
        limit: one number, or one a class.
        labels: ``[n]``, the predicted classes.
    """
    values = np.asarray(limit, np.float64)
    return np.full(np.shape(labels), values) if values.ndim == 0 else values[labels]


def margins_of(
    scores: NDArray[np.floating[Any]], limit: Limit, labels: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return score minus threshold, float64 ``[n]``; accepted if finite and <= 0, exactly like the scores.

    A difference of two float32 numbers in float64 has the right sign, and is 0 for equal ones only.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.asarray(scores, np.float64) - limits_of(limit, labels))
