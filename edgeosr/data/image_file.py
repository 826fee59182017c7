"""Encoded images to RGB pixels: files with their EXIF orientation, or bytes from a pack."""

import io
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

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
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    with quiet_pillow:
        try:
            with pillow.open(io.BytesIO(encoded), formats=_FORMATS) as image:
                within_limit(image)
                return to_rgb(_upright(image) if upright else image)
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
            if isinstance(error, UnidentifiedImageError):
                reason = "it is empty" if not encoded else "it is not a PNG, JPEG, WebP, BMP or PPM image"
            raise DataError(f"cannot decode {name}: {reason}") from error


def _upright(image: "PillowImage") -> "PillowImage":
    # First: PNG may have its EXIF block behind the pixels.
    image.load()
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)
