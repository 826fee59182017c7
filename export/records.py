"""What was fitted, as the manifest records it."""

from edgeosr.fusion import FittedFusion
from edgeosr.manifest import FusionRecord, ThresholdRecord
from edgeosr.thresholds import Threshold


def fusion_record(fusion: FittedFusion) -> FusionRecord:
    """Return the record of a fitted fusion."""
    return FusionRecord(
        tuple(fusion.means.tolist()), tuple(fusion.stds.tolist()), tuple(fusion.weights.tolist()), fusion.note
    )


def threshold_record(threshold: Threshold) -> ThresholdRecord:
    """Return the record of a calibrated threshold."""
    return ThresholdRecord(
        value=threshold.value,
        target_false_reject_rate=threshold.target_false_reject_rate,
        interval=threshold.interval,
        confidence=threshold.confidence,
        groups=threshold.groups,
        images=threshold.images,
        method=threshold.method,
    )
