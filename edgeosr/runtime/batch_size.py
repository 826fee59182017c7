"""How many frames go through a graph in one call: as many as memory bears, on a small device too."""

BATCH_FRAMES = 64
# Of all frames of one call.
BATCH_PIXELS = 8_000_000


def frames_at_once(size: tuple[int, int], tangents: int = 0) -> int:
    """Return the frames of one call, at least 1.

    Args:
        size: (height, width) of the frames.
        tangents: K, computed beside each frame; every one is as large as what it is the tangent of.
    """
    return max(1, min(BATCH_FRAMES // (1 + tangents), BATCH_PIXELS // max(1, size[0] * size[1])))
