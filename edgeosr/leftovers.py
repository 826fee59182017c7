"""Temporary names beside a path that is being written; what a killed writer left, the next one removes.

A writer holds a lock (``flock``) on its temporary file or directory. The system frees it when the process
ends, however it ends, so whatever is not locked belongs to nobody. Where there are no such locks (Windows,
some network file systems), nothing is taken for a leftover and nothing is removed.
"""

import contextlib
import importlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

TEMPORARY = ".part"
# What tempfile puts between prefix and suffix, or a process's number.
_MIDDLE = r"[A-Za-z0-9_]+"


@contextlib.contextmanager
def temporary_file(path: Path, suffix: str = TEMPORARY) -> Iterator[tuple[int, Path]]:
    """Yield a descriptor, for writing, and the name of a new file beside ``path``; removed at the end.

    Args:
        path: what is to be written; the name begins with ``.NAME.``.
        suffix: of the temporary name.

    Raises:
        OSError: it cannot be made.
    """
    remove_leftovers(path, suffix)
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
        if _claimed(descriptor, Path(name)):
            break
        os.close(descriptor)
    try:
        yield descriptor, Path(name)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_directory(path: Path) -> Iterator[Path]:
    """Yield a new empty directory beside ``path``; whatever is there at the end is removed.

    Raises:
        OSError: it cannot be made.
    """
    remove_leftovers(path)
    while True:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent))
        descriptor = _opened(temporary)
        if descriptor is None or _claimed(descriptor, temporary):
            break
        os.close(descriptor)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_leftovers(path: Path, suffix: str = TEMPORARY) -> None:
    """Remove what killed writers of ``path`` left beside it; errors are passed over."""
    wanted = re.compile(rf"\.{re.escape(path.name)}\.{_MIDDLE}{re.escape(suffix)}")
    try:
        found = [entry for entry in os.listdir(path.parent) if wanted.fullmatch(entry)]
    except OSError:
        return
    for name in found:
        _remove_unused(path.parent / name)


def _remove_unused(leftover: Path) -> None:
    descriptor = _opened(leftover)
    if descriptor is None:
        return
    try:
        # The lock is kept until it is gone, so that two do not meet.
        if _locked(descriptor) is True:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    leftover.unlink()
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    """Open a plain file or a directory to lock it; None for anything else, or where that is not possible."""
    if not hasattr(os, "O_NOFOLLOW"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return descriptor
    os.close(descriptor)
    return None


def _claimed(descriptor: int, path: Path) -> bool:
    """Lock a new temporary; False if another writer took it for a leftover before that."""
    if _locked(descriptor) is False:
        return False  # it is being removed at this moment
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _locked(descriptor: int) -> bool | None:
    """Lock; False if somebody else holds it, None where there are no such locks."""
    fcntl = _fcntl()
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _fcntl() -> ModuleType | None:
    try:
        return importlib.import_module("fcntl")
    except ModuleNotFoundError:
        return None
