"""Open-set metrics, all from unknown scores: larger = more unknown, not finite = most unknown (+inf).

Definitions: reference numbers are those of the field's protocols; where two conventions share a name, ours
says which one it is. Ties are honoured everywhere. Only the order of scores matters, except for AUTC.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, UsageError, import_extra

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Float64 = NDArray[np.float64]
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share with its exact (Clopper-Pearson) interval at 95 %.

    Attributes:
        value: 0 to 1.
        low: lower end of the interval.
        high: upper end.
        samples: what was counted: images, or groups if groups were given.
    """

    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class OpenSetMetrics:
    """How well one score separates known from unknown test images; all 0 to 1.

    Attributes:
        known: number of known test images.
        unknown: number of unknown test images.
        auroc: P(unknown > known) + P(equal) / 2.
        aupr_unknown_positive: average precision of finding unknown images.
        aupr_known_positive: average precision of finding known images.
        fpr_at_95_tpr_known_positive: share of unknown accepted where 95 % of known are (lower is better).
        fpr_at_95_tpr_unknown_positive: share of known flagged where 95 % of unknown are (lower is better).
        oscr: area under correct classification rate over false positive rate; at most ``closed_accuracy``.
        autc: area under the threshold curve, lower is better; None if all scores are equal.
        closed_accuracy: of the known images, nothing rejected.
        threshold: the shipped one, or None if none was given; the fields below are then None.
        macro_f1: unweighted mean of F1 over K known classes and "unknown".
        false_reject: share of known images rejected.
        false_accept: share of unknown images accepted.
    """

    known: int
    unknown: int
    auroc: float
    aupr_unknown_positive: float
    aupr_known_positive: float
    fpr_at_95_tpr_known_positive: float
    fpr_at_95_tpr_unknown_positive: float
    oscr: float
    autc: float | None
    closed_accuracy: float
    threshold: float | None = None
    macro_f1: float | None = None
    false_reject: Rate | None = None
    false_accept: Rate | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def open_set_report(
    known_scores: Scores,
    unknown_scores: Scores,
    known_labels: Labels,
    known_predictions: Labels,
    threshold: float | None = None,
    *,
    unknown_predictions: Labels | None = None,
    classes: int | None = None,
    known_groups: Labels | None = None,
    unknown_groups: Labels | None = None,
) -> OpenSetMetrics:
    """Measure everything for one score.

    Args:
        known_scores: unknown scores of known test images, ``[n]``, n >= 1.
        unknown_scores: of unknown test images, ``[m]``, m >= 1.
        known_labels: ``[n]``, 0 .. classes - 1.
        known_predictions: ``[n]``, the network's top class whether accepted or not, which ``closed_accuracy``
            and the OSCR count; -1 where that is an output that means unknown: never right.
        threshold: accept if score <= threshold; None leaves out what needs one.
        unknown_predictions: ``[m]``, likewise; needed with a threshold (an accepted unknown spoils the F1 of
            the class it is taken for).
        classes: K; needed with a threshold.
        known_groups: ``[n]``, equal for near copies, which then count as one in ``false_reject``.
        unknown_groups: ``[m]``, likewise in ``false_accept``.

    Raises:
        DataError: a row is empty or rows of one side differ in length.
        UsageError: the threshold is NaN, or predictions or classes are missing for it.
    """
    _require_length("known", known_scores, known_labels, known_predictions, known_groups)
    _require_length("unknown", unknown_scores, unknown_predictions, unknown_groups)
    correct = np.asarray(known_labels) == np.asarray(known_predictions)
    aupr_unknown, aupr_known = aupr(known_scores, unknown_scores)
    fpr_known, fpr_unknown = fpr_at_95_tpr(known_scores, unknown_scores)
    at_threshold: dict[str, Any] = {}
    if threshold is not None:
        if unknown_predictions is None or classes is None:
            raise UsageError("with a threshold, pass unknown_predictions and classes as well")
        at_threshold = {
            "threshold": float(threshold),
            "macro_f1": macro_f1_open(
                known_scores, unknown_scores, known_labels, known_predictions, unknown_predictions,
                threshold=threshold, classes=classes,
            ),
            "false_reject": rejection_rate(known_scores, threshold, known_groups),
            "false_accept": acceptance_rate(unknown_scores, threshold, unknown_groups),
        }  # fmt: skip
    return OpenSetMetrics(
        known=len(known_scores),
        unknown=len(unknown_scores),
        auroc=auroc(known_scores, unknown_scores),
        aupr_unknown_positive=aupr_unknown,
        aupr_known_positive=aupr_known,
        fpr_at_95_tpr_known_positive=fpr_known,
        fpr_at_95_tpr_unknown_positive=fpr_unknown,
        oscr=oscr(known_scores, unknown_scores, correct),
        autc=autc(known_scores, unknown_scores),
        closed_accuracy=float(correct.mean()),
        **at_threshold,
    )


