"""Frames of videos, cameras and streams through OpenCV (extra ``[video]``), imported on use."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, import_extra
from edgeosr.files import storage_errors
from edgeosr.runtime.frame_times import ClockTimes, FrameTimes
from edgeosr.runtime.sources import Video

USUAL_RATE = 30.0


def load_opencv() -> ModuleType:
    """Import OpenCV, its log silenced; raises MissingDependencyError with the install line."""
    cv2 = import_extra("cv2", extra="video", purpose="reading and writing video")
    # Its messages are about codecs it tries in turn; ours say what matters.
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    return cv2


def opencv_name(address: str | int) -> str | bytes | int:
    """Return a path or an address as OpenCV takes it: one that is not UTF-8 as bytes; as text it crashes."""
    if isinstance(address, int):
        return address
    try:
        address.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(address)
    return address


class Picture(NamedTuple):
    """One frame of a video.

    Attributes:
        image: uint8 BGR ``[height, width, 3]``.
        seconds: since the beginning, never going back.
        time_from: ``container``, ``frame rate`` or ``clock``; see ``frame_times``.
    """

    image: NDArray[np.uint8]
    seconds: float
    time_from: str


class VideoReader:
    """Frames of a video, in OpenCV's channel order (BGR); a context manager.

    Attributes:
        rate: frames a second, as the source says; 30 if it does not.
        length: number of frames that it announces, None if it does not. See ``announced_frames``.

    Raises:
        DataError: it cannot be opened.
        StorageError: it is a file without content.
    """

    def __init__(self, video: Video) -> None:
        cv2 = load_opencv()
        if not video.live:
            with storage_errors("read", Path(str(video.address))):
                pass  # one without content is not opened: it may be none of a disk
        self._capture: Any = None
        self._video = video
        # A number or an address that OpenCV does not even try is an error of its own.
        with contextlib.suppress(cv2.error):
            self._capture = cv2.VideoCapture(opencv_name(video.address))
        if self._capture is None or not self._capture.isOpened():
            raise DataError(
                f"cannot open {'the camera or stream' if video.live else 'the video'} {video.shown}: "
                + (
                    "check that it is plugged in, reachable and not in use"
                    if video.live
                    else "it is damaged, no video, or of a codec that OpenCV lacks"
                )
            )
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else USUAL_RATE
        length = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length = int(length) if 0 < length < 1e9 else None

    def pictures(self) -> Iterator[Picture]:
        """Yield frames until the source ends.

        Raises:
            DataError: OpenCV fails on a frame.
        """
        cv2 = load_opencv()
        # An address may be of a whole file, which has stamps, or of something that goes on for ever.
        live = self._video.live and self.length is None
        clock, times = ClockTimes(), FrameTimes(self.rate)
        while True:
            try:
                found, frame = self._capture.read()
            except cv2.error as error:
                raise DataError(f"OpenCV cannot decode a frame of {self._video.shown}: {error}") from error
            if not found:
                return
            seconds, source = (
                clock.now() if live else times.of(float(self._capture.get(cv2.CAP_PROP_POS_MSEC)))
            )
            yield Picture(frame, seconds, source)

    def __enter__(self) -> "VideoReader":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the source."""
        self._capture.release()
