"""Reads what calibration left in a manifest: the fusion and the threshold."""

from edgeosr.bundle.checked_json import LARGEST, JsonNode
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.thresholds import Threshold

PART_NAME = "[a-z][a-z0-9_]{0,39}"


def fusion_from_json(node: JsonNode) -> Fusion:
    """Check the object of ``fusion``; which parts this edgeosr knows is not looked at."""
    field = node.fields(Fusion.__dataclass_fields__)
    for item in field["parts"].items(1, FILE_LIMITS.parts):
        item.matching(PART_NAME, "a part's name, such as log_jacobian")
    names = field["parts"].texts()
    stds = field["stds"].numbers(len(names))
    for item, std in zip(field["stds"].items(), stds, strict=True):
        if std <= 0:
            item.fail("a number above 0")
    return Fusion(
        parts=names,
        means=field["means"].numbers(len(names)),
        stds=stds,
        weights=field["weights"].numbers(len(names)),
        note=field["note"].text(empty=True),
    )


def threshold_from_json(node: JsonNode) -> Threshold:
    """Check the object of ``threshold``."""
    field = node.fields(Threshold.__dataclass_fields__)
    low, high = (item.number(0, 1) for item in field["interval"].items(2, 2))
    if low > high:
        field["interval"].fail("[low, high] with low <= high")
    rates = {name: field[name].number(0, 1) for name in ("target_false_reject_rate", "confidence")}
    for name, rate in rates.items():
        if rate in (0.0, 1.0):
            field[name].fail("a number between 0 and 1")
    groups, images = (field[name].integer(1, LARGEST) for name in ("groups", "images"))
    if groups > images:
        field["groups"].fail(f"at most as many groups as images, {images}")
    return Threshold(
        value=field["value"].number(),
        target_false_reject_rate=rates["target_false_reject_rate"],
        interval=(low, high),
        confidence=rates["confidence"],
        groups=groups,
        images=images,
        method=field["method"].text(),
    )