def auroc(known_scores: Scores, unknown_scores: Scores) -> float:
    """Return P(unknown > known) + P(equal) / 2 over all pairs, 0 to 1 (scikit-learn)."""
    ranks, unknown = _ranks(known_scores, unknown_scores)
    return float(_sklearn().roc_auc_score(unknown, ranks))


def aupr(known_scores: Scores, unknown_scores: Scores) -> tuple[float, float]:
    """Return average precision with (unknown, known) as the positive class (scikit-learn).

    Average precision is the step-wise sum, not the trapezoid that some public tables use.
    """
    ranks, unknown = _ranks(known_scores, unknown_scores)
    average_precision = _sklearn().average_precision_score
    return float(average_precision(unknown, ranks)), float(average_precision(~unknown, -ranks))


def fpr_at_95_tpr(known_scores: Scores, unknown_scores: Scores) -> tuple[float, float]:
    """Return the false positive rate at 95 % true positive rate, with (known, unknown) as the positive class.

    Known positive (ARPL and the open-set literature; 1 - TNR): the strictest threshold that accepts at least
    95 % of known images accepts this share of the unknown. Unknown positive (OpenOOD, pytorch-ood): the
    strictest that flags at least 95 % of unknown images flags this share of the known.
    """
    ranks, unknown = _ranks(known_scores, unknown_scores)
    return _fpr(~unknown, -ranks), _fpr(unknown, ranks)


def oscr(known_scores: Scores, unknown_scores: Scores, correct: NDArray[np.bool_]) -> float:
    """Return the area under the OSCR curve (Dhamija et al. 2018, arXiv 1811.04110), ties counted half.

    With one point per distinct score and the trapezoid rule it equals ``1 / (n m) * sum over known i and
    unknown j of correct_i * (1[i less unknown than j] + 1/2 [equal])``, which is how it is computed, sorted.

    Args:
        known_scores: ``[n]``.
        unknown_scores: ``[m]``.
        correct: bool ``[n]``, whether known image i is classified correctly, nothing rejected.
    """
    ranks, unknown = _ranks(known_scores, unknown_scores)
    known_ranks, unknown_ranks = ranks[~unknown], np.sort(ranks[unknown])
    less = np.searchsorted(unknown_ranks, known_ranks, side="left")
    less_or_equal = np.searchsorted(unknown_ranks, known_ranks, side="right")
    above = len(unknown_ranks) - (less + less_or_equal) / 2
    return float(above[np.asarray(correct, bool)].sum() / (len(known_ranks) * len(unknown_ranks)))


def oscr_curve(
    known_scores: Scores, unknown_scores: Scores, correct: NDArray[np.bool_]
) -> tuple[Float64, Float64]:
    """Return (false positive rate, correct classification rate) from (0, 0) to (1, closed accuracy)."""
    ranks, unknown = _ranks(known_scores, unknown_scores)
    top = int(ranks.max()) + 1
    accepted = np.cumsum(np.bincount(ranks[unknown], minlength=top)) / unknown.sum()
    right = np.cumsum(np.bincount(ranks[~unknown][np.asarray(correct, bool)], minlength=top))
    return np.append(0.0, accepted), np.append(0.0, right / (~unknown).sum())


def roc_curve(known_scores: Scores, unknown_scores: Scores) -> tuple[Float64, Float64]:
    """Return (share of known flagged, share of unknown flagged) from (0, 0) to (1, 1)."""
    ranks, unknown = _ranks(known_scores, unknown_scores)
    flagged_known, flagged_unknown, _ = _sklearn().roc_curve(unknown, ranks)
    return flagged_known, flagged_unknown


