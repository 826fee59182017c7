"""Weights without a single outlier: every fold leaves known classes out, and these are its unknowns.

For frozen backbones. The map and the embedding do not change with the head, so they are computed once
(``frozen_features.py``); a fold is a head trained on the other classes by the run's own recipe, the constants
of its parts, and their values by the float64 reference. ``fold_weights.py`` makes weights of all folds.

The discriminator is not trained again: it takes part only where real outliers are a fold.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.left_out import ESTIMATED_RATES, FoldRecord, LeftOutRecord
from edgeosr.export.fold_weights import FEWEST_FOLDS, FoldFit, FoldValues, fit_over_folds
from edgeosr.export.frozen_features import FrozenFeatures, KnownFeatures, joined
from edgeosr.export.weights import GivenWeights
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.parts import carried_parts, with_constants
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import Head, Scorer

FEWEST_CLASSES = 3
# Where nothing can be fitted these three and the loss of the head share the weight: measured to be sound on
# features of a frozen pretrained backbone.
COMPANIONS = ("bank", "relative_mahalanobis")
# Few on purpose: choosing among many loses more than it wins.
OTHERS = ("ovr_loss", "raw_jacobian")
DISCRIMINATOR = "discriminator"
# A fold's head that keeps less than this share of the full run's accuracy above chance has collapsed.
KEPT_ACCURACY = 0.7
# Images on either side below which a fold tells nothing.
FEWEST_IMAGES = 8

# The points of the path of ``fold_weights.py``, in words.
POINTS = (
    "equal weights",
    "fitted weights",
    "weights fitted to all parts",
    "the best part alone",
    "free signs",
)

HeadTrainer = Callable[[FrozenFeatures, FrozenFeatures, int], Head]


@dataclass(frozen=True, kw_only=True)
class FrozenRecipe:
    """How a frozen run trains a head, so that folds can do the same.

    Attributes:
        train_head: from train and select features (labels from 0 to C - 1) and C.
        epochs: of one head, for the announcement.
        seed: of the constants of parts, and of the cut of many classes into folds.
    """

    train_head: HeadTrainer
    epochs: int
    seed: int


@dataclass(frozen=True)
class Decided:
    """``given``: the weights, None for the rule without folds; ``record``: None where no fold was tried."""

    given: GivenWeights | None
    record: LeftOutRecord | None


def planned_folds(classes: int, most: int, seed: int) -> list[tuple[int, ...]]:
    """Return the labels that each fold leaves out: one class a fold, or groups of classes if they are many.

    Empty for fewer than ``FEWEST_CLASSES`` classes and for ``most`` = 0.
    """
    if classes < FEWEST_CLASSES or most == 0:
        return []
    if classes <= most:
        return [(label,) for label in range(classes)]
    order = np.random.default_rng([seed, classes]).permutation(classes)
    return [tuple(sorted(group.tolist())) for group in np.array_split(order, most)]


def decide_weights(
    scorer: Scorer,
    features: KnownFeatures,
    recipe: FrozenRecipe,
    *,
    classes: Sequence[str],
    default_part: str,
    most_folds: int,
    false_reject_rate: float = 0.05,
) -> Decided:
    """Decide the weights of a frozen run's parts.

    Args:
        scorer: of the full network, with the constants of its parts.
        features: of the full network's parts; labels index ``classes``.
        recipe: of the run's head.
        classes: names of the known classes.
        default_part: the loss of the head.
        most_folds: as ``--folds``; 0 for none.
        false_reject_rate: at which false accepts are estimated, beside ``ESTIMATED_RATES``.
    """
    # Probes make no part that is weighed here, and would want tangents.
    scorer = replace(scorer, probes=None)
    equal = [name for name in (*COMPANIONS, default_part) if name in scorer.fusion.parts]
    folds = planned_folds(len(classes), most_folds, recipe.seed)
    if not folds:
        few = f"fewer than {FEWEST_CLASSES} known classes" if most_folds else "no folds were asked for"
        return Decided(_equal_weights(equal, features, few), None)
    _announce(folds, features, recipe, len(classes))
    values = {label: _fold_values(scorer, features, recipe, label) for label in folds}
    full = _values(scorer, features.select)
    accuracy = float(np.mean(full.labels == features.select.labels))
    dropped = {label: _dropped(fold, accuracy, len(classes)) for label, fold in values.items()}
    used = [fold for label, fold in values.items() if not dropped[label]]
    outliers = None
    if features.outliers is not None and used:
        outliers = _Fold(full, _values(scorer, features.outliers), accuracy, len(classes))
        used = [*used, outliers]
    fit, parts = None, _candidates(used, equal)
    if len(used) >= FEWEST_FOLDS:
        share = [parts.index(name) for name in equal if name in parts]
        fit = fit_over_folds(
            [fold.of(parts) for fold in used], share, sorted({*ESTIMATED_RATES, false_reject_rate})
        )
    scores = iter([] if fit is None else fit.scores.tolist())
    records = []
    for label, fold in [*values.items(), *([((), outliers)] if outliers is not None else [])]:
        why = dropped.get(label, "") or ("" if fit is not None else "alone it cannot be checked")
        records.append(_record(fold, tuple(classes[i] for i in label), None if why else next(scores), why))
    if fit is None:
        why = f"{len(used)} of {len(folds)} folds could be used"
        return Decided(_equal_weights(equal, features, why), _record_of(None, (), records))
    return Decided(_fitted(fit, parts, len(used)), _record_of(fit, parts, records))


@dataclass(frozen=True)
class _Values:
    """Labels ``[n]`` and values ``[n]`` by part."""

    labels: NDArray[np.int64]
    by_part: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class _Fold:
    known: _Values
    unknown: _Values
    accuracy: float
    classes: int

    def of(self, parts: Sequence[str]) -> FoldValues:
        known, unknown = (
            np.stack([side.by_part.get(name, np.full(len(side.labels), np.nan)) for name in parts], axis=1)
            for side in (self.known, self.unknown)
        )
        return FoldValues(known=known, unknown=unknown)


def _values(scorer: Scorer, features: FrozenFeatures) -> _Values:
    found = reference_scores(
        scorer, embedding=features.embeddings, jacobian_squared=features.jacobian_squared
    )
    columns = dict(zip(scorer.fusion.parts, found["values"].T, strict=True))
    return _Values(found["label"], columns)


def _fold_values(
    scorer: Scorer, features: KnownFeatures, recipe: FrozenRecipe, left: tuple[int, ...]
) -> _Fold:
    """Train a head without the classes ``left``, and measure its own parts on both sides."""
    kept = np.setdiff1d(np.arange(scorer.classes), left)
    if len(kept) < 2:
        nothing = _Values(np.zeros(0, np.int64), {})
        return _Fold(nothing, nothing, 0.0, len(kept))
    train, select = (_known_to(side, kept) for side in (features.train, features.select))
    own = replace(
        scorer,
        classes=len(kept),
        head=recipe.train_head(train, select, len(kept)),
        layers=(),
        fusion=unfitted_fusion(()),
        constants={},
    )
    own = with_constants(own, train.for_parts(len(kept), recipe.seed))
    own = replace(own, fusion=unfitted_fusion(carried_parts(own)))
    never_seen = [side.subset(np.isin(side.labels, left)) for side in (features.train, features.select)]
    known = _values(own, select)
    accuracy = float(np.mean(known.labels == select.labels)) if len(select) else 0.0
    return _Fold(known, _values(own, joined(*never_seen)), accuracy, len(kept))


def _known_to(features: FrozenFeatures, kept: NDArray[np.int64]) -> FrozenFeatures:
    inside = features.subset(np.isin(features.labels, kept))
    return replace(inside, labels=np.searchsorted(kept, inside.labels).astype(np.int64))


def _dropped(fold: _Fold, full_accuracy: float, classes: int) -> str:
    """Return why a fold is set aside; empty if it is not."""
    if fold.classes < 2:
        return "it leaves fewer than 2 classes to know"
    smallest = min(len(fold.known.labels), len(fold.unknown.labels))
    if smallest < FEWEST_IMAGES:
        return f"{smallest} images on one side, {FEWEST_IMAGES} are needed"
    own, full = _above_chance(fold.accuracy, fold.classes), _above_chance(full_accuracy, classes)
    if own < KEPT_ACCURACY * full:
        return f"select accuracy {fold.accuracy:.0%}, far below the full run's {full_accuracy:.0%}"
    return ""


def _above_chance(accuracy: float, classes: int) -> float:
    return (accuracy - 1 / classes) / (1 - 1 / classes)


def _candidates(folds: Sequence[_Fold], equal: Sequence[str]) -> list[str]:
    """Return the parts to weigh that some fold has; only real outliers bring the discriminator."""
    names = (*equal, *OTHERS, DISCRIMINATOR)
    return [name for name in names if any(name in fold.known.by_part for fold in folds)]


def _equal_weights(equal: Sequence[str], features: KnownFeatures, why: str) -> GivenWeights | None:
    """Return equal weights; None where real outliers, or a single part, decide without folds."""
    if features.outliers is not None or len(equal) < 2:
        return None
    return GivenWeights(dict.fromkeys(equal, 1 / len(equal)), f"equal weights: {why}")


def _fitted(fit: FoldFit, parts: Sequence[str], folds: int) -> GivenWeights:
    leg, share = int(fit.strength), fit.strength % 1
    where = f"{share:.0%} of the way from {POINTS[leg]} to {POINTS[leg + 1]}" if share else POINTS[leg]
    note = (
        f"weighed on left-out classes, {folds} folds: {where}; AUROC {fit.scores.mean():.3f} +- "
        f"{fit.scores.std():.3f} there, an estimate"
    )
    return GivenWeights(dict(zip(parts, fit.weights.tolist(), strict=True)), note)


def _record(fold: _Fold, classes: tuple[str, ...], auroc: float | None, dropped: str) -> FoldRecord:
    return FoldRecord(
        classes=classes,
        accuracy=fold.accuracy,
        known=len(fold.known.labels),
        unknown=len(fold.unknown.labels),
        auroc=auroc,
        dropped=dropped,
    )


def _record_of(fit: FoldFit | None, parts: Sequence[str], folds: list[FoldRecord]) -> LeftOutRecord:
    return LeftOutRecord(
        parts=tuple(parts),
        auroc=() if fit is None else tuple(fit.auroc.tolist()),
        spread=() if fit is None else tuple(fit.spread.tolist()),
        strength=None if fit is None else fit.strength,
        false_accepts=() if fit is None else fit.false_accepts,
        folds=tuple(folds),
    )


def _announce(
    folds: Sequence[tuple[int, ...]], features: KnownFeatures, recipe: FrozenRecipe, classes: int
) -> None:
    left = max(len(labels) for labels in folds)
    print(
        f"weighing the score parts on left-out classes: {len(folds)} heads of {recipe.epochs} epochs, each "
        f"without {left} of {classes} classes, on {len(features.train)} kept embeddings; --folds 0 for none",
        file=sys.stderr,
        flush=True,
    )
