"""The threshold as a bundle records it; ``edgeosr.export.conformal`` finds it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Accept a frame if its unknown score is finite and <= ``value``.

    Attributes:
        value: a float32 number, one of the calibration scores.
        target_false_reject_rate: as asked for, in (0, 1).
        interval: (low, high) in which the shipped threshold's false-reject rate lies with ``confidence``.
        confidence: of ``interval``.
        groups: independent groups it was calibrated on.
        images: images in them.
        method: one line on how it was found, for reports.
    """

    value: float
    target_false_reject_rate: float
    interval: tuple[float, float]
    confidence: float
    groups: int
    images: int
    method: str
