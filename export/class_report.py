"""Class by class on the calibrate part, and all images of the classes that have few."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeosr.class_figures import RARE, RareClass, class_figures, named_unknown, rejections
from edgeosr.class_report import ClassReport, class_report
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.export.conformal import groups_needed
from edgeosr.export.measure import GraphRunner, Measured
from edgeosr.scoring.thresholds import Threshold


def calibrate_report(
    runner: GraphRunner,
    calibrate: Measured,
    others: Sequence[LabelledImages],
    classes: Sequence[str],
    threshold: Threshold,
    made_of: str,
) -> ClassReport:
    """Measure every class on the calibrate part, which chose the threshold.

    A class with fewer than ``RARE`` groups of images in all parts has hardly one in the calibrate part: all
    its images are judged, those of the train part too, though the network may have seen them, and those of
    the test part, by which nothing is chosen.

    Args:
        runner: of the graph that was calibrated.
        calibrate: what it said about the calibrate part.
        others: the other parts.
        classes: names by label.
        threshold: the bundle's.
        made_of: what ``edgeosr export`` takes to make it again, in words.
    """
    counts = _groups_by_class((calibrate, *others), len(classes))
    few = np.flatnonzero((counts > 0) & (counts < RARE))
    measured = (_measured(runner, part, few) for part in others)
    judged = [calibrate, *(one for one in measured if one is not None)]
    groups = _groups_by_class(judged, len(classes))
    labels, predictions, scores = (
        np.concatenate([getattr(one, name) for one in judged]) for name in ("labels", "predictions", "scores")
    )
    rejected, unknown = rejections(threshold, predictions, scores), named_unknown(scores)
    rare = []
    for label in few.tolist():
        of_class = labels == label
        if of_class.any():
            rare.append(
                RareClass(
                    name=classes[label],
                    images=int(of_class.sum()),
                    groups=int(groups[label]),
                    right=int((predictions[of_class & ~unknown] == label).sum()),
                    rejected=int(rejected[of_class].sum()),
                    named_unknown=int(unknown[of_class].sum()),
                )
            )
    figures = class_figures(
        classes,
        threshold,
        labels=calibrate.labels,
        predictions=calibrate.predictions,
        scores=calibrate.scores,
        groups=calibrate.groups,
    )
    return class_report(
        figures,
        threshold,
        part="calibrate part",
        in_sample=True,
        needed=groups_needed(threshold.target_false_reject_rate),
        rare=(tuple(rare), "in all parts together"),
        made_of=made_of,
    )


def _groups_by_class(parts: Sequence[Measured | LabelledImages], classes: int) -> NDArray[np.int64]:
    """Return how many groups of the parts show each class, int64 ``[classes]``; no group is in two parts."""
    counts = np.zeros(classes, np.int64)
    for part in parts:
        pairs = np.unique(np.stack([part.labels, part.groups]), axis=1)
        counts += np.bincount(pairs[0], minlength=classes)
    return counts


def _measured(runner: GraphRunner, part: LabelledImages, few: np.ndarray) -> Measured | None:
    """Judge the images of the classes ``few`` that can be read; None without one."""
    chosen = [i for i in np.flatnonzero(np.isin(part.labels, few)).tolist() if _readable(part, i)]
    return runner.measure(part.subset(chosen), "judging classes of few images") if chosen else None


def _readable(images: LabelledImages, index: int) -> bool:
    # Of five images one may be beyond the share of unreadable ones that is allowed of a whole part.
    try:
        images.read(index)
    except DataError:
        return False
    return True
