"""What a threshold trades: false accepts against false rejects of test images, with intervals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.export.false_accepts_picture import LEAST, MeasuredCurve
from edgeosr.metrics import Rate, acceptance_rate, rejection_rate

# Points of the drawn curve; every one is a threshold that the test images give.
POINTS = 150
# Shares of images add up with rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class TradeOffRow:
    """The lowest threshold that rejects at most a share of the known test images, and what it accepts.

    Attributes:
        at_most: the share, 0 to 1.
        threshold: a score of a known test image.
        false_reject, false_accept: measured there, on the images that also gave the threshold.
    """

    at_most: float
    threshold: float
    false_reject: Rate
    false_accept: Rate

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """``scores``: unknown scores ``[n]``, n >= 1; ``groups``: ``[n]``, equal for near copies."""

    scores: NDArray[np.floating[Any]]
    groups: NDArray[np.integer[Any]]


def trade_off_rows(known: Scored, unknown: Scored, rates: Sequence[float]) -> tuple[TradeOffRow, ...]:
    """Return one row a rate, rising; none for a rate below the share of known images without a score."""
    thresholds, rejected = _steps(known)
    rows = []
    for rate in sorted(rates):
        # ``rejected`` falls as the threshold rises.
        inside = np.flatnonzero(rejected <= rate + ROUNDING)
        if len(inside):
            threshold = float(thresholds[inside[0]])
            rows.append(
                TradeOffRow(
                    at_most=rate,
                    threshold=threshold,
                    false_reject=rejection_rate(known.scores, threshold, known.groups),
                    false_accept=acceptance_rate(unknown.scores, threshold, unknown.groups),
                )
            )
    return tuple(rows)


def measured_curve(known: Scored, unknown: Scored, shipped: float) -> MeasuredCurve:
    """Return the curve to draw, and the rates at the shipped threshold."""
    thresholds, rejected = _steps(known)
    wanted = np.geomspace(LEAST, 1, POINTS)
    # The nearest step above each of the wanted rates; no steps where no score is finite.
    nearest = np.searchsorted(-rejected, -wanted, side="right") - 1
    kept = np.unique(np.maximum(nearest, 0))[::-1] if len(thresholds) else np.zeros(0, np.int64)
    rates = [acceptance_rate(unknown.scores, float(thresholds[i]), unknown.groups) for i in kept]
    return MeasuredCurve(
        false_reject=rejected[kept],
        false_accept=np.array([rate.value for rate in rates]),
        low=np.array([rate.low for rate in rates]),
        high=np.array([rate.high for rate in rates]),
        shipped=(
            rejection_rate(known.scores, shipped, known.groups),
            acceptance_rate(unknown.scores, shipped, unknown.groups),
        ),
    )


def _steps(known: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return every finite score as a threshold, rising, and the share of known groups rejected there."""
    scores = np.asarray(known.scores, np.float64)
    _, index, sizes = np.unique(known.groups, return_inverse=True, return_counts=True)
    shares = 1 / (len(sizes) * sizes[index])
    finite = np.isfinite(scores)
    thresholds, place = np.unique(scores[finite], return_inverse=True)
    accepted = np.cumsum(np.bincount(place, weights=shares[finite], minlength=len(thresholds)))
    return thresholds, np.maximum(1 - accepted, 0.0)
