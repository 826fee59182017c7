"""Open-set metrics from unknown scores; tie-aware, and with scores that are not finite allowed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, import_extra

Scores = NDArray[np.floating[Any]]


def auroc(known_scores: Scores, unknown_scores: Scores) -> float:
    """Return P(unknown > known) + P(equal) / 2 over all pairs, 0 to 1 (scikit-learn)."""
    ranks, unknown = _ranks(known_scores, unknown_scores)
    return float(_sklearn().roc_auc_score(unknown, ranks))


def _sklearn() -> Any:
    return import_extra("sklearn.metrics", extra="export", purpose="evaluation")


def _ranks(known_scores: Scores, unknown_scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (dense ranks of all scores, known first; True where unknown): order and ties, always finite."""
    scores = [comparable(known_scores), comparable(unknown_scores)]
    for name, part in zip(("known", "unknown"), scores, strict=True):
        if part.ndim != 1 or len(part) == 0:
            raise DataError(f"{name} scores must be a non-empty row of numbers; got shape {part.shape}")
    ranks = np.unique(np.concatenate(scores), return_inverse=True)[1]
    return ranks.astype(np.int64), np.repeat([False, True], [len(scores[0]), len(scores[1])])


def comparable(scores: Scores) -> NDArray[np.float64]:
    """Return the scores as float64 with everything that is not finite as +inf, the most unknown."""
    wide = np.asarray(scores, np.float64)
    return np.where(np.isfinite(wide), wide, np.inf)
