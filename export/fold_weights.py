"""One set of weights for several folds, each with unknowns of its own; see ``left_out.py`` for the folds.

    equal weights of the companions -> fitted to the companions -> fitted to all parts -> one part alone
                  0                               1                          2                  3

Fitted: by one regularised logistic regression over all folds. Which point of this path ships is what held-out
folds say: weights made without a fold are tried on that fold. The left end is safe and often best, and few
parts are better than many, so a point further right must win by more than chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import import_extra
from edgeosr.metrics import auroc

Float64 = NDArray[np.float64]

STRENGTHS = tuple(quarter / 4 for quarter in range(13))
# L2 penalty on the weights of standardised parts, in nats an image.
PENALTY = 0.01
# How sure it must be that weights further from equal ones are better.
CONFIDENCE = 0.95
# Fewer folds cannot say which weights hold on a fold that they were not made from.
FEWEST_FOLDS = 2
# A part whose standard deviation is below this share of its magnitude is a constant with rounding noise.
CONSTANT = 1e-6


@dataclass(frozen=True, kw_only=True)
class FoldValues:
    """Values of the parts in one fold, as its own network gives them.

    Attributes:
        known: ``[n, parts]``, select images of the classes that the fold knows. A part that this fold does
            not have is NaN for all images, on both sides.
        unknown: ``[m, parts]``, images of what the fold has never seen.
    """

    known: Float64
    unknown: Float64


@dataclass(frozen=True, kw_only=True)
class FoldFit:
    """Weights, and how each part did.

    Attributes:
        weights: ``[parts]``, not negative, sum 1, of standardised parts.
        strength: the point of the path, one of ``STRENGTHS``.
        auroc, spread: ``[parts]``, mean and standard deviation over the folds that have the part.
        scores: ``[folds]``, AUROC of the chosen strength on each fold, by weights made without it.
    """

    weights: Float64
    strength: float
    auroc: Float64
    spread: Float64
    scores: Float64


def fit_over_folds(folds: Sequence[FoldValues], companions: Sequence[int]) -> FoldFit:
    """Fit weights over all folds.

    Args:
        folds: at least ``FEWEST_FOLDS``.
        companions: columns of the parts that share the weight at the end of equal weights.
    """
    assert len(folds) >= FEWEST_FOLDS and len(companions), (len(folds), companions)
    sides = [_standardised(fold) for fold in folds]
    alone = np.array([_alone(*side, fold) for side, fold in zip(sides, folds, strict=True)])
    few = list(companions)
    nested = np.empty((len(STRENGTHS), len(folds)))
    for out, (known, unknown) in enumerate(sides):
        rest = [i for i in range(len(folds)) if i != out]
        path = _path([sides[i] for i in rest], alone[rest], few)
        nested[:, out] = [auroc(known @ weights, unknown @ weights) for weights in path]
    chosen = _chosen(nested)
    with np.errstate(invalid="ignore"):
        there = np.isfinite(alone)
        auroc_mean = np.where(there, alone, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        squares = np.where(there, (alone - auroc_mean) ** 2, 0).sum(axis=0)
    return FoldFit(
        weights=_path(sides, alone, few)[chosen],
        strength=STRENGTHS[chosen],
        auroc=auroc_mean,
        spread=np.sqrt(squares / np.maximum(there.sum(axis=0), 1)),
        scores=nested[chosen],
    )


def _standardised(fold: FoldValues) -> tuple[Float64, Float64]:
    """Return both sides by the fold's own known images; a part that is missing or constant is 0."""
    missing = np.isnan(fold.known).all(axis=0) & np.isnan(fold.unknown).all(axis=0)
    known, unknown = (
        side[np.isfinite(np.where(missing, 0.0, side)).all(axis=1)] for side in (fold.known, fold.unknown)
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
    """Return the weights at each of ``STRENGTHS``."""
    equal, fitted_few, one = (np.zeros(alone.shape[1]) for _ in range(3))
    equal[few] = 1 / len(few)
    fitted_few[few] = logistic_weights([(known[:, few], unknown[:, few]) for known, unknown in sides])
    # A part that one of these folds does not have is NaN on average: it cannot stand alone.
    one[int(np.nanargmax(alone.mean(axis=0)))] = 1.0
    points = [equal, fitted_few, logistic_weights(sides), one]
    # Where no part helps there is nothing fitted.
    points = [point if point.sum() > 0 else equal for point in points]
    legs = [min(int(strength), len(points) - 2) for strength in STRENGTHS]
    return [
        (1 - strength + leg) * points[leg] + (strength - leg) * points[leg + 1]
        for strength, leg in zip(STRENGTHS, legs, strict=True)
    ]


def _chosen(nested: Float64) -> int:
    """Return the strength nearest to equal weights that does not lose to the best one by more than chance.

    Args:
        nested: ``[strengths, folds]``, AUROC on the fold that was held out.
    """
    special = import_extra("scipy.special", extra="export", purpose="fitting fusion weights")
    count = nested.shape[1]
    lost = nested[int(nested.mean(axis=1).argmax())] - nested
    # One-sided paired t test, fold by fold: three or four folds are few, and one standard error is little.
    limit = float(special.stdtrit(count - 1, CONFIDENCE)) / np.sqrt(count)
    return int(np.flatnonzero(lost.mean(axis=1) <= limit * lost.std(axis=1, ddof=1))[0])


def logistic_weights(sides: Sequence[tuple[Float64, Float64]]) -> Float64:
    """Return the weights of a regularised logistic regression, known against unknown.

    Args:
        sides: (known ``[n, parts]``, unknown ``[m, parts]``) of each fold, standardised and finite. Every
            fold and side weighs the same, however many images it has.

    Returns:
        ``[parts]``, not negative, sum 1; all 0 if no part helps.
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
    bounds = [(0.0, None)] * count + [(None, None)]
    found = optimize.minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    weights: Float64 = np.maximum(found.x[:-1], 0)
    return weights / weights.sum() if weights.sum() > 0 else weights