def autc(known_scores: Scores, unknown_scores: Scores) -> float | None:
    """Return the area under the threshold curve (arXiv 2306.14658); lower is better.

    With u the scores scaled to 0..1 by the smallest and largest finite score of both sides (1 if not
    finite): half of (mean u over known + mean 1 - u over unknown). None if there is nothing to scale by.
    """
    scores = np.concatenate([comparable(known_scores), comparable(unknown_scores)])
    finite = scores[np.isfinite(scores)]
    if finite.size == 0 or finite.min() == finite.max():
        return None
    scaled = np.minimum((scores - finite.min()) / (finite.max() - finite.min()), 1.0)
    known, unknown = scaled[: len(known_scores)], scaled[len(known_scores) :]
    return float((known.mean() + (1 - unknown).mean()) / 2)


def macro_f1_open(
    known_scores: Scores,
    unknown_scores: Scores,
    known_labels: Labels,
    known_predictions: Labels,
    unknown_predictions: Labels,
    *,
    threshold: float,
    classes: int,
) -> float:
    """Return the unweighted mean of F1 over the K known classes and "unknown" (scikit-learn).

    A class with no image and no prediction has F1 = 0.
    """
    truth = np.concatenate([known_labels, np.full(len(unknown_scores), classes)])
    accepted = np.concatenate([_accepted(known_scores, threshold), _accepted(unknown_scores, threshold)])
    predictions = np.concatenate([known_predictions, unknown_predictions])
    answers = np.where(accepted, predictions, classes)
    labels = np.arange(classes + 1)
    return float(_sklearn().f1_score(truth, answers, labels=labels, average="macro", zero_division=0))


def rejection_rate(scores: Scores, threshold: float, groups: Labels | None = None) -> Rate:
    """Return the share with score > threshold (or not finite).

    Args:
        scores: ``[n]``, n >= 1.
        threshold: accept if score <= threshold.
        groups: ``[n]``; every group then weighs one, and the interval counts groups as if the images of a
            group were all accepted or all rejected together (the widest case).
    """
    return rate_of(~_accepted(scores, threshold), groups)


def acceptance_rate(scores: Scores, threshold: float, groups: Labels | None = None) -> Rate:
    """Return the share with score <= threshold; see ``rejection_rate``."""
    return rate_of(_accepted(scores, threshold), groups)


def comparable(scores: Scores) -> Float64:
    """Return the scores as float64 with everything that is not finite as +inf, the most unknown."""
    wide = np.asarray(scores, np.float64)
    return np.where(np.isfinite(wide), wide, np.inf)


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


def _fpr(positive: NDArray[np.bool_], ranks: NDArray[np.int64]) -> float:
    false_rates, true_rates, _ = _sklearn().roc_curve(positive, ranks, drop_intermediate=False)
    return float(false_rates[np.argmax(true_rates >= 0.95)])


def _accepted(scores: Scores, threshold: float) -> NDArray[np.bool_]:
    if np.isnan(threshold):
        raise UsageError("the threshold must be a number; got NaN")
    wide = np.asarray(scores, np.float64)
    return np.isfinite(wide) & (wide <= threshold)


def rate_of(hits: NDArray[np.bool_], groups: Labels | None = None) -> Rate:
    """Return the share of hits; ``groups``: see ``rejection_rate``."""
    if len(hits) == 0:
        raise DataError("a rate needs at least one image; got none")
    shares = hits.astype(np.float64)
    if groups is not None:
        _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        shares = np.bincount(index, weights=shares) / sizes
    count, total = len(shares), float(shares.sum())
    beta = import_extra("scipy.stats", extra="export", purpose="evaluation").beta
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, total, count - total + 1)) if total > 0 else 0.0
    high = float(beta.ppf(1 - tail, total + 1, count - total)) if total < count else 1.0
    return Rate(value=total / count, low=low, high=high, samples=count)


def _require_length(side: str, scores: Scores, *rows: Labels | None) -> None:
    lengths = {len(row) for row in rows if row is not None} | {len(scores)}
    if len(lengths) > 1:
        raise DataError(
            f"scores, labels, predictions and groups of {side} images must have one length; "
            f"got {sorted(lengths)}"
        )
