"""Arguments of the Python API: what was given becomes what is needed, or a UsageError says what it should be.

The checks that the command line shares stand in ``errors.py``.
"""

import contextlib
import math
import os
from numbers import Real
from pathlib import Path

from edgeosr.errors import UsageError
from edgeosr.printed import brief


def number_from(what: str, value: object) -> float:
    """Return ``value``, a number of Python or NumPy, as a float; infinite ones too.

    Raises:
        UsageError: it is no number (text, bytes and true/false are none), NaN, or beyond what a float holds.
    """
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if math.isnan(number):
        raise UsageError(f"{what} must be a number; got {brief(value)}")
    return number


def path_from(what: str, value: object) -> Path:
    """Return a path that was given as one or as a text.

    Raises:
        UsageError: it is neither, is empty, or holds what no path may: a NUL, a name of thousands of letters.
    """
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        # A name of more letters than a file may have, or of half a letter that no path can hold.
        with contextlib.suppress(OSError, UnicodeEncodeError):
            os.fsencode(value)
            Path(value).exists()
            return Path(value)
    raise UsageError(f"{what} must be a path, as text or pathlib.Path; got {brief(value)}")


def require_truth(what: str, value: object) -> None:
    """Raise a UsageError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{what} must be True or False; got {brief(value)}")


def require_kind(what: str, value: object, kind: type) -> None:
    """Raise a UsageError unless ``value`` is of a class, which messages name: ``ExportSettings(...)``."""
    if not isinstance(value, kind):
        raise UsageError(f"{what} must be {kind.__name__}(...); got {brief(value)}")
