"""What decides, in words: the parts that have a weight, by their titles."""

from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.parts import part


def decides(fusion: Fusion) -> str:
    """Return ``nearest known image 0.50, margin loss 0.30``, the heaviest first; or ``nothing``."""
    used = sorted(fusion.used().items(), key=lambda item: -abs(item[1]))
    return ", ".join(f"{part(name).title} {weight:.2f}" for name, weight in used) or "nothing"
