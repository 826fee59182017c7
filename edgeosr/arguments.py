"""Arguments of the Python API: what was given becomes what is needed, or a UsageError says what it should be.

The checks that the command line shares stand in ``errors.py``.
"""

import contextlib
import errno
import math
import os
from numbers import Real
from pathlib import Path

from edgeosr.errors import StorageError, UsageError
from edgeosr.printed import brief, shortened


def number_from(what: str, value: object) -> float:
    """Return ``value``, a number of Python or NumPy, as a float; infinite ones too.

    Raises:
        UsageError: it is no number (text, bytes and true/false are none), NaN, or beyond what a float holds.
    """
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        with contextlib.suppress(OverflowError):
            number = float(value)
        # NumPy's wider numbers become infinite in silence where Python's say that they do not fit.
        if math.isinf(number) and number != value:
            number = math.nan
    if math.isnan(number):
        raise UsageError(f"{what} must be a number; got {brief(value)}")
    return number


def path_from(what: str, value: object) -> Path:
    """Return a path that was given as one or as a text.

    Raises:
        UsageError: it is neither, is empty, or holds what no path may: a NUL, half a letter.
        StorageError: the system says that nothing can be there: a name is too long, a folder may not be
            looked into. That nothing is there is no error.
    """
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        with contextlib.suppress(UnicodeEncodeError):
            os.fsencode(value)
            _require_possible(Path(value))
            return Path(value)
    raise UsageError(f"{what} must be a path, as text or pathlib.Path; got {brief(value)}")


def keep_paths(settings: object, *names: str) -> None:
    """Have these fields of frozen settings hold a path or None, made of a text too; see ``path_from``."""
    for name in names:
        if getattr(settings, name) is not None:
            object.__setattr__(settings, name, path_from(name, getattr(settings, name)))


def _require_possible(path: Path) -> None:
    try:
        os.stat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise StorageError(
                f"cannot use {shortened(path)}: {error.strerror}; check the path, its "
                "permissions and the free disk space"
            ) from error


def require_truth(what: str, value: object) -> None:
    """Raise a UsageError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{what} must be True or False; got {brief(value)}")


def require_kind(what: str, value: object, kind: type) -> None:
    """Raise a UsageError unless ``value`` is of a class, which messages name: ``ExportSettings(...)``."""
    if not isinstance(value, kind):
        raise UsageError(f"{what} must be {kind.__name__}(...); got {brief(value)}")
