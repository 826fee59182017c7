"""Atomic writes: a reader sees the whole old file or the whole new one, never a half.

Directories: ``replace_directory.py``.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeosr.errors import StorageError
from edgeosr.leftovers import temporary_file

# Behind the system's reason why a file cannot be read.
HOW_TO_READ = "check the file and its permissions, or copy it again"


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that names ``action`` and ``path``.

    What is to be read must be readable, see ``require_readable``.
    """
    try:
        if action == "read":
            require_readable(path)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot {action} {path}: {reason}; check the path, its permissions and the free disk space"
        ) from error


def require_readable(path: Path) -> None:
    """Raise an OSError with a reason unless a file's content may be asked for; nothing is opened.

    Reading a pipe or a device may never end, nor may reading what the system shows as a regular file without
    a size (``/proc/kmsg``). Whether it is there and may be read is for the reader to find out.
    """
    if not os.path.exists(path) or os.path.isdir(path):
        return
    if not os.path.isfile(path):
        raise OSError(errno.EINVAL, "expected a regular file, and it is a pipe, a device or a socket")
    if os.path.getsize(path) == 0:
        raise OSError(errno.EINVAL, "it is empty")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it when the block ends without an exception.

    Missing parent folders are made. On any exception, Ctrl-C included, ``path`` is untouched and the
    temporary file is removed. What a killed writer left beside ``path`` is removed too. A link stays a link:
    what it leads to is replaced.

    Raises:
        StorageError: the disk is full, the folder is not writable, and the like, or something else than a
            file is there.
    """
    path = Path(path)
    with storage_errors("write", path):
        if special := special_place(path):
            raise OSError(errno.EINVAL, f"expected a regular file, and {special}")
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path) as (descriptor, temporary):
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~umask())
            temporary.replace(path)


def special_place(path: Path) -> str | None:
    """Say why no file can take the place of what is there, which is neither a file nor a folder; else None.

    A link counts as what it leads to.
    """
    # Before the link is followed: /dev/stdout leads to a name like pipe:[7], which no folder holds.
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        return "it is a pipe, a device or a socket"
    return _circle(path)


def _circle(path: Path) -> str | None:
    return "it is a link that leads in a circle" if os.path.islink(os.path.realpath(path)) else None


def require_place(path: Path, *, folder: bool) -> None:
    """Look, before work whose result goes there, whether a file or a folder can be written at ``path``.

    Raises:
        StorageError: there is something else, or the nearest folder above it takes nothing.
    """
    reason = _circle(path) if folder else special_place(path)
    if reason is None and os.path.exists(path) and os.path.isdir(path) != folder:
        reason = f"it is {'no folder' if folder else 'a folder'}"
    elif reason is None:
        above = Path(os.path.realpath(path))
        above = above if folder and os.path.isdir(above) else above.parent
        while not os.path.lexists(above) and above != above.parent:
            above = above.parent
        if not os.path.isdir(above):
            reason = f"{above} is no folder"
        elif not os.access(above, os.W_OK | os.X_OK):
            reason = f"the folder {above} may not be written into"
    if reason is not None:
        raise StorageError(f"cannot write {path}: {reason}; choose another place")


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; raises StorageError."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically as UTF-8; raises StorageError."""
    write_bytes(path, text.encode("utf-8"))


def link_or_copy(source: Path, target: Path) -> None:
    """Have the same bytes under another name of one file system, by a hard link where it has those.

    Raises:
        OSError: neither can be made.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target, follow_symlinks=False)


def umask() -> int:
    """Return the mask of permissions that this process gives to new files."""
    # Reading the umask means setting it; the old value is put back at once.
    current = os.umask(0o022)
    os.umask(current)
    return current
