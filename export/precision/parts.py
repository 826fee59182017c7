"""The images that an export is calibrated and judged on."""

from dataclasses import dataclass

from edgeosr.data.labelled_images import LabelledImages


@dataclass(frozen=True, kw_only=True)
class CalibrationParts:
    """``train``, ``select``, ``calibrate``: known images; ``open_select``: open validation ones, or None.

    ``test``: known images that nothing is fitted on; of classes with few images they are counted too.
    """

    train: LabelledImages
    select: LabelledImages
    calibrate: LabelledImages
    open_select: LabelledImages | None
    test: LabelledImages | None = None
