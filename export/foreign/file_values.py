"""Values that the preprocessing files of several projects have in common."""

from collections.abc import Mapping

from edgeosr.bundle.checked_json import JsonNode
from edgeosr.export.foreign.presets import Triple

LARGEST_SIDE = 8192


def triple(node: JsonNode, *, above_zero: bool = False) -> Triple:
    """Return three numbers; one number alone stands for all channels."""
    items = node.items(3, 3) if isinstance(node.value, list) else [node] * 3
    values = [item.above_zero() if above_zero else item.number() for item in items]
    return values[0], values[1], values[2]


def truth(field: Mapping[str, JsonNode], name: str, *, default: bool) -> bool:
    """Return what a switch says, ``default`` where it is left out."""
    return field[name].truth() if name in field else default


def other_size(sides: tuple[int, int] | None, height: int, width: int) -> str:
    """Return what to tell of a file for inputs of another size than the model's; empty for nothing."""
    if sides is None or sides == (height, width):
        return ""
    return (
        f"the preprocessing file is for inputs of {sides[0]}x{sides[1]}, and the model takes "
        f"{height}x{width}: the same share of a frame is cut off"
    )
