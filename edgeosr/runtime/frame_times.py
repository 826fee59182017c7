"""When a frame was taken: by its stamp in the file, by the frame rate, or by the clock."""

import math
import time

CONTAINER, FRAME_RATE, CLOCK = "container", "frame rate", "clock"


class FrameTimes:
    """Seconds of one frame after the other, never going back; each with where it is from.

    Args:
        rate: frames a second, for frames without a usable stamp.
    """

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._last: float | None = None
        self._stamp = -math.inf

    def of(self, stamp_ms: float) -> tuple[float, str]:
        """Return (seconds, ``container`` or ``frame rate``) of the next frame.

        A stamp is taken if it is finite, not negative and later than all before. Otherwise the frame comes
        one step after the last one: ``1 / rate``, or the shortest between two stamps if that is less, so that
        the stamps after it can go on.
        """
        stamp = stamp_ms / 1000
        if math.isfinite(stamp) and stamp >= 0 and (self._last is None or stamp > self._last):
            if self._last is not None and self._stamp == self._last:
                self._step = min(self._step, stamp - self._last)
            self._last = self._stamp = stamp
            return stamp, CONTAINER
        self._last = 0.0 if self._last is None else self._last + self._step
        return self._last, FRAME_RATE


class ClockTimes:
    """Seconds since the first frame of a live source, by the clock."""

    def __init__(self) -> None:
        self._started: float | None = None

    def now(self) -> tuple[float, str]:
        """Return (seconds, ``clock``)."""
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        return now - self._started, CLOCK
