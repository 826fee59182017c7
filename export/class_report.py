"""Class by class on the calibrate part, and all images of the classes that have few."""

from collections.abc import Sequence

import numpy as np

from edgeosr.class_figures import RARE, RareClass, class_figures, rejections
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
) -> ClassReport:
    """Measure every class on the calibrate part, which chose the threshold.

    A class with fewer than ``RARE`` images in all parts has hardly one in the calibrate part: all its images
    are judged, those of the train part too, though the network may have seen them, and those of the test
    part, by which nothing is chosen.

    Args:
        runner: of the graph that was calibrated.
        calibrate: what it said about the calibrate part.
        others: the other parts.
        classes: names by label.
        threshold: the bundle's.
    """
    counts = np.bincount(calibrate.labels, minlength=len(classes))
    for part in others:
        counts = counts + np.bincount(part.labels, minlength=len(classes))
    few = np.flatnonzero((counts > 0) & (counts < RARE))
    judged = [calibrate, *(_measured(runner, part, few) for part in others)]
    labels, predictions, scores = (
        np.concatenate([getattr(one, name) for one in judged if one is not None])
        for name in ("labels", "predictions", "scores")
    )
    rejected = rejections(threshold, predictions, scores)
    rare = []
    for label in few.tolist():
        of_class = labels == label
        if of_class.any():
            rare.append(
                RareClass(
                    name=classes[label],
                    images=int(of_class.sum()),
                    right=int((predictions[of_class] == label).sum()),
                    rejected=int(rejected[of_class].sum()),
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
    )


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
