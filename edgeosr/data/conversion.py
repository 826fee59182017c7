"""The stated rules that turn any picture into 8-bit RGB.

    grey            replicated to three channels
    alpha           composited on black: value * alpha / 255, rounded
    16 bits         divided by 257, rounded (0 -> 0, 65535 -> 255)
    1 bit           0 and 255
    palette         expanded, transparent entries composited on black
    CMYK and others Pillow's conversion to RGB

Pillow itself reads 16-bit *colour* PNG files as their high bytes, at most one level away from the rule.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.labelled_images import Image
from edgeosr.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

_PIXELS_AT_ONCE = 2**18
CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}


def to_rgb(image: "PillowImage | NDArray[Any]") -> Image:
    """Convert one picture to RGB by the rules above.

    Args:
        image: a Pillow image of any mode, or an array ``[height, width]`` or
            ``[height, width, channels]`` of uint8, uint16 or bool with 1 to 4 channels
            (grey, grey+alpha, RGB, RGB+alpha).

    Returns:
        uint8 ``[height, width, 3]``, C-contiguous and writable.

    Raises:
        DataError: a type or shape that no rule covers (floating point, 32-bit values above 65535).
    """
    if isinstance(image, np.ndarray):
        return _rgb_from_array(image)
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return np.array(image, np.uint8)
    if mode == "L" and "transparency" not in image.info:
        return _rgb_from_array(np.asarray(image, np.uint8))
    if mode in ("LA", "RGBA"):
        return _rgb_from_array(np.asarray(image, np.uint8))
    if mode == "I" or mode.startswith("I;16"):
        return _rgb_from_array(_sixteen_bits(np.asarray(image)))
    if mode == "F":
        raise DataError("a floating-point image has no stated range; save it with 8 or 16 bits a channel")
    # An RGB or grey PNG may name one colour as transparent; only the RGBA conversion honours it.
    has_alpha = "transparency" in image.info or mode in ("PA", "La", "RGBa")
    return _rgb_from_array(np.asarray(image.convert("RGBA" if has_alpha else "RGB"), np.uint8))


def _sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Narrow integer pixels to uint16; Pillow before 11 opens 16-bit grey PNG files with 32-bit values."""
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise DataError(
            f"integer pixels must lie in 0..65535; got {values.min()}..{values.max()}; "
            "save the image with 16 bits"
        )
    return values.astype(np.uint16)


def _rgb_from_array(array: NDArray[Any]) -> Image:
    channels = 1 if array.ndim == 2 else array.shape[-1]
    if array.ndim not in (2, 3) or channels not in CHANNELS or 0 in array.shape:
        raise DataError(
            f"an image array must be [height, width] or [height, width, 1 to 4]; got {list(array.shape)}"
        )
    if array.dtype not in (np.bool_, np.uint16, np.uint8):
        raise DataError(f"an image array must be uint8, uint16 or bool; got {array.dtype}")
    pixels = array.reshape(-1, channels)
    rgb = np.empty((len(pixels), 3), np.uint8)
    # In between a pixel takes some 30 bytes: for a few of them at a time that is nothing.
    for start in range(0, len(pixels), _PIXELS_AT_ONCE):
        rgb[start : start + _PIXELS_AT_ONCE] = _rgb_from_pixels(pixels[start : start + _PIXELS_AT_ONCE])
    return rgb.reshape(*array.shape[:2], 3)


def _rgb_from_pixels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return ``[n, 1 or 3]``, which fits ``[n, 3]``, of ``[n, channels]``."""
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.shape[1] in (2, 4):
        alpha = pixels[:, -1:].astype(np.uint16)
        pixels = ((pixels[:, :-1] * alpha + 127) // 255).astype(np.uint8)
    return pixels
