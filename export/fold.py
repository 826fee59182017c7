"""One fold as it was measured: what its own network gives the score parts, for known and left-out images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.export.fold_weights import FoldValues
from edgeosr.export.frozen_features import FrozenFeatures
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class PartValues:
    """What a network says about n images.

    Attributes:
        correct: bool ``[n]``, it names the class; all False for images of no class that it knows.
        by_part: float64 ``[n]`` by part.
        groups: int64 ``[n]``, equal for near copies (frames of a track); None if there are none.
    """

    correct: NDArray[np.bool_]
    by_part: dict[str, NDArray[np.float64]]
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.correct)

    def usable(self, parts: Sequence[str]) -> int:
        """Count the images whose values of these parts are finite; near copies count once."""
        columns = [np.isfinite(self.by_part[name]) for name in parts if name in self.by_part]
        finite = np.all(columns, axis=0) if columns else np.ones(len(self), np.bool_)
        return int(finite.sum()) if self.groups is None else len(np.unique(self.groups[finite]))


NOTHING = PartValues(correct=np.zeros(0, np.bool_), by_part={})


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A network that never saw some classes.

    Attributes:
        left_out: labels of these classes, as the full network numbers them; empty for real outliers.
        classes: how many classes it knows.
        known: select images of the classes that it knows.
        unknown: images that are unknown to it: the train and select images of the classes left out.
        full_accuracy: of the full network on ``known``, asked which of the fold's classes it is
            (``accuracy_among``), 0 to 1; None for the full network itself, and without known images.
    """

    left_out: tuple[int, ...]
    classes: int
    known: PartValues
    unknown: PartValues
    full_accuracy: float | None = None

    @property
    def accuracy(self) -> float:
        """Closed-set accuracy on the known images, 0 to 1; 0 without any."""
        return float(np.mean(self.known.correct)) if len(self.known) else 0.0

    def of(self, parts: Sequence[str]) -> FoldValues:
        """Return the values of these parts; NaN for one that this network does not have."""
        known, unknown = (
            np.stack([side.by_part.get(name, np.full(len(side), np.nan)) for name in parts], axis=1)
            for side in (self.known, self.unknown)
        )
        return FoldValues(known=known, unknown=unknown, known_groups=self.known.groups)


def accuracy_among(scorer: Scorer, features: FrozenFeatures, kept: NDArray[np.int64]) -> float:
    """Return how often a network names an image right that may choose among some of its classes only, 0 to 1.

    0 without such images.

    Args:
        scorer: of the network, with a head of its own.
        features: of its embeddings; images of other classes are passed over.
        kept: labels of these classes.
    """
    inside = features.subset(np.isin(features.labels, kept))
    if not len(inside):
        return 0.0
    bare = replace(
        scorer, closed_form=None, probes=None, layers=(), constants={}, fusion=unfitted_fusion(("max_logit",))
    )
    logits = reference_scores(bare, embedding=inside.embeddings)["logits"]
    return float(np.mean(kept[logits[:, kept].argmax(axis=1)] == inside.labels))
