"""The decision gate: does the typed graph decide as ``model.onnx`` does, image by image?

A decision is what the camera says: the class, or "unknown". Both graphs run on the CPU, on recorded
validation images that fitted nothing of the network: known ones of the select and calibrate parts, and
unknown ones: real outliers, or, where there are none or too few to tell, images made of the known ones
(``made_unknown.py``). Never the unknown images of a test.

The decisions must agree on enough of the known images *and* on enough of the unknown ones. A sum would hide
the unknown images behind the known: those lie far from the threshold, and what rounding changes first is
whether an unknown image is let through.

An image whose score is the threshold itself (the quantile that calibration took) is on neither side, and the
last bit decides it: it is left out and counted. The CPU rounds every tensor of the typed graph as its type
says; a GPU may fuse operations and round less often, or sum in another order: ``edgeosr verify`` looks there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeosr.bundle.backbone import BOTH, MADE, OUTLIERS, GateRecord
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.export.measure import Measured, Runner
from edgeosr.export.precision.made_unknown import made_unknown
from edgeosr.metrics import auroc

GATE_IMAGES = 1000
# At most this many of them are unknown: what must not drift is mostly known.
OPEN_IMAGES = 400
# With fewer real outliers one of them would decide by itself: made ones join them.
OUTLIERS_ALONE = 100
WORST = 12


@dataclass(frozen=True, kw_only=True)
class GateImage:
    """An image on which the two graphs differ most.

    Attributes:
        images: the part it is in.
        index: where in it.
        classes: (of model.onnx, of the typed graph), indices.
        margins: (likewise) score minus threshold: above 0 is rejected.
        agrees: the same decision.
    """

    images: LabelledImages
    index: int
    classes: tuple[int, int]
    margins: tuple[float, float]
    agrees: bool

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.images.name_of(self.index)

    def said(self, names: Sequence[str], side: int) -> str:
        """Return what a graph said, with score minus threshold: 0 for model.onnx, 1 for the typed one."""
        margin = self.margins[side]
        verdict = "accepted" if margin <= 0 else "rejected"
        return f"{names[self.classes[side]]}, {verdict} ({margin:+.3g})"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """``record``: the figures; ``worst``: images, disagreements first, then by distance of the scores."""

    record: GateRecord
    worst: tuple[GateImage, ...]

    @property
    def passed(self) -> bool:
        """The decisions agree on enough of the known and of the unknown images."""
        return self.record.passed


def decision_gate(
    portable: Runner,
    typed: Runner,
    *,
    thresholds: tuple[float, float],
    known: Sequence[LabelledImages],
    unknown: LabelledImages | None,
    minimum: float,
    recalibrated: bool,
) -> Gate:
    """Compare two graphs on validation images.

    Args:
        portable: ``model.onnx``.
        typed: the whole typed graph.
        thresholds: of each; a score above is rejected, as is one that is not finite.
        known: parts of known images.
        unknown: real open validation images, if there are any.
        minimum: share of the known and of the unknown images that must be decided alike, 0 to 1.
        recalibrated: noted in the record.

    Raises:
        DataError: there is no image to compare.
    """
    room = GATE_IMAGES - OPEN_IMAGES if unknown is None else GATE_IMAGES - min(len(unknown), OPEN_IMAGES)
    closed = [part.evenly_spaced(room // len(known)) for part in known]
    title = "comparing decisions, model.onnx"
    said = [portable.measure(part, title) for part in closed]
    # Made of what could be read: of the others a few are allowed.
    readable = [part.subset(before.indices) for part, before in zip(closed, said, strict=True)]
    opened, unknown_from = _unknown(readable, unknown)
    said += [portable.measure(part, title) for part in opened]
    parts = [
        _compared(part, before, typed.measure(part, "comparing decisions, typed graph"), thresholds)
        for part, before in zip((*closed, *opened), said, strict=True)
    ]
    ties = sum(image.margins[0] == 0 for part in parts for image in part)
    parts = [[image for image in part if image.margins[0] != 0] for part in parts]
    flat = [image for part in parts for image in part]
    if not flat:
        raise DataError("there is no validation image to compare the typed graph on; repair the data set")
    of_known = sum(len(part) for part in parts[: len(closed)])
    labels = np.array([image.classes[0] == image.classes[1] for image in flat])
    decisions = np.array([(image.margins[0] <= 0) == (image.margins[1] <= 0) for image in flat])
    agrees = np.array([image.agrees for image in flat])
    margins = np.array([image.margins for image in flat])
    distance = np.abs(margins[:, 0] - margins[:, 1])
    areas = None
    real = of_known if unknown_from == MADE else of_known + len(parts[len(closed)])
    if 0 < of_known < real:
        areas = (
            auroc(margins[:of_known, 0], margins[of_known:real, 0]),
            auroc(margins[:of_known, 1], margins[of_known:real, 1]),
        )
    order = np.lexsort((-distance, agrees))
    record = GateRecord(
        known=of_known,
        unknown=len(flat) - of_known,
        ties=ties,
        agreement=float(np.mean(agrees)),
        labels=float(np.mean(labels)),
        decisions=float(np.mean(decisions)),
        minimum=minimum,
        score_distance=(float(np.median(distance)), float(distance.max())),
        auroc=areas,
        recalibrated=recalibrated,
        known_agreement=float(np.mean(agrees[:of_known])) if of_known else None,
        unknown_agreement=float(np.mean(agrees[of_known:])) if of_known < len(flat) else None,
        unknown_from=unknown_from,
    )
    return Gate(record=record, worst=tuple(flat[i] for i in order[:WORST]))


def _unknown(
    known: Sequence[LabelledImages], unknown: LabelledImages | None
) -> tuple[list[LabelledImages], str]:
    """Return the unknown images to compare on, the real ones first, and where they come from.

    As many as there are known ones at most: they are made of those.
    """
    opened = [] if unknown is None or not len(unknown) else [unknown.evenly_spaced(OPEN_IMAGES)]
    real = sum(len(part) for part in opened)
    if real >= OUTLIERS_ALONE:
        return opened, OUTLIERS
    opened.append(made_unknown(known, min(OPEN_IMAGES, sum(len(part) for part in known))))
    return opened, BOTH if real else MADE


def _compared(
    part: LabelledImages, before: Measured, after: Measured, thresholds: tuple[float, float]
) -> list[GateImage]:
    # The same files are read twice: what cannot be read is missing from both.
    rows = []
    for i, index in enumerate(before.indices.tolist()):
        margins = (
            _margin(float(before.scores[i]), thresholds[0]),
            _margin(float(after.scores[i]), thresholds[1]),
        )
        classes = int(before.predictions[i]), int(after.predictions[i])
        said = [number if margin <= 0 else None for number, margin in zip(classes, margins, strict=True)]
        agrees = said[0] == said[1]
        rows.append(GateImage(images=part, index=index, classes=classes, margins=margins, agrees=agrees))
    return rows


def _margin(score: float, threshold: float) -> float:
    # NaN is unknown, as in every verdict; a finite number keeps distances and ranks defined.
    return score - threshold if math.isfinite(score) else float(np.finfo(np.float32).max)
