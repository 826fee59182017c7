"""What decides, in words: the parts that have a weight, by their titles."""

from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.parts import part


def decides(fusion: Fusion) -> str:
    """Return what decides, the heaviest first; or ``nothing``.

    For example ``nearest known image 0.50, margin loss 0.30, minus embedding norm 0.20 (counts against
    unknown)``: a weight below 0 is told by its magnitude, and with what it does.
    """
    used = sorted(fusion.used().items(), key=lambda item: -abs(item[1]))
    return ", ".join(_told(part(name).title, weight) for name, weight in used) or "nothing"


def _told(title: str, weight: float) -> str:
    if weight < 0:
        return f"minus {title} {-weight:.2f} (counts against unknown)"
    return f"{title} {weight:.2f}"
