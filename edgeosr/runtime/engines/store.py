"""Plans in a bundle: ``engines/NAME.plan``, with their hashes in the manifest.

Adding one replaces the bundle as a whole, its other files taken over as hard links: whoever reads meanwhile
sees the bundle with the plan or without it, and a bundle that is exported again meanwhile is not touched. A
lock keeps two builds from each other's manifest, where the system has such locks (not on Windows).
"""

import contextlib
import importlib
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edgeosr.bundle.directory import MANIFEST_NAME, is_made_here, read_manifest
from edgeosr.bundle.engines import MOST_ENGINES, EngineRecord
from edgeosr.bundle.made_here import remember_made_here
from edgeosr.bundle.manifest import BACKBONE, Manifest, manifest_bytes, parse_manifest
from edgeosr.errors import BundleError, EngineError
from edgeosr.files import link_or_copy, sha256_of, storage_errors, write_bytes
from edgeosr.replace_directory import atomic_directory, identity_of

_log = logging.getLogger(__name__)
FOLDER = "engines"
_LOCK = ".lock"
_BUILD_AGAIN = "build it again: edgeosr build BUNDLE"


@contextlib.contextmanager
def engine_lock(bundle: Path) -> Iterator[None]:
    """Keep other builds off the bundle while the block runs.

    Without ``fcntl`` nothing keeps them off; a warning says so.

    Raises:
        EngineError: another process is building.
        StorageError: the bundle cannot be written.
    """
    folder = Path(bundle) / FOLDER
    with storage_errors("write", folder):
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        _lock(descriptor, bundle)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, bundle: Path) -> None:
    try:
        fcntl = importlib.import_module("fcntl")
    except ModuleNotFoundError:
        _log.warning(
            "this system has no file locks (fcntl): of two builds into %s at the same time, one engine may "
            "be lost; build one after the other",
            bundle,
        )
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise EngineError(
            f"another process is building an engine of {bundle}; wait until it is done, then try again"
        ) from error


def add_engine(bundle: Path, record: EngineRecord, plan: bytes) -> Manifest:
    """Put a plan into a bundle, in place of one of the same name; call it inside ``engine_lock``.

    Args:
        bundle: the directory.
        record: its ``file``, ``sha256`` and ``bytes`` are those of ``plan``.
        plan: the bytes.

    Returns:
        The new manifest.

    Raises:
        EngineError: the bundle was exported again meanwhile, or is full.
        BundleError, StorageError: it cannot be read or written; the old bundle then stays as it was.
    """
    assert record.sha256 == sha256_of(plan) and record.bytes == len(plan)
    bundle = Path(bundle).resolve()
    with storage_errors("read", bundle):
        read = identity_of(bundle)
    manifest, known_here = read_manifest(bundle), is_made_here(bundle)
    if manifest.backbone is None or manifest.files[BACKBONE].sha256 != record.backbone:
        raise EngineError(
            f"{bundle} was exported again while the engine was built, so the engine is of another network; "
            + _BUILD_AGAIN
        )
    # Engines of an earlier backbone can never run again.
    kept = [old for old in manifest.engines if old.file != record.file and old.backbone == record.backbone]
    if len(kept) >= MOST_ENGINES:
        raise EngineError(
            f"{bundle} holds {len(kept)} engines, the most there may be; export it again to start anew"
        )
    data = manifest_bytes(replace(manifest, engines=(*kept, record)))
    checked = parse_manifest(data, f"the new manifest of {bundle}")
    dropped = {old.file for old in manifest.engines} - {old.file for old in kept} | {record.file}
    with atomic_directory(bundle, expected=read) as new:
        for name in manifest.file_names:
            link_or_copy(bundle / name, new / name)
        (new / FOLDER).mkdir()
        there = sorted((bundle / FOLDER).iterdir()) if (bundle / FOLDER).is_dir() else []
        for path in there:
            if path.name not in dropped and path.is_file() and not path.is_symlink():
                link_or_copy(path, new / FOLDER / path.name)
        write_bytes(new / FOLDER / record.file, plan)
        write_bytes(new / MANIFEST_NAME, data)
    if known_here:
        remember_made_here(data)
    return checked


def read_engine(bundle: Path, record: EngineRecord) -> bytes:
    """Return a plan whose size and hash are those of the manifest.

    Raises:
        BundleError: it is missing, a link, damaged or another file of the same name.
        StorageError: it cannot be read.
    """
    path = Path(bundle) / FOLDER / record.file
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise BundleError(f"{path} is missing, though the manifest names it; {_BUILD_AGAIN}") from None
    if not stat.S_ISREG(mode):
        raise BundleError(f"{path} is no plain file; {_BUILD_AGAIN}")
    with storage_errors("read", path):
        size = path.stat().st_size
        plan = path.read_bytes() if size == record.bytes else b""
    if size != record.bytes or sha256_of(plan) != record.sha256:
        raise BundleError(
            f"{path} is not the plan that was built ({size} bytes, the manifest says {record.bytes}, or "
            f"another SHA-256): damaged or exchanged; {_BUILD_AGAIN}"
        )
    return plan


def read_timing_cache(bundle: Path, name: str) -> bytes | None:
    """Return the timing cache of an earlier build, or None. The builder itself checks what is in it."""
    path = Path(bundle) / FOLDER / name
    with storage_errors("look at", path):
        return path.read_bytes() if path.is_file() and not path.is_symlink() else None


def write_timing_cache(bundle: Path, name: str, data: bytes) -> None:
    """Keep a timing cache for the next build; raises StorageError."""
    write_bytes(Path(bundle) / FOLDER / name, data)
