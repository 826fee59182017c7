"""A model's preprocessing as its own code would do it, in Pillow and NumPy, to hold the exported graph to.

Nothing here is shared with the graph's front end, nor with ``Preprocessing.resize``: a mistake there must
show.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edgeosr.preprocessing import Preprocessing

BILINEAR, NO_ANTIALIAS = "bilinear", "no-antialias"
_FILTERS = {
    BILINEAR: Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "nearest": Image.Resampling.NEAREST,
}
# Bilinear between the four nearest pixels, however far the picture shrinks: OpenCV's INTER_LINEAR, and
# torch's interpolation of tensors without antialias.
RESAMPLINGS = (*_FILTERS, NO_ANTIALIAS)


def fitted(
    frame: NDArray[np.uint8], preprocessing: Preprocessing, resampling: str = BILINEAR
) -> NDArray[np.uint8]:
    """Return a frame at the model's size.

    Args:
        frame: uint8 RGB ``[height, width, 3]``.
        preprocessing: size, fit, and how much is cut off.
        resampling: one of ``RESAMPLINGS``.

    Returns:
        uint8 RGB ``[preprocessing.height, preprocessing.width, 3]``.
    """
    image = Image.fromarray(frame)
    size = (preprocessing.width, preprocessing.height)
    side = preprocessing.resize_to
    if side is not None:
        if preprocessing.fit == "stretch":
            image = _resized(image, (side, side), resampling)
        else:
            shorter = min(image.size)
            image = _resized(
                image, (side * image.width // shorter, side * image.height // shorter), resampling
            )
        left, top = round((image.width - size[0]) / 2), round((image.height - size[1]) / 2)
        image = image.crop((left, top, left + size[0], top + size[1]))
    elif preprocessing.fit == "crop":
        image = _cut_to_shape(image, size, preprocessing.crop_fraction, resampling)
    elif preprocessing.fit == "stretch":
        image = _resized(image, size, resampling)
    else:
        scale = min(size[0] / image.width, size[1] / image.height)
        inner = (
            min(size[0], max(1, int(image.width * scale + 0.5))),
            min(size[1], max(1, int(image.height * scale + 0.5))),
        )
        canvas = Image.new("RGB", size)
        canvas.paste(
            _resized(image, inner, resampling), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
        )
        image = canvas
    return np.asarray(image)


def normalised(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return float32 ``[n, 3, height, width]``, the model's input, of fitted ``[n, height, width, 3]``."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    values = (pixels / 255.0 - mean) / std
    if preprocessing.color == "bgr":
        values = values[..., ::-1]
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)


def _cut_to_shape(image: Image.Image, size: tuple[int, int], fraction: float, resampling: str) -> Image.Image:
    if resampling in _FILTERS:
        return ImageOps.fit(image, size, _FILTERS[resampling], bleed=(1 - fraction) / 2)
    # Other code resizes the shorter side, then cuts at whole pixels.
    scale = max(size[0] / image.width, size[1] / image.height) / fraction
    image = _resized(
        image,
        (max(size[0], int(image.width * scale + 0.5)), max(size[1], int(image.height * scale + 0.5))),
        resampling,
    )
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))


def _resized(image: Image.Image, size: tuple[int, int], resampling: str) -> Image.Image:
    if resampling in _FILTERS:
        return image.resize(size, _FILTERS[resampling])
    # An affine map samples the picture at points: nothing is averaged when it shrinks.
    steps = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
    return image.transform(size, Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)
