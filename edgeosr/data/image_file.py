"""Encoded images to RGB pixels: files with their EXIF orientation, or bytes from a pack."""

import functools
import io
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgeosr.data.conversion import to_rgb
from edgeosr.data.labelled_images import Image
from edgeosr.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Pictures of kinds that are not read: passed over, but not in silence.
_PASSED_OVER = (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl")
# Named, so that a TIFF or PostScript file called x.png never reaches a decoder that prints or runs things.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM")
# Tags of EXIF: the folder of the shot, DateTimeOriginal in it, Make and Model beside it.
_EXIF_FOLDER, _TAKEN, _MAKER, _MODEL = 0x8769, 36867, 271, 272
Result = TypeVar("Result")


class QuietPillow:
    """Hide Pillow's warnings inside ``with quiet_pillow``; threads may enter at the same time.

    ``warnings.catch_warnings`` alone changes process-wide state and is not thread-safe: the first thread
    in sets the filter and the last one out restores it. Pillow warns of large images, odd EXIF blocks and
    the like; the pixels decide here, not the warning.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module="PIL")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


quiet_pillow = QuietPillow()


def read_image_file(path: Path) -> Image:
    """Decode a PNG, JPEG, WebP, BMP or PPM file, turned upright by its EXIF orientation.

    Returns:
        uint8 RGB ``[height, width, 3]``.

    Raises:
        DataError: the file cannot be opened, is truncated, is no such image, or is larger than Pillow's
            limit against decompression bombs (179 million pixels).
    """
    return decode_image(file_bytes(path), str(path), upright=True)


def file_bytes(path: Path) -> bytes:
    """Return what a file holds; raises DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def decode_image(encoded: bytes, name: str, *, upright: bool = False) -> Image:
    """Decode the bytes of one image file to uint8 RGB ``[height, width, 3]``.

    Args:
        encoded: a whole PNG, JPEG, WebP, BMP or PPM file.
        name: what to call it in an error.
        upright: honour the EXIF orientation.

    Raises:
        DataError: it cannot be decoded.
    """
    return _opened(encoded, name, lambda image: to_rgb(_upright(image) if upright else image))


@dataclass(frozen=True)
class Look:
    """A picture as it is looked at to compare it with others.

    Attributes:
        pixels: uint8 RGB ``[height, width, 3]``, upright; a large JPEG at a fraction of its size.
        size: (width, height) as stored.
        taken: when, as EXIF says it: ``"2024:01:31 12:00:00"``; empty if it does not.
        camera: maker and model, as EXIF says; empty if it does not.
    """

    pixels: Image
    size: tuple[int, int]
    taken: str
    camera: str


def look_at(encoded: bytes, name: str, *, most_pixels: int, side: int) -> Look:
    """Decode the bytes of an image file for a comparison; what is left out of a large JPEG saves its time.

    Args:
        encoded: a whole PNG, JPEG, WebP, BMP or PPM file.
        name: what to call it in an error.
        most_pixels: a JPEG of more is decoded at 1/2, 1/4 or 1/8 of its size, ...
        side: ... with both sides of at least so many pixels.

    Raises:
        DataError: it cannot be decoded.
    """

    def look(image: "PillowImage") -> Look:
        size, (taken, camera) = image.size, _shot(image)
        if image.format == "JPEG" and size[0] * size[1] > most_pixels:
            image.draft(None, (side, side))
        return Look(to_rgb(_upright(image)), size, taken, camera)

    return _opened(encoded, name, look)


def _shot(image: "PillowImage") -> tuple[str, str]:
    """Return when and with what a picture was taken; empty where its EXIF block is missing or broken."""
    try:
        exif = image.getexif()
        taken = str(exif.get_ifd(_EXIF_FOLDER).get(_TAKEN, ""))
        return taken, f"{exif.get(_MAKER, '')} {exif.get(_MODEL, '')}".strip()
    except Exception:
        # Pillow raises nearly anything on broken blocks; the pixels are no worse for it.
        return "", ""


def _opened(encoded: bytes, name: str, use: "Callable[[PillowImage], Result]") -> Result:
    """Open the bytes of an image file, and return what ``use`` makes of it; all it raises is a DataError."""
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    with quiet_pillow:
        try:
            with pillow.open(io.BytesIO(encoded), formats=_FORMATS) as image:
                return use(image)
        except MemoryError:
            raise
        # Damaged files make decoders raise nearly anything: OSError, SyntaxError, struct.error, zlib.error.
        except Exception as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, UnidentifiedImageError):
                reason = "it is empty" if not encoded else "it is not a PNG, JPEG, WebP, BMP or PPM image"
            raise DataError(f"cannot decode {name}: {reason}") from error


def _upright(image: "PillowImage") -> "PillowImage":
    from PIL import ImageOps

    # First, so that a truncated image is an error and not taken for a broken EXIF block.
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # A broken EXIF block says nothing about the pixels: keep them as stored.
        return image


def tell_passed_over(folder: Path, names: Iterable[str]) -> None:
    """Say on standard error how many of a folder's files are pictures of a kind that is not read."""
    suffixes = [Path(name).suffix.casefold() for name in names]
    found = [suffix for suffix in suffixes if suffix in _PASSED_OVER]
    if found:
        kinds = ", ".join(sorted(set(found)))
        _say_once(
            f"note: {len(found)} file(s) in {folder} are passed over ({kinds}); "
            f"edgeosr reads {', '.join(SUFFIXES)}"
        )


@functools.cache
def _say_once(line: str) -> None:
    # A command may open a folder twice: to refuse it early, and to read it.
    print(line, file=sys.stderr)
