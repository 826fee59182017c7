"""Videos in and out through OpenCV (extra ``[video]``), imported on use."""

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, StorageError, UsageError, import_extra, require_choice
from edgeosr.files import storage_errors
from edgeosr.runtime.sources import Video

USUAL_RATE = 30.0
# H.264 is missing from OpenCV's wheels for licence reasons; these two encoders are always built in.
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_LEAST_FREE = 32 * 2**20


def load_opencv() -> ModuleType:
    """Import OpenCV, its log silenced; raises MissingDependencyError with the install line."""
    cv2 = import_extra("cv2", extra="video", purpose="reading and writing video")
    # Its messages are about codecs it tries in turn; ours say what matters.
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    return cv2


class VideoReader:
    """Frames of a video, in OpenCV's channel order (BGR); a context manager.

    Attributes:
        rate: frames a second, as the source says; 30 if it does not.
        length: number of frames, None if unknown.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(self, video: Video) -> None:
        cv2 = load_opencv()
        self._capture: Any = cv2.VideoCapture(video.address)
        if not self._capture.isOpened():
            self._capture.release()
            raise DataError(
                f"cannot open {'the camera or stream' if video.live else 'the video'} {video.name}: "
                + (
                    "check that it is plugged in, reachable and not in use"
                    if video.live
                    else "it is damaged, no video, or of a codec that OpenCV lacks"
                )
            )
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else USUAL_RATE
        length = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length = None if video.live or not 0 < length < 1e9 else int(length)

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 BGR frames ``[height, width, 3]`` until the source ends."""
        while True:
            found, frame = self._capture.read()
            if not found:
                return
            yield frame

    def __enter__(self) -> "VideoReader":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the source."""
        self._capture.release()


def video_path(out: Path | None, name: str) -> Path:
    """Return where a drawn video goes: ``out``, ``out/NAME.mp4`` for a folder, ``predictions/NAME.mp4``.

    Raises:
        UsageError: another suffix than .mp4 or .avi.
    """
    if out is None:
        return Path("predictions") / f"{name}.mp4"
    if out.is_dir() or not out.suffix:
        return out / f"{name}.mp4"
    require_choice("the suffix of a video", out.suffix.lower(), tuple(_CODECS))
    return out


class VideoWriter:
    """Writes BGR frames of one size to ``path`` through a temporary file beside it.

    ``finish`` makes the file whole and puts it in place; leaving the ``with`` block without it leaves
    nothing. Where mp4 cannot be written, an .avi of the same name is.

    Attributes:
        path: the file that ``finish`` leaves.
    """

    def __init__(self, path: Path, rate: float, source: str | int) -> None:
        """Prepare; the file is opened by the first frame.

        Args:
            path: ends in .mp4 or .avi; missing folders are made.
            rate: frames a second.
            source: address of the source, which must not be overwritten.

        Raises:
            UsageError: ``path`` is the source.
            StorageError: the folder cannot be made.
        """
        if isinstance(source, str) and path.exists() and os.path.exists(source) and path.samefile(source):
            raise UsageError(f"{path} is the source itself; choose another --out")
        with storage_errors("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._rate = rate
        self._writer: Any = None
        self._temporary = path
        self._size = (0, 0)
        self._written = 0

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a uint8 BGR frame ``[height, width, 3]``; raises StorageError before the disk is full."""
        if self._writer is None:
            self._open(frame)
        if frame.shape[:2] != self._size:
            raise DataError(
                f"the source changed its frame size from {self._size} to {frame.shape[:2]}; start it again"
            )
        # OpenCV does not report a full disk, so it is asked for now and then.
        if self._written % 64 == 0:
            self._require_space()
        self._writer.write(np.ascontiguousarray(frame))
        self._written += 1

    def _open(self, frame: NDArray[np.uint8]) -> None:
        cv2 = load_opencv()
        self._size = (frame.shape[0], frame.shape[1])
        for suffix in dict.fromkeys((self.path.suffix.lower(), ".avi")):
            path = self.path.with_suffix(suffix)
            temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{suffix}")
            code = cv2.VideoWriter.fourcc(*_CODECS[suffix])
            writer = cv2.VideoWriter(str(temporary), code, self._rate, (frame.shape[1], frame.shape[0]))
            if writer.isOpened():
                self.path, self._temporary, self._writer = path, temporary, writer
                return
            writer.release()
            temporary.unlink(missing_ok=True)
        raise StorageError(
            f"OpenCV cannot write {self.path}; check the path, its permissions and the free disk space"
        )

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < _LEAST_FREE:
            raise StorageError(
                f"cannot write {self.path}: only {free // 2**20} MiB are free; make room or change --out"
            )

    def finish(self) -> Path | None:
        """Complete the file, put it in place and return its path; None if there was no frame.

        Raises:
            StorageError: the written file does not read back.
        """
        if self._writer is None:
            return None
        self._writer.release()
        self._writer = None
        capture = load_opencv().VideoCapture(str(self._temporary))
        readable = bool(capture.isOpened() and capture.read()[0])
        capture.release()
        if not readable:
            self._temporary.unlink(missing_ok=True)
            raise StorageError(f"{self.path} could not be written whole; check the free disk space")
        with storage_errors("write", self.path):
            self._temporary.replace(self.path)
        return self.path

    def __enter__(self) -> "VideoWriter":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove an unfinished file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._temporary.unlink(missing_ok=True)
