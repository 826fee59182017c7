"""One unknown score out of several parts: standardised, then weighed. Larger always means more unknown."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, UsageError, import_extra, require_choice
from edgeosr.metrics import auroc
from edgeosr.verdict import FLOOR, PART_NAMES, VALUE_NAMES

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

FOLDS = 5
# Per fold at least this many images of each side; below it, weights are not fitted at all.
SMALLEST_FOLD = 4
# L2 penalty on the weights of standardised parts, in nats an image.
PENALTY = 0.01
# A part whose standard deviation is below this share of its magnitude is a constant with rounding noise.
CONSTANT = 1e-6


@dataclass(frozen=True, kw_only=True)
class FittedFusion:
    """Unknown score = sum of weights * (parts - means) / stds, in the order of ``PART_NAMES``.

    Attributes:
        means: float32 ``[5]``, over known select images; 0 where the part is not usable.
        stds: float32 ``[5]``, > 0; 1 where the part is not usable or constant.
        weights: float32 ``[5]``, >= 0, sum 1; 0 where the part is not usable or constant.
        note: one line on where the weights come from, for the manifest and reports.
    """

    means: Float32
    stds: Float32
    weights: Float32
    note: str

    def scores(self, parts: Float32) -> Float32:
        """Return the fused unknown score of each row of parts, float32 ``[n, 5]`` -> float32 ``[n]``."""
        gain = np.asarray(self.weights, np.float64) / self.stds
        return _weighted(np.asarray(parts, np.float64) - self.means, gain).astype(np.float32)

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the manifest."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in asdict(self).items()
        }


def parts_from_values(values: Float32) -> Float32:
    """Turn the graph's values into score parts.

    Args:
        values: float32 ``[n, 5]`` in the order of ``VALUE_NAMES``: J, logit D(z), m-OvR loss, max logit, |z|.

    Returns:
        float32 ``[n, 5]`` in the order of ``PART_NAMES``: log J, -logit D(z), the loss, -max logit,
        -log |z|; J and |z| are not taken below ``FLOOR``. NaN stays NaN.
    """
    if values.ndim != 2 or values.shape[1] != len(VALUE_NAMES):
        raise DataError(f"values must be [n, {len(VALUE_NAMES)}]; got {values.shape}")
    jacobian, discriminator, movr_loss, top_logit, norm = np.asarray(values, np.float32).T
    floor = np.float32(FLOOR)
    parts = [
        np.log(np.maximum(jacobian, floor)),
        -discriminator,
        movr_loss,
        -top_logit,
        -np.log(np.maximum(norm, floor)),
    ]
    return np.stack(parts, axis=1).astype(np.float32)


def fit_fusion(
    known_parts: Float32,
    open_parts: Float32 | None,
    *,
    default_part: str,
    usable: Collection[str],
    known_groups: NDArray[np.integer[Any]] | None = None,
    open_groups: NDArray[np.integer[Any]] | None = None,
) -> FittedFusion:
    """Fit standardisation on known images and, given real open images, the weights.

    Without open images the default part has weight 1 and all others 0. With them, weights are those of a
    logistic regression (known against open, both sides weighing the same) with weights >= 0 and an L2
    penalty; they are kept only if their cross-validated AUROC beats the default part's. Synthetic outliers
    must not be passed: they may choose the discriminator's epoch, never a weight.

    Args:
        known_parts: float32 ``[n, 5]`` of the select part.
        open_parts: float32 ``[m, 5]`` of real open validation images, or None.
        default_part: ``movr_loss``, or ``max_logit`` for cross-entropy and foreign models.
        usable: names of the parts this network has; the others get weight 0.
        known_groups: ``[n]``, equal for near copies, which then share a fold; None if there are none.
        open_groups: ``[m]``, likewise.

    Raises:
        UsageError: a name is not one of ``PART_NAMES``, or the default part is not usable.
        DataError: no finite known row, or the default part is constant.
    """
    for name in (default_part, *usable):
        require_choice("a score part", name, PART_NAMES)
    if default_part not in usable:
        raise UsageError(f"the default part {default_part!r} must be usable; usable: {', '.join(usable)}")
    default = PART_NAMES.index(default_part)
    mask = np.array([name in usable for name in PART_NAMES])
    means, stds, varies = _standardisation(known_parts, mask)
    if not varies[default]:
        raise DataError(
            f"the part {default_part!r} has the same value for all {len(known_parts)} known select images, "
            "so it cannot tell anything; is the network trained?"
        )
    weights = np.eye(len(PART_NAMES))[default]
    note = f"weight 1 on {default_part}: no real open images to fit weights on"
    if open_parts is not None:
        known, unknown = ((np.asarray(part, np.float64) - means) / stds for part in (known_parts, open_parts))
        folds = _folds(len(known), known_groups, 0), _folds(len(unknown), open_groups, 1)
        smallest = min(int(np.bincount(part, minlength=FOLDS).min()) for part in folds)
        if smallest < SMALLEST_FOLD:
            note = (
                f"weight 1 on {default_part}: {len(known)} known and {len(unknown)} open images are too few "
                f"for {FOLDS}-fold cross-validation"
            )
        else:
            weights, note = _choose(known, unknown, folds, default, varies)
    return FittedFusion(
        means=means.astype(np.float32),
        stds=stds.astype(np.float32),
        weights=weights.astype(np.float32),
        note=note,
    )


def _standardisation(parts: Float32, mask: NDArray[np.bool_]) -> tuple[Float64, Float64, NDArray[np.bool_]]:
    """Return (means, stds, where a usable part varies) over the rows whose usable parts are finite."""
    if parts.ndim != 2 or parts.shape[1] != len(PART_NAMES):
        raise DataError(f"parts must be [n, {len(PART_NAMES)}]; got {parts.shape}")
    finite = np.isfinite(parts[:, mask]).all(axis=1)
    if not finite.any():
        raise DataError(
            f"none of the {len(parts)} known select images has finite score parts; "
            "the network overflows: train it again with a smaller learning rate"
        )
    rows = np.where(mask, parts[finite].astype(np.float64), 0.0)
    means, stds = rows.mean(axis=0), rows.std(axis=0)
    varies = mask & (stds > CONSTANT * (1 + np.abs(means)))
    return means, np.where(varies, stds, 1.0), varies


def _folds(count: int, groups: NDArray[np.integer[Any]] | None, stream: int) -> NDArray[np.int64]:
    """Return each image's fold, 0 to FOLDS - 1; images of a group share one. Deterministic."""
    ids = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    shuffled = np.random.default_rng((count, stream)).permutation(int(ids.max(initial=-1)) + 1)
    return (shuffled[ids] % FOLDS).astype(np.int64)


