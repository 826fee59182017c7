"""Reads the preprocessing of a run or a manifest."""

from edgeosr.bundle.checked_json import JsonNode
from edgeosr.errors import UsageError
from edgeosr.preprocessing import COLORS, FITS, LONGEST_RESIZED, Preprocessing


def preprocessing_from_json(node: JsonNode) -> Preprocessing:
    """Check a preprocessing object; raises the document's error."""
    # Written only where there is one: older records have no such field.
    names = [name for name in Preprocessing.__dataclass_fields__ if name != "resize_to"]
    resized = node.entries().get("resize_to")
    field = node.fields(names if resized is None else [*names, "resize_to"])
    mean, std = field["mean"].numbers(3), field["std"].numbers(3)
    try:
        return Preprocessing(
            height=field["height"].integer(1, 4096),
            width=field["width"].integer(1, 4096),
            fit=next(fit for fit in FITS if fit == field["fit"].choice(FITS)),
            crop_fraction=field["crop_fraction"].number(0, 1),
            resize_to=None if resized is None else resized.integer(1, LONGEST_RESIZED),
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
            color=next(color for color in COLORS if color == field["color"].choice(COLORS)),
        )
    except UsageError as error:
        node.fail(f"usable preprocessing ({error})")
