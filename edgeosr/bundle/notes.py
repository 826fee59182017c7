"""Notes of what this user did on this machine: one empty file each, in the user's cache folder.

Without a cache folder nothing is remembered, and what is asked of it is answered with no.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

# Older ones are forgotten.
MOST_NOTES = 4096


@dataclass(frozen=True)
class Notes:
    """Notes of one kind.

    Attributes:
        kind: the folder's name, e.g. ``made-here``.
    """

    kind: str

    def remember(self, digest: str) -> None:
        """Note ``digest``, a SHA-256 in hexadecimal; errors are passed over: nothing depends on a note."""
        folder = self._folder()
        if folder is None:
            return
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / digest).touch(mode=0o600)
            notes = list(folder.iterdir())
            if len(notes) > MOST_NOTES:
                for note in sorted(notes, key=lambda note: note.stat().st_mtime)[: MOST_NOTES // 4]:
                    note.unlink(missing_ok=True)

    def has(self, digest: str) -> bool:
        """Tell whether ``digest`` was noted; not where the folder cannot be looked into."""
        folder = self._folder()
        if folder is None:
            return False
        try:
            return (folder / digest).is_file()
        except OSError:
            return False

    def _folder(self) -> Path | None:
        named = os.environ.get("EDGEOSR_CACHE")
        if named:
            return Path(named) / self.kind
        base = os.environ.get("XDG_CACHE_HOME")
        try:
            return (Path(base) if base else Path.home() / ".cache") / "edgeosr" / self.kind
        except RuntimeError:  # no home folder is known
            return None
