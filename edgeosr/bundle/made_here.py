"""Which bundles this user made on this machine, so that what a stranger's bundle names is not opened unasked.

A manifest says where its images lie. Whoever writes one can name any folder, or a file whose reading never
ends. A note of each manifest written here stands in the user's cache folder, under its SHA-256; without a
cache folder nothing is remembered, and the user is asked every time.
"""

import contextlib
import os
from pathlib import Path

from edgeosr.files import sha256_of

# Notes of older bundles are forgotten.
MOST_NOTES = 4096


def remember_made_here(manifest: bytes) -> None:
    """Note that this user wrote ``manifest``; errors are passed over, for a bundle is whole without."""
    folder = _folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / sha256_of(manifest)).touch(mode=0o600)
        notes = list(folder.iterdir())
        if len(notes) > MOST_NOTES:
            for note in sorted(notes, key=lambda note: note.stat().st_mtime)[: MOST_NOTES // 4]:
                note.unlink(missing_ok=True)


def was_made_here(manifest: bytes) -> bool:
    """Tell whether this user wrote a manifest of these very bytes on this machine."""
    folder = _folder()
    return folder is not None and (folder / sha256_of(manifest)).is_file()


def _folder() -> Path | None:
    named = os.environ.get("EDGEOSR_CACHE")
    if named:
        return Path(named) / "made-here"
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "edgeosr" / "made-here"
    except RuntimeError:  # no home folder is known
        return None
