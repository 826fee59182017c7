"""How a camera was held, out of the EXIF block of a picture, whatever else is wrong with that block."""

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.Image import Transpose

_ORIENTATION = 0x0112
_PREFIX = b"Exif\0\0"
_SHORT, _LONG = 3, 4
_ENTRY = 12  # bytes of an entry: tag, type, count, value


def turn_of(image: "PillowImage") -> "Transpose | None":
    """Return what turns a loaded picture upright; None if it is, or if nothing can be read that says so.

    Pillow gives up a whole EXIF block for one tag that is not as it should be; then the orientation is
    looked up in the block's bytes.
    """
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        found: object = image.getexif().get(_ORIENTATION)
    except Exception:
        # Pillow raises nearly anything on broken blocks; the pixels are no worse for it.
        found = None
    if not isinstance(found, int) or not 1 <= found <= 8:
        block = image.info.get("exif")
        found = orientation_in(block) if isinstance(block, bytes) else None
    return turns.get(found) if isinstance(found, int) else None


def orientation_in(block: bytes) -> int | None:
    """Return the orientation, 1 to 8, in the first directory of an EXIF block; None if it holds none."""
    tiff = block[len(_PREFIX) :] if block.startswith(_PREFIX) else block
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return None
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for place in range(start + 2, min(start + 2 + count * _ENTRY, len(tiff) - _ENTRY + 1), _ENTRY):
        tag, kind, _ = struct.unpack_from(f"{order}HHI", tiff, place)
        if tag == _ORIENTATION and kind in (_SHORT, _LONG):
            (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", tiff, place + 8)
            return int(value) if 1 <= value <= 8 else None
    return None
