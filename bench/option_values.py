"""Values of a program's options, checked by argparse before anything is measured: ``type=frame_size``.

Each raises ``ArgumentTypeError``, which argparse prints behind the option's name; the exit code is 2.
"""

import math
from argparse import ArgumentTypeError
from pathlib import Path

from edgeosr.errors import LARGEST_SEED, StorageError
from edgeosr.files import require_place

LONGEST_SIDE = 16_384
MOST_COUNT = 1_000_000
MOST_SECONDS = 86_400.0


def frame_size(text: str) -> tuple[int, int]:
    """Return (height, width) of ``480x640``, each from 1 to ``LONGEST_SIDE``."""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 1 <= int(side) <= LONGEST_SIDE for side in sides):
        raise ArgumentTypeError(
            f"expected HxW in pixels, each from 1 to {LONGEST_SIDE}; got {text!r}; write for example 480x640"
        )
    return int(sides[0]), int(sides[1])


def whole_number(text: str) -> int:
    """Return a whole number from 1 to ``MOST_COUNT``."""
    return _whole(text, 1, MOST_COUNT)


def random_seed(text: str) -> int:
    """Return a whole number that a generator of random numbers takes."""
    return _whole(text, 0, LARGEST_SEED)


def some_seconds(text: str) -> float:
    """Return a number of seconds above 0, up to ``MOST_SECONDS``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= MOST_SECONDS:
        raise ArgumentTypeError(f"expected seconds above 0, at most {MOST_SECONDS:g}; got {text!r}")
    return value


def written_file(text: str) -> Path:
    """Return the path of a file that can be written there."""
    path = Path(text)
    try:
        require_place(path, folder=False)
    except StorageError as error:
        raise ArgumentTypeError(str(error)) from error
    return path


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isdecimal() and least <= int(text) <= most):
        raise ArgumentTypeError(f"expected a whole number from {least} to {most}; got {text!r}")
    return int(text)
