"""Fusion weights on the select part, threshold on the calibrate part: on the exported graph itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.export.conformal import conformal_threshold, per_class
from edgeosr.export.measure import Measured, Runner
from edgeosr.export.weights import GivenWeights, fit_fusion
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.thresholds import COMMON, PER_CLASS, Threshold


@dataclass(frozen=True)
class SelectFit:
    """The fusion, the measurements it was fitted on, and the weights that were given to it."""

    fusion: Fusion
    known: Measured
    unknown: Measured | None
    given: GivenWeights | None = None


@dataclass(frozen=True)
class SelectScores:
    """What a graph says about the select part, and about real open validation images if there are any."""

    known: Measured
    unknown: Measured | None


def score_select(runner: Runner, select: LabelledImages, open_select: LabelledImages | None) -> SelectScores:
    """Score the images that fusions are fitted on.

    Args:
        runner: of the scoring graph, its fusion not yet fitted.
        select: known images of the select part.
        open_select: real open validation images (never test unknowns), or None.

    Raises:
        DataError: more than 1 % of the images cannot be read.
    """
    known = runner.measure(select, "scoring the select part")
    unknown = (
        None if open_select is None else runner.measure(open_select, "scoring the open validation images")
    )
    return SelectScores(known, unknown)


def fit_on_select(
    scores: SelectScores,
    *,
    parts: Sequence[str],
    default_part: str,
    given: GivenWeights | None = None,
) -> SelectFit:
    """Fit standardisation and fusion weights.

    Args:
        scores: without open images, weights that are not given stay on ``default_part`` alone.
        parts: that the graph computes.
        default_part: the part that has weight 1 without open data.
        given: weights from left-out classes; None to fit them here.
    """
    known, unknown = scores.known, scores.unknown
    fusion = fit_fusion(
        parts,
        known.values,
        None if unknown is None else unknown.values,
        default_part=default_part,
        known_groups=known.groups,
        open_groups=None if unknown is None else unknown.groups,
        given=given,
    )
    return SelectFit(fusion, known, unknown, given)


def require_better_than_chance(select: Measured, classes: Sequence[str]) -> None:
    """Refuse a run's classifier that names known images hardly better than by chance.

    One that was not trained here is checked by ``foreign/known_check.py``, before anything is made of it.

    Args:
        select: its answers on the select part.
        classes: the names of its outputs.

    Raises:
        DataError: it is right on at most 1.5 / C of them.
    """
    if select.accuracy <= 1.5 / len(classes):
        raise DataError(
            f"the classifier names only {select.accuracy:.1%} of the known select images correctly, hardly "
            f"more than by chance with {len(classes)} classes; train it longer, or on more images"
        )


def threshold_on_calibrate(
    runner: Runner,
    calibrate: LabelledImages,
    false_reject_rate: float,
    *,
    rule: str = COMMON,
    classes: int = 0,
) -> tuple[Threshold, Measured]:
    """Fit the conformal threshold on the final graph's own scores of the calibrate part.

    Args:
        runner: of the final graph.
        calibrate: known images that fitted nothing else.
        false_reject_rate: the target.
        rule: one of ``RULES``.
        classes: how many the graph names; for the rule ``per-class``.

    Raises:
        DataError: too few images (or tracks) for the rate.
    """
    measured = runner.measure(calibrate, "scoring the calibrate part")
    threshold = conformal_threshold(measured.scores, measured.groups, false_reject_rate)
    if rule == PER_CLASS:
        predictions = measured.predictions
        threshold = per_class(threshold, measured.scores, measured.groups, predictions, classes)
    return threshold, measured
