"""One set of weights for several folds, each with unknowns of its own; see ``left_out.py`` for the folds.

    equal weights of the companions -> fitted to the companions -> fitted to all parts -> one part alone
                  0                               1                          2                  3
    and apart from this path                                          fitted to all parts, signs free
                                                                                     4

Fitted: by one regularised logistic regression over all folds. Weights are of standardised parts, and the sum
of their magnitudes is 1; up to point 3 none is negative. Which point ships is what held-out folds say:
weights made without a fold are tried on that fold. The left end is safe and often best, and few parts are
better than many, so a point further right must win by more than chance. A negative weight (what looks unknown
to one part then counts for known) is the least stable of all, so point 4 must win clearly, against the best
of the others.

**False accepts are estimated** in the same way: for each fold with the weights made without it, at thresholds
that its own known images give. A threshold is the conformal one of ``conformal.py``, near copies counted
once, so that a new known image is rejected with at most this rate; with too few images for a rate there is
none. The chosen point has seen every fold, so the estimate flatters a little; that a fold has fewer classes
to confuse than the full network flatters more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.left_out import ESTIMATED_RATES, FREE_SIGNS, STRENGTHS, FalseAccepts
from edgeosr.errors import import_extra
from edgeosr.export.conformal import smallest_threshold
from edgeosr.metrics import auroc
from edgeosr.scoring.fusion import CONSTANT

Float64 = NDArray[np.float64]

# L2 penalty on the weights of standardised parts, in nats an image.
PENALTY = 0.01
# How sure it must be that weights further from equal ones are better.
CONFIDENCE = 0.95
# The same for free signs against the best of the others, and the least gain of AUROC that is worth a weight
# whose sign a new kind of unknown thing may turn round. Simulated where no part should be negative (useless,
# weak or unstable parts; 3, 4 and 6 folds that share their known images): taken in 11 of 2,400.
SIGN_CONFIDENCE = 0.975
SIGN_GAIN = 0.01
# Fewer folds cannot say which weights hold on a fold that they were not made from.
FEWEST_FOLDS = 2


@dataclass(frozen=True, kw_only=True)
class FoldValues:
    """Values of the parts in one fold, as its own network gives them.

    Attributes:
        known: ``[n, parts]``, select images of the classes that the fold knows. A part that this fold does
            not have is NaN for all images, on both sides.
        unknown: ``[m, parts]``, images of what the fold has never seen.
        known_groups: ``[n]``, equal for near copies; None if there are none.
    """

    known: Float64
    unknown: Float64
    known_groups: NDArray[np.int64] | None = None

    def finite(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which known, and which unknown, images have finite values only, of the parts there."""
        missing = np.isnan(self.known).all(axis=0) & np.isnan(self.unknown).all(axis=0)
        known, unknown = (
            np.asarray(np.isfinite(np.where(missing, 0.0, side)).all(axis=1))
            for side in (self.known, self.unknown)
        )
        return known, unknown


@dataclass(frozen=True, kw_only=True)
class FoldFit:
    """Weights, and how each part did.

    Attributes:
        weights: ``[parts]``, of standardised parts; the sum of their magnitudes is 1, and only at
            ``FREE_SIGNS`` may one be negative.
        strength: the point of the path, one of ``STRENGTHS``, or ``FREE_SIGNS``.
        auroc, spread: ``[parts]``, mean and standard deviation over the folds that have the part.
        scores: ``[folds]``, AUROC of the chosen strength on each fold, by weights made without it.
        alone: ``[folds]``, likewise of the best part alone, picked on the other folds.
        false_accepts: at each rate that was asked for and that at least ``FEWEST_FOLDS`` folds have images
            enough for, by the same weights.
    """

    weights: Float64
    strength: float
    auroc: Float64
    spread: Float64
    scores: Float64
    alone: Float64
    false_accepts: tuple[FalseAccepts, ...]


