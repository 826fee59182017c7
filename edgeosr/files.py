"""Atomic writes: a reader sees the whole old file or the whole new one, never a half."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeosr.errors import StorageError


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that names ``action`` and ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot {action} {path}: {reason}; check the path, its permissions and the free disk space"
        ) from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it when the block ends without an exception.

    Missing parent folders are made. On any exception, Ctrl-C included, ``path`` is untouched and the
    temporary file is removed.

    Raises:
        StorageError: the disk is full, the folder is not writable, and the like.
    """
    path = Path(path)
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; raises StorageError."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically as UTF-8; raises StorageError."""
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory beside ``path`` that takes its place when the block succeeds.

    An older directory at ``path`` is replaced as a whole. On any exception it is left as it was and the
    temporary one is removed. Raises StorageError like ``atomic_file``.
    """
    path = Path(path)
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        old = temporary.with_suffix(".old")
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            try:
                if path.exists():
                    path.rename(old)
                temporary.rename(path)
            except BaseException:
                # An interrupt may fall between the two: the old directory goes back to its place.
                if old.exists() and not path.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    # Reading the umask means setting it; the old value is put back at once.
    current = os.umask(0o022)
    os.umask(current)
    return current
