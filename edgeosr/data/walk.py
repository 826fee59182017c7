"""The one walk through folders of pictures: what every command finds in a folder, and what it passes over.

Only regular files are read, never opened to find out. A link is followed once: a folder that is being read
anyway, or that holds the one that is read, is not read again under another name. What people and systems
keep beside pictures (hidden files, thumbnails, bins) is passed over; what that was is said in one line.
"""

import functools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeosr.data.image_file import PASSED_OVER, SUFFIXES
from edgeosr.errors import DataError
from edgeosr.printed import printable, say

# Folders and files of systems and tools, by the name in lower case; hidden ones are passed over too.
SYSTEM_NAMES = frozenset(
    (
        "$recycle.bin", "recycler", "recycled", "system volume information", "found.000", "lost+found",
        "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "__pycache__",
        "network trash folder", "temporary items", "@eadir", "@tmp", "@synoresource", "#recycle",
        "#snapshot", "@recycle", "@recently-snapshot",
    )
)  # fmt: skip
_NAMED = 3
Identity = tuple[int, int] | str


@dataclass
class PassedOver:
    """What a walk left out, by the reason: names in the order they were met."""

    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one."""
        self.names.setdefault(reason, []).append(name)

    def tell(self, root: Path) -> None:
        """Say in one line on standard error how many were left out of ``root`` and why; once a process."""
        unread = [os.path.splitext(name)[1].casefold() for name in self.names.get(_UNREAD, ())]
        if unread:
            _say_once(
                f"note: {len(unread)} file(s) in {root} are passed over ({', '.join(sorted(set(unread)))}); "
                f"edgeosr reads {', '.join(SUFFIXES)}"
            )
        others = {reason: names for reason, names in self.names.items() if reason != _UNREAD}
        if others:
            _say_once(f"note: passed over in {root}: " + "; ".join(_counted(*one) for one in others.items()))


_UNREAD = "of a kind that is not read"
_HIDDEN = "hidden"
_SYSTEM = "of the system"
_SPECIAL = "no regular file"
_LOST = "a link to nothing"
_AGAIN = "a link to a folder that is read anyway"
_CLOSED = "cannot be opened"
BESIDE = "beside the class folders"
WITHOUT_PICTURES = "without a picture in it"


@dataclass(frozen=True)
class Entry:
    """One visible entry of a folder; ``folder`` tells whether it is one, else it is a regular file."""

    path: Path
    folder: bool


def entries_of(folder: Path, passed_over: PassedOver) -> list[Entry]:
    """Return the visible folders and regular files of ``folder``, sorted by name.

    Raises:
        OSError: it cannot be read.
    """
    with os.scandir(folder) as found:
        kept = [_entry(one, passed_over) for one in sorted(found, key=lambda one: one.name)]
    return [one for one in kept if one is not None]


def folders_of(folder: Path, passed_over: PassedOver) -> list[Path]:
    """Return the visible folders of ``folder``, sorted by name.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return [entry.path for entry in entries_of(folder, passed_over) if entry.folder]
    except OSError as error:
        raise unreadable_folder(folder, error) from error


def unreadable_folder(folder: Path, error: OSError) -> DataError:
    """Return the error of a folder that may not be read or looked into."""
    return DataError(f"cannot read the folder {folder}: {error.strerror}; check its path and permissions")


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures straight in ``folder``, sorted by name; none if it cannot be read."""
    try:
        entries = entries_of(folder, PassedOver())
    except OSError:
        return []
    return [entry.path for entry in entries if not entry.folder and is_picture(entry.path)]


def pictures_below(folder: Path, passed_over: PassedOver, taken: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield the pictures in ``folder`` and below it: those of a folder by name, then those of its folders.

    Args:
        folder: where to begin; whatever its name, it is read.
        passed_over: is told what was left out.
        taken: folders that are read on their own: a link to one of them is passed over.

    Raises:
        DataError: ``folder`` itself cannot be read. One below it is passed over.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise unreadable_folder(folder, error) from error
    for _, entries in _each_folder(folder, passed_over, taken):
        yield from (entry.path for entry in entries if not entry.folder and is_picture(entry.path))


def folders_below(folder: Path) -> Iterator[Path]:
    """Yield ``folder`` and the folders below it that ``pictures_below`` reads, each once."""
    for current, _ in _each_folder(folder, PassedOver(), ()):
        yield current


def _each_folder(
    folder: Path, passed_over: PassedOver, taken: Iterable[Path]
) -> Iterator[tuple[Path, list[Entry]]]:
    seen = {_identity(path) for path in (*taken, *_and_above(folder))}
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            entries = entries_of(current, passed_over)
        except OSError:
            passed_over.add(_CLOSED, f"{folder.name}/{_below(current, folder)}")
            continue
        yield current, entries
        below = []
        for entry in entries:
            if entry.folder:
                identity = _identity(entry.path)
                if identity in seen:
                    passed_over.add(_AGAIN, _below(entry.path, folder))
                else:
                    seen.add(identity)
                    below.append(entry.path)
        waiting += reversed(below)


def is_picture(path: Path) -> bool:
    """Say whether a file's suffix, in any case, is one of those that are read."""
    return path.suffix.casefold() in SUFFIXES


def _entry(found: "os.DirEntry[str]", passed_over: PassedOver) -> Entry | None:
    name, path = found.name, Path(found.path)
    if name.startswith("."):
        passed_over.add(_HIDDEN, name)
        return None
    if name.casefold() in SYSTEM_NAMES:
        passed_over.add(_SYSTEM, name)
        return None
    try:
        mode = found.stat().st_mode
    except OSError as error:
        passed_over.add(_LOST if found.is_symlink() else f"cannot be read ({error.strerror})", name)
        return None
    if stat.S_ISDIR(mode):
        return Entry(path, folder=True)
    if not stat.S_ISREG(mode):
        passed_over.add(_SPECIAL, name)
        return None
    if path.suffix.casefold() in PASSED_OVER:
        passed_over.add(_UNREAD, name)
    return Entry(path, folder=False)


def _and_above(folder: Path) -> list[Path]:
    real = Path(os.path.realpath(folder))
    return [real, *real.parents]


def _identity(path: Path) -> Identity:
    try:
        found = os.stat(path)
    except OSError:
        return str(path)
    # Not every file system of Windows numbers its folders.
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _below(path: Path, root: Path) -> str:
    return "." if path == root else path.relative_to(root).as_posix()


def _counted(reason: str, names: list[str]) -> str:
    first = ", ".join(printable(name) for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names)} {reason} ({first})"


@functools.cache
def _say_once(line: str) -> None:
    # A command may open a folder twice: to refuse it early, and to read it.
    say(line)