def fit_over_folds(
    folds: Sequence[FoldValues], companions: Sequence[int], rates: Sequence[float] = ESTIMATED_RATES
) -> FoldFit:
    """Fit weights over all folds.

    Args:
        folds: at least ``FEWEST_FOLDS``.
        companions: columns of the parts that share the weight at the end of equal weights.
        rates: false-reject rates at which false accepts are estimated.
    """
    assert len(folds) >= FEWEST_FOLDS and len(companions), (len(folds), companions)
    sides = [_standardised(fold) for fold in folds]
    alone = np.array([_alone(*side, fold) for side, fold in zip(sides, folds, strict=True)])
    few = list(companions)
    nested = np.empty((len(STRENGTHS) + 1, len(folds)))
    paths = []
    for out, (known, unknown) in enumerate(sides):
        rest = [i for i in range(len(folds)) if i != out]
        paths.append(_path([sides[i] for i in rest], alone[rest], few))
        nested[:, out] = [auroc(known @ weights, unknown @ weights) for weights in paths[out]]
    chosen = _chosen(nested)
    accepted = [
        _accepted(fold, side, path[chosen], rates)
        for fold, side, path in zip(folds, sides, paths, strict=True)
    ]
    auroc_mean, spread = _mean_spread(alone)
    return FoldFit(
        weights=_path(sides, alone, few)[chosen],
        strength=(*STRENGTHS, FREE_SIGNS)[chosen],
        auroc=auroc_mean,
        spread=spread,
        scores=nested[chosen],
        alone=nested[len(STRENGTHS) - 1],
        false_accepts=_false_accepts(np.array(accepted), rates),
    )


def alone_over_folds(folds: Sequence[FoldValues]) -> tuple[Float64, Float64]:
    """Return ``[parts]`` twice: mean and standard deviation of each part's AUROC over the folds that have it.

    Of parts that are shown and not weighed; one that no fold has is 0.
    """
    return _mean_spread(np.array([_alone(*_standardised(fold), fold) for fold in folds]))


def _mean_spread(alone: Float64) -> tuple[Float64, Float64]:
    there = np.isfinite(alone)
    count = np.maximum(there.sum(axis=0), 1)
    with np.errstate(invalid="ignore"):
        mean = np.where(there, alone, 0).sum(axis=0) / count
        squares = np.where(there, (alone - mean) ** 2, 0).sum(axis=0)
    return mean, np.sqrt(squares / count)


def _standardised(fold: FoldValues) -> tuple[Float64, Float64]:
    """Return both sides by the fold's own known images; a part that is missing or constant is 0."""
    known, unknown = (
        side[finite] for side, finite in zip((fold.known, fold.unknown), fold.finite(), strict=True)
    )
    means, stds = known.mean(axis=0), known.std(axis=0)
    with np.errstate(invalid="ignore"):
        varies: NDArray[np.bool_] = stds > CONSTANT * (1 + np.abs(means))
    scaled = [
        np.where(varies, (side - means) / np.where(varies, stds, 1.0), 0.0) for side in (known, unknown)
    ]
    return scaled[0], scaled[1]


def _alone(known: Float64, unknown: Float64, fold: FoldValues) -> Float64:
    """Return the AUROC of each part; NaN for one that the fold does not have."""
    found = np.array([auroc(known[:, i], unknown[:, i]) for i in range(known.shape[1])])
    found[np.isnan(fold.known).all(axis=0)] = np.nan
    return found


def _path(sides: Sequence[tuple[Float64, Float64]], alone: Float64, few: list[int]) -> list[Float64]:
    """Return the weights at each of ``STRENGTHS``, and last those of free signs."""
    equal, fitted_few, one = (np.zeros(alone.shape[1]) for _ in range(3))
    equal[few] = 1 / len(few)
    fitted_few[few] = logistic_weights([(known[:, few], unknown[:, few]) for known, unknown in sides])
    # A part that one of these folds does not have is NaN on average: it cannot stand alone.
    one[int(np.nanargmax(alone.mean(axis=0)))] = 1.0
    points = [equal, fitted_few, logistic_weights(sides), one, logistic_weights(sides, free_signs=True)]
    # Where no part helps there is nothing fitted.
    *points, free = [point if point.any() else equal for point in points]
    legs = [min(int(strength), len(points) - 2) for strength in STRENGTHS]
    path = [
        (1 - strength + leg) * points[leg] + (strength - leg) * points[leg + 1]
        for strength, leg in zip(STRENGTHS, legs, strict=True)
    ]
    return [*path, free]


def _chosen(nested: Float64) -> int:
    """Return the row that ships.

    Of the strengths it is the one nearest to equal weights that does not lose to the best one by more than
    chance; free signs ship only if they win clearly against that best one.

    Args:
        nested: ``[strengths + 1, folds]``, AUROC on the fold that was held out; the last row has free signs.
    """
    path, free = nested[:-1], nested[-1]
    best = path[int(path.mean(axis=1).argmax())]
    gain = free - best
    if gain.mean() >= max(SIGN_GAIN, _limit(len(gain), SIGN_CONFIDENCE) * gain.std(ddof=1)):
        return len(path)
    return first_not_beaten(path)


