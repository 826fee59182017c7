"""What a picture may cost: a stated number of pixels, so that a small device can decode whatever comes."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from edgeosr.errors import DataError
from edgeosr.preprocessing import LARGEST_FRAME, LONGEST_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# Of a picture's file; 33 million pixels without compression, 16 bits a channel, take 201 MB.
LARGEST_FILE = 2**28
_JPEG = ("JPEG", "MPO")  # MPO: what phones call a JPEG with more pictures behind the first


def within_limit(image: "PillowImage") -> None:
    """Have an opened picture decoded to at most ``LARGEST_FRAME`` pixels, before any of them is.

    A large JPEG is decoded at a half, a quarter or an eighth of its size, which takes no more memory than the
    result. One that is stored in several passes is not: its decoder keeps all of it.

    Raises:
        DataError: it has more pixels, or a side of more than ``LONGEST_SIDE``.
    """
    width, height = image.size
    if width * height > LARGEST_FRAME and image.format in _JPEG and not image.info.get("progressive"):
        share = next((one for one in (2, 4) if width * height <= LARGEST_FRAME * one**2), 8)
        image.draft(None, (width // share, height // share))
    if image.size[0] * image.size[1] > LARGEST_FRAME:
        raise DataError(
            f"of {width}x{height}, it has more pixels than {LARGEST_FRAME}, the most that edgeosr takes; "
            "make it smaller"
        )
    if max(image.size) > LONGEST_SIDE:
        raise DataError(
            f"of {width}x{height}, a side of it has more than {LONGEST_SIDE} pixels, the most that edgeosr "
            "takes; make it smaller, or cut it into pieces"
        )


def regular_file_bytes(path: Path) -> bytes:
    """Return what a picture's file holds; anything but a regular file is not opened.

    Raises:
        DataError: it cannot be read, is no regular file, is empty, or has more than ``LARGEST_FILE`` bytes.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"cannot read {path}: it is no regular file")
        if found.st_size == 0:
            # Not opened either: what the system shows without a size, such as /proc/kmsg, may never end.
            raise DataError(f"cannot decode {path}: it is empty")
        if found.st_size > LARGEST_FILE:
            raise DataError(f"cannot read {path}: it has {found.st_size} bytes; {LARGEST_FILE} are the most")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"cannot read {path}: there is not enough memory for it") from error
