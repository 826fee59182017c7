"""The learning rate over a run whose number of epochs may shrink while it runs."""

import math

WARM_UP = 0.05  # share of the run


def learning_rate(peak: float, progress: float) -> float:
    """Return the learning rate at ``progress`` (0 = start, 1 = end): linear warm-up, then cosine to zero."""
    return (
        peak * min(1.0, (progress + 0.002) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    )


def epochs_left(
    *, done: int, epochs: int, seconds: float, max_seconds: float | None, epoch_seconds: float | None
) -> int:
    """Return how many epochs are still to come.

    Args:
        done: epochs finished.
        epochs: epochs asked for.
        seconds: time spent so far.
        max_seconds: the cap, or None.
        epoch_seconds: time of one epoch, or None before the first.

    Returns:
        0 if the run is over; before the first epoch at least 1, whatever the cap.
    """
    left = epochs - done
    if max_seconds is None or epoch_seconds is None:
        return left
    return max(0, min(left, int((max_seconds - seconds) / max(epoch_seconds, 1e-9))))
