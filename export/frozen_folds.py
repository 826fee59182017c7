"""Folds of a frozen backbone: heads trained on kept features, each without some of the known classes.

The map and the embedding do not change with the head, so they are computed once (``frozen_features.py``); a
fold is a head trained on the other classes by the run's own recipe, the constants of its parts, and their
values by the float64 reference. The discriminator is not trained again: only real outliers bring it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.export.fold import NOTHING, Fold, PartValues, accuracy_among
from edgeosr.export.frozen_features import FrozenFeatures, KnownFeatures, joined
from edgeosr.printed import counted, say
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.parts import carried_parts, with_constants
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import Head, Scorer

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


def frozen_folds(
    scorer: Scorer, features: KnownFeatures, recipe: FrozenRecipe, planned: Sequence[tuple[int, ...]]
) -> list[Fold]:
    """Train a head for each planned fold, without the classes it leaves out, and measure its own parts.

    Args:
        scorer: of the full network.
        features: of the full network's parts; labels index its classes.
        recipe: of the run's head.
        planned: labels that each fold leaves out.
    """
    scorer = _without_probes(scorer)
    if planned:
        _announce(planned, features, recipe, scorer.classes)
    return [_fold(scorer, features, recipe, left) for left in planned]


def full_as_fold(scorer: Scorer, features: KnownFeatures) -> Fold:
    """Return the full network: its select images, and the real outliers if there are any."""
    scorer = _without_probes(scorer)
    return Fold(
        left_out=(),
        classes=scorer.classes,
        known=_values(scorer, features.select),
        unknown=NOTHING if features.outliers is None else _values(scorer, features.outliers),
    )


def _without_probes(scorer: Scorer) -> Scorer:
    # Probes make no part that is weighed here, and would want tangents.
    return replace(scorer, probes=None)


def _values(scorer: Scorer, features: FrozenFeatures) -> PartValues:
    found = reference_scores(
        scorer, embedding=features.embeddings, jacobian_squared=features.jacobian_squared
    )
    columns = dict(zip(scorer.fusion.parts, found["values"].T, strict=True))
    return PartValues(correct=found["label"] == features.labels, by_part=columns, groups=features.groups)


def _fold(scorer: Scorer, features: KnownFeatures, recipe: FrozenRecipe, left: tuple[int, ...]) -> Fold:
    kept = np.setdiff1d(np.arange(scorer.classes), left)
    if len(kept) < 2:
        return Fold(left_out=left, classes=len(kept), known=NOTHING, unknown=NOTHING)
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
    return Fold(
        left_out=left,
        classes=len(kept),
        known=_values(own, select),
        unknown=_values(own, joined(*never_seen)),
        full_accuracy=accuracy_among(scorer, features.select, kept),
    )


def _known_to(features: FrozenFeatures, kept: NDArray[np.int64]) -> FrozenFeatures:
    inside = features.subset(np.isin(features.labels, kept))
    return replace(inside, labels=np.searchsorted(kept, inside.labels).astype(np.int64))


def _announce(
    planned: Sequence[tuple[int, ...]], features: KnownFeatures, recipe: FrozenRecipe, classes: int
) -> None:
    left = max(len(labels) for labels in planned)
    say(
        f"weighing the score parts on left-out classes: {counted(len(planned), 'head')} of "
        f"{counted(recipe.epochs, 'epoch')}, each "
        f"without {left} of {classes} classes, on {len(features.train)} kept embeddings; --folds 0 for none"
    )
