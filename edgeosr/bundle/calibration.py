"""Reads what calibration left in a manifest: the fusion and the threshold."""

from edgeosr.bundle.checked_json import LARGEST, JsonNode
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.thresholds import ClassThreshold, Threshold

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


def threshold_from_json(node: JsonNode, classes: int | None = None) -> Threshold:
    """Check the object of ``threshold``.

    Args:
        node: the object; ``by_class`` may be missing, and means one threshold for all.
        classes: how many thresholds ``by_class`` holds if it is there; None: it may not be there.

    Raises:
        BundleError: a field is not as it must be; the message names it.
    """
    names = [name for name in Threshold.__dataclass_fields__ if name != "by_class"]
    by_class = isinstance(node.value, dict) and "by_class" in node.value and classes is not None
    field = node.fields((*names, "by_class") if by_class else names)
    rates = {name: field[name].number(0, 1) for name in ("target_false_reject_rate", "confidence")}
    for name, rate in rates.items():
        if rate in (0.0, 1.0):
            field[name].fail("a number between 0 and 1")
    groups, images = (field[name].integer(1, LARGEST) for name in ("groups", "images"))
    if groups > images:
        field["groups"].fail(f"at most as many groups as images, {images}")
    value = field["value"].number()
    items = field["by_class"].items(classes, classes) if by_class and classes is not None else []
    own = tuple(_class_threshold(item, value) for item in items)
    if own and sum(one.images for one in own) != images:
        field["by_class"].fail(f"classes of {images} images together, as many as the threshold's")
    return Threshold(
        value=value,
        target_false_reject_rate=rates["target_false_reject_rate"],
        interval=_interval(field["interval"]),
        confidence=rates["confidence"],
        groups=groups,
        images=images,
        method=field["method"].text(),
        by_class=own,
    )


def _class_threshold(node: JsonNode, common: float) -> ClassThreshold:
    """Check the object of one class; without an interval it must have the ``common`` threshold."""
    field = node.fields(ClassThreshold.__dataclass_fields__)
    found, interval = field["value"].number(), field["interval"]
    if interval.is_null and found != common:
        field["value"].fail(f"the common threshold {common!r}, for the class has no interval of its own")
    groups, images = (field[name].integer(0, LARGEST) for name in ("groups", "images"))
    if not min(images, 1) <= groups <= images:
        field["groups"].fail(f"at most as many groups as images, {images}, and none without an image alone")
    if groups == 0 and not interval.is_null:
        interval.fail("null, for the class has no image")
    return ClassThreshold(
        value=found,
        interval=None if interval.is_null else _interval(interval),
        groups=groups,
        images=images,
    )


def _interval(node: JsonNode) -> tuple[float, float]:
    low, high = (item.number(0, 1) for item in node.items(2, 2))
    if low > high:
        node.fail("[low, high] with low <= high")
    return low, high
