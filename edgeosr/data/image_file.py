"""Encoded images to RGB pixels: files with their EXIF orientation, or bytes from a pack."""

import io
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgeosr.data.conversion import to_rgb
from edgeosr.data.labelled_images import Image
from edgeosr.data.orientation import turn_of
from edgeosr.data.picture_limits import regular_file_bytes, within_limit
from edgeosr.errors import DataError
from edgeosr.preprocessing import LARGEST_FRAME

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Pictures of kinds that are not read: passed over, but not in silence.
PASSED_OVER = (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl")
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
        DataError: it is no regular file, cannot be opened, is truncated, is no such image, or has more pixels
            than ``LARGEST_FRAME`` (a JPEG: than that many at an eighth of its size).
    """
    return decode_image(regular_file_bytes(path), str(path), upright=True)


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
                within_limit(image)
                return use(image)
        except DataError as error:
            raise DataError(f"cannot decode {name}: {error}") from error
        except MemoryError as error:
            raise DataError(f"cannot decode {name}: there is not enough memory for its pixels") from error
        except pillow.DecompressionBombError as error:
            raise DataError(
                f"cannot decode {name}: it has more pixels than {LARGEST_FRAME}; make it smaller"
            ) from error
        # Damaged files make decoders raise nearly anything: OSError, SyntaxError, struct.error, zlib.error.
        except Exception as error:
            reason = str(error) or type(error).__name__
            if "MAX_TEXT" in reason:  # Pillow's names of the limits of its reader of PNG
                reason = "a text or colour profile in it is too large; save it again without"
            if isinstance(error, UnidentifiedImageError):
                reason = "it is empty" if not encoded else "it is not a PNG, JPEG, WebP, BMP or PPM image"
            raise DataError(f"cannot decode {name}: {reason}") from error


def _upright(image: "PillowImage") -> "PillowImage":
    # First: PNG may have its EXIF block behind the pixels.
    image.load()
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)
