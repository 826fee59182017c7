"""A directory is replaced as a whole, and is never gone: whoever is killed when, old or new is at its place.

Where the system can, the two change places in one step (``exchange.py``). Elsewhere the new one first takes a
name that readers know, then the old one makes room:

    1  .NAME.xxx.part  is written and flushed
    2  .NAME.xxx.part  -> .NAME.ready
    3  NAME            -> .NAME.yyy.part      killed here, NAME is missing ...
    4  .NAME.ready     -> NAME                ... and every reader and writer can do this step

A lock on the folder keeps other writers off the short part in which names change.
"""

import contextlib
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeosr.errors import StorageError
from edgeosr.exchange import exchange
from edgeosr.files import storage_errors, umask
from edgeosr.leftovers import TEMPORARY, temporary_directory
from edgeosr.printed import say

_Identity = tuple[int, int]


@contextlib.contextmanager
def atomic_directory(path: Path, *, expected: _Identity | None = None) -> Iterator[Path]:
    """Yield an empty temporary directory beside ``path`` that takes its place when the block succeeds.

    An older directory at ``path`` is replaced as a whole. On any exception inside the block it is left as it
    was and the temporary one is removed; what a killed writer left is removed too.

    Args:
        path: the directory; missing parent folders are made.
        expected: ``identity_of`` the directory that may be replaced, if no other may.

    Raises:
        StorageError: the disk is full, the folder is not writable and the like, or another directory than
            ``expected`` is there.
    """
    path = Path(path)
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_directory(path) as temporary:
            yield temporary
            temporary.chmod(0o777 & ~umask())
            _flush(temporary)
            with _only_writer(path.parent):
                complete_replacement(path)
                # Of a writer that was killed before the old one made room.
                shutil.rmtree(_ready(path), ignore_errors=True)
                if expected is not None and identity_of(path) != expected:
                    raise StorageError(
                        f"{path} was replaced by another process while it was written; nothing was changed; "
                        "try again"
                    )
                _put_in_place(temporary, path)
                _flush(path.parent)


def complete_replacement(path: Path) -> bool:
    """Finish a replacement of ``path`` that was killed between its two moves; True if there was one."""
    ready = _ready(path)
    if os.path.lexists(path) or not os.path.isdir(ready):
        return False
    # Another reader may be faster; and who may not write here cannot do it, and reads that nothing is there.
    with contextlib.suppress(OSError):
        ready.rename(path)
    return os.path.lexists(path)


def identity_of(path: Path) -> _Identity:
    """Return what tells this very directory from one that takes its place; raises OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _put_in_place(temporary: Path, path: Path) -> None:
    if not os.path.exists(path):
        temporary.rename(path)
    elif not exchange(temporary, path):
        _put_in_two_moves(temporary, path)


def _put_in_two_moves(temporary: Path, path: Path) -> None:
    ready = _ready(path)
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent))
    try:
        temporary.rename(ready)
        path.rename(old)
        complete_replacement(path)
    except BaseException:
        # An interrupt may fall between the moves: one of the two must be in place.
        complete_replacement(path)
        shutil.rmtree(ready, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _ready(path: Path) -> Path:
    return path.with_name(f".{path.name}.ready")


def _flush(directory: Path) -> None:
    """Have the names in a directory on the disk, where the system can flush directories."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep other writers of this module off ``folder``, where the system has such locks."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ModuleNotFoundError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # As of a run that is exported while its folds still train: it may take hours.
                say(f"waiting for another process that writes or trains in {folder}; Ctrl-C ends this one")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
