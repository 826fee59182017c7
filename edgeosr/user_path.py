"""A path as a user types it or a record keeps it: what is on disk comes first, then ``~``."""

import os
from pathlib import Path

from edgeosr.printed import original


def path_from_user(text: str | Path) -> Path:
    """Return the path that ``text`` means.

    In this order: what exists under that very name (a file may be called ``~1.png``); what exists under the
    name that ``printable`` showed as ``text`` (records keep paths that are no UTF-8 in that form); the folder
    of a user for a leading ``~``; the name as it stands.
    """
    path = Path(text)
    if os.path.lexists(path):
        return path
    shown = Path(original(str(text)))
    if shown != path and os.path.lexists(shown):
        return shown
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user, or this one has no folder
        return path
