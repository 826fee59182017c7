"""Standardisation and weights of the score parts, fitted on values of known and, if given, open images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.outlier_weighing import FOLDS, folds_of_images, too_few_to_weigh
from edgeosr.errors import DataError, require_choice
from edgeosr.export.fold_weights import first_not_beaten, logistic_weights
from edgeosr.metrics import auroc
from edgeosr.scoring.fusion import CONSTANT, Fusion, float32_values, weighted

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

DISCRIMINATOR = "discriminator"


@dataclass(frozen=True)
class GivenWeights:
    """Weights that were decided elsewhere: ``weights`` by part, and the ``note`` that says how."""

    weights: dict[str, float]
    note: str


def fit_fusion(
    parts: Sequence[str],
    known: Float32,
    unknown: Float32 | None,
    *,
    default_part: str,
    known_groups: NDArray[np.integer[Any]] | None = None,
    open_groups: NDArray[np.integer[Any]] | None = None,
    given: GivenWeights | None = None,
) -> Fusion:
    """Fit standardisation on known images and, given real open images, the weights.

    Without open images the default part has weight 1 and all others 0. With them, weights are those of a
    logistic regression (known against open, both sides weighing the same) with weights >= 0 and an L2
    penalty; they are kept only if their cross-validated AUROC beats the default part's. Synthetic outliers
    must not be passed: they may choose the discriminator's epoch, never a weight.

    Given weights are taken as they are, negative ones too; what lies on parts that do not vary here goes to
    the others, so that the sum of the magnitudes stays 1.

    Args:
        parts: names of the columns.
        known: float32 ``[n, parts]``, values of the select part.
        unknown: float32 ``[m, parts]``, values of real open validation images, or None.
        default_part: ``movr_loss``, or ``max_logit`` for cross-entropy and foreign models.
        known_groups: ``[n]``, equal for near copies, which then share a fold; None if there are none.
        open_groups: ``[m]``, likewise.
        given: weights from left-out classes; None to fit them here.

    Raises:
        UsageError: the default part is not one of ``parts``.
        DataError: no finite known row, or the default part is constant.
    """
    default = tuple(parts).index(require_choice("the default part", default_part, parts))
    means, stds, varies = _standardisation(known, len(parts))
    if not varies[default]:
        raise DataError(
            f"the part {default_part!r} has the same value for all {len(known)} known select images, "
            "so it cannot tell anything; is the network trained?"
        )
    weights = np.eye(len(parts))[default]
    note = f"weight 1 on {default_part}: no outliers to fit weights on, and no left-out classes"
    taken = np.zeros(len(parts))
    if given is not None:
        taken = np.array([given.weights.get(name, 0.0) for name in parts]) * varies
    # Negative weights alone would call whatever looks unknown known.
    if given is not None and taken.max() > 0:
        weights, note = taken / np.abs(taken).sum(), given.note
        constant = [name for name, moves in zip(parts, varies, strict=True) if not moves]
        gone = [name for name in constant if given.weights.get(name)]
        if gone:
            note += f"; not {', '.join(gone)}: the same value for all known select images"
    elif unknown is not None:
        folds = folds_of_images(len(known), known_groups, 0), folds_of_images(len(unknown), open_groups, 1)
        few = too_few_to_weigh(len(known), len(unknown), known_groups, open_groups)
        if few:
            note = f"weight 1 on {default_part}: {few}"
        else:
            inside, outside = ((np.asarray(side, np.float64) - means) / stds for side in (known, unknown))
            weights, note = _choose(parts, inside, outside, folds, default, varies)
    return Fusion(
        parts=tuple(parts),
        means=float32_values(means),
        stds=float32_values(stds),
        weights=float32_values(weights),
        note=note,
    )


def settled_by_outliers(
    given: GivenWeights,
    parts: Sequence[str],
    known: Float64,
    unknown: Float64,
    *,
    known_groups: NDArray[np.integer[Any]] | None = None,
    open_groups: NDArray[np.integer[Any]] | None = None,
) -> GivenWeights:
    """Let real outliers say whether weights from left-out classes are enough.

    Three rules compete in cross-validation, each further from what left-out classes said:

        the given weights -> these and the discriminator -> a logistic regression on all parts

    The first one that does not lose to the best by more than chance wins. Only real outliers can weigh a
    discriminator that learnt from them, and few of them say little about anything else.

    Args:
        given: from left-out classes, which knew no outlier.
        parts: names of the columns.
        known: ``[n, parts]``, values of the select part.
        unknown: ``[m, parts]``, values of real open validation images.
        known_groups: ``[n]``, equal for near copies, which then share a fold; None if there are none.
        open_groups: ``[m]``, likewise.

    Returns:
        Weights of the rule that won, and a note that says which and by what.

    Raises:
        DataError: no finite known row.
    """
    means, stds, varies = _standardisation(known, len(parts))
    taken = np.array([given.weights.get(name, 0.0) for name in parts]) * varies
    if not taken.max() > 0:
        return given
    folds = folds_of_images(len(known), known_groups, 0), folds_of_images(len(unknown), open_groups, 1)
    few = too_few_to_weigh(len(known), len(unknown), known_groups, open_groups)
    if few:
        return GivenWeights(given.weights, f"{given.note}; {few}")
    inside, outside = ((side - means) / stds for side in (known, unknown))
    rules: list[tuple[str, Callable[[Float64, Float64], Float64]]] = [
        ("left-out classes alone", lambda known, unknown: taken)
    ]
    if DISCRIMINATOR in parts and varies[list(parts).index(DISCRIMINATOR)]:
        at = list(parts).index(DISCRIMINATOR)
        rules.append(("with the discriminator", lambda known, unknown: _with_part(at, taken, known, unknown)))
    rules.append(("outliers alone", lambda known, unknown: _logistic_weights(known, unknown, varies)))
    held_out = np.empty((len(rules), FOLDS))
    for fold in range(FOLDS):
        rest = inside[folds[0] != fold], outside[folds[1] != fold]
        tried = inside[folds[0] == fold], outside[folds[1] == fold]
        for row, (_, rule) in enumerate(rules):
            weights = rule(*rest)
            held_out[row, fold] = auroc(*(weighted(side, weights) for side in tried))
    chosen = first_not_beaten(held_out)
    found = rules[chosen][1](inside, outside)
    if not found.any():
        chosen, found = 0, taken
    compared = ", ".join(
        f"{mean:.4f} {name}" for mean, (name, _) in zip(held_out.mean(axis=1), rules, strict=True)
    )
    note = (
        f"{given.note}; real outliers chose: {rules[chosen][0]} ({FOLDS}-fold AUROC {compared}; "
        f"{len(known)} known and {len(unknown)} outlier images)"
    )
    found = found / np.abs(found).sum()
    return GivenWeights(dict(zip(parts, found.tolist(), strict=True)), note)


def _with_part(at: int, weights: Float64, known: Float64, unknown: Float64) -> Float64:
    """Return ``weights`` and one more part, by a logistic regression of the two; all 0 if neither helps."""
    scores = [weighted(side, weights) for side in (known, unknown)]
    spread = float(scores[0][np.isfinite(scores[0])].std()) or 1.0
    two = [
        np.stack([score / spread, side[:, at]], axis=1)
        for score, side in zip(scores, (known, unknown), strict=True)
    ]
    share = _logistic_weights(two[0], two[1], np.ones(2, np.bool_))
    return np.asarray(share[0] / spread * weights + share[1] * np.eye(len(weights))[at])


def _standardisation(values: Float32 | Float64, count: int) -> tuple[Float64, Float64, NDArray[np.bool_]]:
    """Return (means, stds, which parts vary) over the rows that are finite."""
    if values.ndim != 2 or values.shape[1] != count:
        raise DataError(f"the values of {count} parts must be [n, {count}]; got {values.shape}")
    finite = np.isfinite(values).all(axis=1)
    if not finite.any():
        raise DataError(
            f"none of the {len(values)} known select images has finite score parts; "
            "the network overflows: train it again with a smaller learning rate"
        )
    rows = values[finite].astype(np.float64)
    means, stds = rows.mean(axis=0), rows.std(axis=0)
    varies = stds > CONSTANT * (1 + np.abs(means))
    return means, np.where(varies, stds, 1.0), varies


def _choose(
    parts: Sequence[str],
    known: Float64,
    unknown: Float64,
    folds: tuple[NDArray[np.int64], NDArray[np.int64]],
    default: int,
    varies: NDArray[np.bool_],
) -> tuple[Float64, str]:
    """Return (weights, note): the fitted ones if they win the cross-validation, else the default part."""
    fitted, alone = [], []
    for fold in range(FOLDS):
        weights = _logistic_weights(known[folds[0] != fold], unknown[folds[1] != fold], varies)
        held_out = known[folds[0] == fold], unknown[folds[1] == fold]
        fitted.append(auroc(*(weighted(side, weights) for side in held_out)))
        alone.append(auroc(*(side[:, default] for side in held_out)))
    weights = _logistic_weights(known, unknown, varies)
    name = parts[default]
    comparison = (
        f"{FOLDS}-fold AUROC {np.mean(fitted):.4f} fitted against {np.mean(alone):.4f} for {name} alone, "
        f"{len(known)} known and {len(unknown)} outlier images"
    )
    if weights.sum() > 0 and np.mean(fitted) > np.mean(alone):
        return weights, f"non-negative logistic regression: {comparison}"
    return np.eye(len(parts))[default], f"weight 1 on {name}: {comparison}"


def _logistic_weights(known: Float64, unknown: Float64, varies: NDArray[np.bool_]) -> Float64:
    """Return weights >= 0 that sum to 1 (all 0 if no part helps), of standardised parts ``[n, parts]``."""
    sides = [side[:, varies] for side in (known, unknown)]
    sides = [side[np.isfinite(side).all(axis=1)] for side in sides]
    weights = np.zeros(len(varies))
    weights[varies] = logistic_weights([(sides[0], sides[1])])
    return weights
