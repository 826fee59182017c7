"""What ``edgeosr predict`` can look at: an image, a folder, a glob, a video, a camera, a stream."""

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeosr.data.image_file import SUFFIXES as IMAGE_SUFFIXES
from edgeosr.data.walk import PassedOver, folders_below, pictures_below
from edgeosr.errors import DataError, StorageError, UsageError, require_choice, suggestion
from edgeosr.files import storage_errors
from edgeosr.user_path import path_from_user

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp", ".mjpeg",
)  # fmt: skip
_LONGEST_NUMBER = 9  # digits of a camera's number
SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")


@dataclass(frozen=True)
class ImageFiles:
    """``paths``: image files in a fixed order; at least one."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Video:
    """A video file, camera or stream.

    Attributes:
        address: what OpenCV opens: a path, a URL, or a camera's number.
        name: what to call it in file names: ``"street"``, ``"camera-0"``.
        live: True for cameras and streams, which end when they are stopped.
    """

    address: str | int
    name: str
    live: bool

    @property
    def shown(self) -> str:
        """What to call it in messages: a path as it was given, never a stream's address with its password."""
        is_path = isinstance(self.address, str) and "://" not in self.address
        return str(self.address) if is_path else self.name


def open_source(source: str) -> ImageFiles | Video:
    """Find out what a source is.

    Args:
        source: an image or video file, a folder (searched recursively), a glob, a camera number such as
            ``"0"``, a device such as ``/dev/video0``, or a URL such as ``rtsp://...``. What exists on disk
            comes first: a file called ``0`` is a file.

    Raises:
        StorageError: there is no such thing; suggests near names.
        UsageError: a stream's scheme that is not known, or several videos at once.
        DataError: a folder or glob without images.
    """
    path = path_from_user(source)
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        return _folder(path)
    if stat.S_ISREG(mode):
        return Video(str(path), path.stem, False) if _is_video(path) else ImageFiles((path,))
    if stat.S_ISCHR(mode):
        return Video(str(path), path.name, True)
    if source.isascii() and source.isdecimal() and len(source) <= _LONGEST_NUMBER:
        return Video(int(source), f"camera-{int(source)}", True)
    if "://" in source:
        scheme, rest = source.split("://", 1)
        require_choice("the scheme of a stream", scheme.lower(), SCHEMES)
        # Addresses carry passwords, and the name ends up in file names: only the host is taken.
        host = rest.split("/")[0].rpartition("@")[2]
        return Video(source, "".join(c if c.isalnum() or c in ".-" else "-" for c in host) or scheme, True)
    if glob.has_magic(source):
        return _glob(source)
    if mode:
        raise DataError(f"{path} is no regular file, folder or camera; expected an image, folder or video")
    raise StorageError(f"there is no image, folder, video or camera {source!r}{_near(path)}; check the path")


def _mode(path: Path) -> int:
    """Return what kind of thing is at a path, as ``st_mode``; 0 if nothing is, or nothing can be.

    Raises:
        StorageError: the system does not say.
    """
    with storage_errors("look at", path):
        try:
            return os.stat(path).st_mode
        except OSError as error:
            # Addresses and patterns may be longer than any name; a link may lead to itself.
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
                return 0
            raise


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _folder(folder: Path) -> ImageFiles:
    passed_over = PassedOver()
    found = tuple(pictures_below(folder, passed_over))
    passed_over.tell(folder)
    if not found:
        raise DataError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)}), nor do its folders")
    return ImageFiles(found)


def _glob(pattern: str) -> ImageFiles | Video:
    matches = _matches(pattern)
    files = [path for path in matches if os.path.isfile(path)]
    videos = [path for path in files if _is_video(path)]
    if videos and len(files) > 1:
        raise UsageError(
            f"{pattern!r} matches {len(videos)} video(s) among {len(files)} files; give one video at a time"
        )
    if videos:
        return Video(str(videos[0]), videos[0].stem, False)
    folders = [path for path in matches if os.path.isdir(path)]
    if not files and folders:
        return ImageFiles(tuple(path for folder in folders for path in _folder(folder).paths))
    if not files:
        raise DataError(f"no file matches {pattern!r}; quote the pattern and check the folder")
    return ImageFiles(tuple(files))


def _matches(pattern: str) -> list[Path]:
    """Return what matches a pattern, sorted; folders that exist under a name with brackets are that name.

    Where nothing matches, brackets are taken for letters: ``clip [2023]*.png``.
    """
    folder, *rest = _steps(Path(pattern))
    while len(rest) > 1 and os.path.lexists(os.path.join(folder, rest[0])):
        folder = os.path.join(folder, rest.pop(0))
    rest_of_it = os.path.join(*rest)
    for tried in (rest_of_it, rest_of_it.replace("[", "[[]")):
        found = set(_globbed(glob.escape(folder), Path(tried).parts))
        if found:
            return sorted(map(Path, found))
    return []


def _globbed(folder: str, steps: Sequence[str]) -> Iterator[str]:
    """Yield what matches a pattern; ``**`` is this folder and all below, each once whatever the links."""
    if "**" not in steps:
        yield from glob.glob(os.path.join(folder, *steps))
        return
    place = steps.index("**")
    begin = os.path.join(folder, *steps[:place])
    for found in glob.glob(begin) if begin else ["."]:
        if os.path.isdir(found):
            for below in folders_below(Path(found)):
                yield from _globbed(glob.escape(str(below)), steps[place + 1 :] or ("*",))


def _steps(path: Path) -> tuple[str, ...]:
    expanded = path_from_user(path)
    return expanded.parts if expanded.anchor else ("", *expanded.parts)


def _near(path: Path) -> str:
    try:
        names = [child.name for child in path.parent.iterdir()]
    except OSError:
        return f": the folder {path.parent} does not exist"
    return suggestion(path.name, names)
