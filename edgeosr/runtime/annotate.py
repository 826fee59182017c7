"""Draws a verdict over a frame: green for a known class, red for "unknown"."""

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.preprocessing import LARGEST_FRAME, Color
from edgeosr.printed import printable
from edgeosr.verdict import Verdict

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

ACCEPTED_RGB = (22, 120, 60)
UNKNOWN_RGB = (176, 32, 32)
# Smaller frames are enlarged by a whole factor, so that the text stays readable.
SMALLEST_SIDE = 160
_TEXT_SHARE = 22  # frame height / text height
_TALLEST_TEXT = 256  # pixels
_LONGEST_NAME = 80  # letters


def annotate(frame: NDArray[np.uint8], verdict: Verdict, *, color: Color = "rgb") -> NDArray[np.uint8]:
    """Return a copy of a frame with the label and the score over its top edge.

    Args:
        frame: uint8 ``[height, width, 3]``.
        verdict: of this frame.
        color: channel order of ``frame``, and of the result.

    Returns:
        uint8, of the frame's size times ``ceil(160 / shorter side)`` if that side is below 160 pixels; times
        less where that were more than ``LARGEST_FRAME`` pixels.
    """
    height, width = frame.shape[:2]
    # A frame of one row and many columns is not enlarged beyond what a frame may have.
    most = max(1, math.isqrt(LARGEST_FRAME // (height * width)))
    factor = min(-(-SMALLEST_SIDE // min(height, width)), most)
    drawn = np.repeat(np.repeat(frame, factor, axis=0), factor, axis=1) if factor > 1 else frame.copy()
    tall = min(max(12, drawn.shape[0] // _TEXT_SHARE), _TALLEST_TEXT)
    strip = _strip(caption(verdict), verdict.accepted, tall)
    strip = strip[: drawn.shape[0], : drawn.shape[1]]
    drawn[: strip.shape[0], : strip.shape[1]] = strip if color == "rgb" else strip[..., ::-1]
    return drawn


def caption(verdict: Verdict) -> str:
    """Return the text over a frame: label and score, and for an unknown what it is nearest to."""
    if verdict.accepted:
        return f"{_short(verdict.label)}  {verdict.score:.2f}"
    return f"{verdict.label}  {verdict.score:.2f}  (nearest {_short(verdict.nearest)})"


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 3] + "..."


def _strip(text: str, accepted: bool, height: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    font = _font(height)
    left, top, right, bottom = font.getbbox(text)
    margin = height // 3
    size = (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin)
    image = Image.new("RGB", size, ACCEPTED_RGB if accepted else UNKNOWN_RGB)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, (255, 255, 255), font=font)
    return np.asarray(image)


@functools.lru_cache(maxsize=4)
def _font(height: int) -> "FreeTypeFont | ImageFont | Any":
    from PIL import ImageFont

    return ImageFont.load_default(height)