def first_not_beaten(rows: Float64) -> int:
    """Return the first row that does not lose to the best one by more than chance.

    Args:
        rows: ``[rows, folds]``, AUROC on images held out; at least two folds.
    """
    lost = rows[int(rows.mean(axis=1).argmax())] - rows
    limit = _limit(rows.shape[1], CONFIDENCE)
    return int(np.flatnonzero(lost.mean(axis=1) <= limit * lost.std(axis=1, ddof=1))[0])


def beats(rows: Float64, others: Float64) -> bool:
    """Tell whether one row of AUROC by fold, at least two, is above another by more than chance."""
    gain = rows - others
    return bool(gain.mean() > _limit(len(gain), CONFIDENCE) * gain.std(ddof=1))


def _limit(count: int, confidence: float) -> float:
    # One-sided paired t test, fold by fold: with three or four folds one standard error is little.
    special = import_extra("scipy.special", extra="export", purpose="fitting fusion weights")
    return float(special.stdtrit(count - 1, confidence)) / math.sqrt(count)


def _accepted(
    fold: FoldValues, side: tuple[Float64, Float64], weights: Float64, rates: Sequence[float]
) -> list[float]:
    """Return what share of the fold's unknown images is accepted at each rate; NaN: too few known images.

    Args:
        fold: with all its images; those with a value that is not finite are rejected.
        side: its finite images, standardised.
        weights: made without it.
        rates: of false rejects.
    """
    known = np.full(len(fold.known), np.inf)
    known[fold.finite()[0]] = side[0] @ weights
    unknown = side[1] @ weights
    thresholds = [smallest_threshold(known, fold.known_groups, rate) for rate in rates]
    return [
        float((unknown <= threshold).sum()) / len(fold.unknown) if math.isfinite(threshold) else math.nan
        for threshold in thresholds
    ]


def _false_accepts(accepted: Float64, rates: Sequence[float]) -> tuple[FalseAccepts, ...]:
    """Return the estimates by rising rate; ``accepted`` is ``[folds, rates]``, NaN where there is none."""
    found = []
    for rate, column in sorted(zip(rates, accepted.T, strict=True), key=lambda pair: pair[0]):
        shares = column[np.isfinite(column)]
        if len(shares) < FEWEST_FOLDS:
            continue
        low, high = float(shares.min()), float(shares.max())
        # A mean of equal shares is rounded.
        mean = min(max(float(shares.mean()), low), high)
        found.append(FalseAccepts(false_reject=rate, mean=mean, low=low, high=high, folds=len(shares)))
    return tuple(found)


def logistic_weights(sides: Sequence[tuple[Float64, Float64]], *, free_signs: bool = False) -> Float64:
    """Return the weights of a regularised logistic regression, known against unknown.

    Args:
        sides: (known ``[n, parts]``, unknown ``[m, parts]``) of each fold, standardised and finite. Every
            fold and side weighs the same, however many images it has.
        free_signs: weights may be negative.

    Returns:
        ``[parts]``, sum of magnitudes 1, none negative unless signs are free; all 0 if no part helps.
    """
    optimize = import_extra("scipy.optimize", extra="export", purpose="fitting fusion weights")
    blocks = [(sign, side) for pair in sides for sign, side in zip((-1.0, 1.0), pair, strict=True)]
    rows = np.concatenate([side for _, side in blocks])
    lengths = [len(side) for _, side in blocks]
    signs = np.repeat([sign for sign, _ in blocks], lengths)
    shares = np.repeat([1.0 / (len(blocks) * max(length, 1)) for length in lengths], lengths)

    def loss(parameters: Float64) -> tuple[float, Float64]:
        margins = signs * (rows @ parameters[:-1] + parameters[-1])
        slopes = -shares * signs * np.exp(-np.logaddexp(0, margins))
        gradient = np.append(rows.T @ slopes + PENALTY * parameters[:-1], slopes.sum())
        penalty = PENALTY / 2 * float(parameters[:-1] @ parameters[:-1])
        return float(shares @ np.logaddexp(0, -margins)) + penalty, gradient

    count = rows.shape[1]
    bounds = [(None if free_signs else 0.0, None)] * count + [(None, None)]
    found = optimize.minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    weights: Float64 = found.x[:-1] if free_signs else np.maximum(found.x[:-1], 0)
    total = np.abs(weights).sum()
    return weights / total if total > 0 else weights