def _choose(
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
        fitted.append(auroc(*(_weighted(side, weights) for side in held_out)))
        alone.append(auroc(*(side[:, default] for side in held_out)))
    weights = _logistic_weights(known, unknown, varies)
    name = PART_NAMES[default]
    comparison = (
        f"{FOLDS}-fold AUROC {np.mean(fitted):.4f} fitted against {np.mean(alone):.4f} for {name} alone, "
        f"{len(known)} known and {len(unknown)} open images"
    )
    if weights.sum() > 0 and np.mean(fitted) > np.mean(alone):
        return weights, f"non-negative logistic regression: {comparison}"
    return np.eye(len(PART_NAMES))[default], f"weight 1 on {name}: {comparison}"


def _weighted(parts: Float64, weights: Float64) -> Float64:
    """Return ``parts @ weights``; as in the graph, 0 * inf is NaN, which means unknown."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(parts @ weights, np.float64)


def _logistic_weights(known: Float64, unknown: Float64, varies: NDArray[np.bool_]) -> Float64:
    """Return weights >= 0 that sum to 1 (all 0 if no part helps), of standardised parts ``[n, 5]``."""
    optimize = import_extra("scipy.optimize", extra="export", purpose="fitting fusion weights")
    sides = [side[:, varies] for side in (known, unknown)]
    sides = [side[np.isfinite(side).all(axis=1)] for side in sides]
    rows = np.concatenate(sides)
    signs = np.repeat([-1.0, 1.0], [len(side) for side in sides])
    shares = np.repeat([0.5 / max(len(side), 1) for side in sides], [len(side) for side in sides])

    def loss(parameters: Float64) -> tuple[float, Float64]:
        margins = signs * (rows @ parameters[:-1] + parameters[-1])
        slopes = -shares * signs * np.exp(-np.logaddexp(0, margins))
        gradient = np.append(rows.T @ slopes + PENALTY * parameters[:-1], slopes.sum())
        penalty = PENALTY / 2 * float(parameters[:-1] @ parameters[:-1])
        return float(shares @ np.logaddexp(0, -margins)) + penalty, gradient

    count = rows.shape[1]
    bounds = [(0.0, None)] * count + [(None, None)]
    found = optimize.minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    weights = np.zeros(len(varies))
    weights[varies] = np.maximum(found.x[:-1], 0)
    return weights / weights.sum() if weights.sum() > 0 else weights
