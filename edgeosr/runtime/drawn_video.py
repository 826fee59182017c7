"""The video with the verdicts drawn over it, written through OpenCV."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import StorageError, UsageError, require_choice
from edgeosr.files import special_place, storage_errors, umask
from edgeosr.leftovers import TEMPORARY, temporary_file
from edgeosr.runtime.annotate import annotate
from edgeosr.runtime.video import load_opencv, opencv_name
from edgeosr.verdict import Verdict

# H.264 is missing from OpenCV's wheels for licence reasons; these two encoders are always built in.
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_LEAST_FREE = 32 * 2**20


def video_path(out: Path | None, name: str) -> Path:
    """Return where a drawn video goes: ``out``, ``out/NAME.mp4`` for a folder, ``predictions/NAME.mp4``.

    Raises:
        UsageError: another suffix than .mp4 or .avi.
    """
    if out is None:
        return Path("predictions") / f"{name}.mp4"
    if os.path.isdir(out) or not out.suffix:
        return out / f"{name}.mp4"
    require_choice("the suffix of a video", out.suffix.lower(), tuple(_CODECS))
    return out


@contextlib.contextmanager
def _opencv_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except load_opencv().error as error:
        raise StorageError(f"OpenCV cannot write {path}: {error}; change --out, or use --no-video") from error


class DrawnVideo:
    """Draws frames as far as they can be written: a failure is told once, and ends the drawing alone.

    Args:
        path: see ``VideoWriter``.
        rate: frames a second.
        source: address of the source, which must not be overwritten.
        tell: takes what went wrong, in a sentence.

    Raises:
        UsageError: ``path`` is the source.
    """

    def __init__(self, path: Path, rate: float, source: str | int, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._writer: VideoWriter | None = VideoWriter(path, rate, source)

    def add(self, image: NDArray[np.uint8], verdict: Verdict) -> None:
        """Append a uint8 BGR frame ``[height, width, 3]`` with its verdict over it."""
        if self._writer is None:
            return
        try:
            self._writer.write(annotate(image, verdict, color="bgr"))
        except StorageError as error:
            self._give_up(error)

    def finish(self) -> Path | None:
        """Put the file in place and return its path; None if there is none."""
        if self._writer is None:
            return None
        try:
            return self._writer.finish()
        except StorageError as error:
            self._give_up(error)
            return None

    def _give_up(self, error: StorageError) -> None:
        self.close()
        self._tell(f"no video is drawn: {error}; the verdicts go on")

    def close(self) -> None:
        """Remove an unfinished file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> "DrawnVideo":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove an unfinished file."""
        self.close()


def _require_no_special(path: Path) -> None:
    if special := special_place(path):
        raise StorageError(f"cannot write {path}: {special}; choose another place")


class VideoWriter:
    """Writes BGR frames of one size to ``path`` through a temporary file beside it.

    ``finish`` makes the file whole and puts it in place; ``close`` without it leaves nothing, and what a
    killed process left there is removed. Where mp4 cannot be written, an .avi of the same name is.

    Attributes:
        path: the file that ``finish`` leaves.
    """

    def __init__(self, path: Path, rate: float, source: str | int) -> None:
        """Prepare; folders and file are made by the first frame.

        Args:
            path: ends in .mp4 or .avi; missing folders are made.
            rate: frames a second.
            source: address of the source, which must not be overwritten.

        Raises:
            UsageError: ``path`` is the source.
            StorageError: it is a pipe, a device or the like.
        """
        with contextlib.suppress(OSError):  # what cannot be looked at will not be written either
            if isinstance(source, str) and path.exists() and path.samefile(source):
                raise UsageError(f"{path} is the source itself; choose another --out")
        _require_no_special(path)
        self.path = path
        self._rate = rate
        self._writer: Any = None
        self._temporary = path
        self._held = contextlib.ExitStack()
        self._size = (0, 0)
        self._written = 0

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a uint8 BGR frame ``[height, width, 3]``.

        Raises:
            StorageError: it cannot be written, the disk is nearly full, or it is of another size.
        """
        if self._writer is None:
            self._open(frame)
        if frame.shape[:2] != self._size:
            raise StorageError(
                f"cannot write {self.path}: the source changed its frame size from {self._size} to "
                f"{frame.shape[:2]}; start it again"
            )
        # OpenCV does not report a full disk, so it is asked for now and then.
        if self._written % 64 == 0:
            self._require_space()
        with _opencv_errors(self.path):
            self._writer.write(np.ascontiguousarray(frame))
        self._written += 1

    def _open(self, frame: NDArray[np.uint8]) -> None:
        cv2 = load_opencv()
        self._size = (frame.shape[0], frame.shape[1])
        with storage_errors("write", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._require_space()
        for suffix in dict.fromkeys((self.path.suffix.lower(), ".avi")):
            path = self.path.with_suffix(suffix)
            _require_no_special(path)
            path = Path(os.path.realpath(path)) if path.is_symlink() else path  # a link stays a link
            with contextlib.ExitStack() as held:
                with storage_errors("write", path):
                    _, temporary = held.enter_context(temporary_file(path, TEMPORARY + suffix))
                code = cv2.VideoWriter.fourcc(*_CODECS[suffix])
                size = (frame.shape[1], frame.shape[0])
                with _opencv_errors(path):
                    writer = cv2.VideoWriter(opencv_name(str(temporary)), code, self._rate, size)
                if writer.isOpened():
                    self.path, self._temporary, self._writer = path, temporary, writer
                    self._held = held.pop_all()
                    return
                writer.release()
        raise StorageError(
            f"OpenCV cannot write {self.path}; check the path, its permissions and the free disk space"
        )

    def _require_space(self) -> None:
        with storage_errors("write", self.path):
            free = shutil.disk_usage(self.path.parent).free
        if free < _LEAST_FREE:
            raise StorageError(
                f"cannot write {self.path}: only {free // 2**20} MiB are free; make room or change --out"
            )

    def finish(self) -> Path | None:
        """Complete the file, put it in place and return its path; None if there was no frame.

        Raises:
            StorageError: the written file does not read back; nothing is left.
        """
        if self._writer is None:
            return None
        writer, self._writer = self._writer, None
        with self._held:
            writer.release()
            cv2 = load_opencv()
            capture = cv2.VideoCapture(opencv_name(str(self._temporary)))
            readable = bool(capture.isOpened() and capture.read()[0])
            # OpenCV says nothing of frames that did not go onto the disk; both kinds of file count theirs.
            whole = readable and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) >= self._written
            capture.release()
            if not whole:
                raise StorageError(f"{self.path} could not be written whole; check the free disk space")
            with storage_errors("write", self.path):
                os.chmod(self._temporary, 0o666 & ~umask())
                self._temporary.replace(self.path)
        return self.path

    def close(self) -> None:
        """Remove an unfinished file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.release()
        self._held.close()

    def __enter__(self) -> "VideoWriter":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove an unfinished file."""
        self.close()
