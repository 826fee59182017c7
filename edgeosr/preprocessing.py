"""Preprocessing as data: the one description that training, the ONNX graph and the manifest share.

A frame is a uint8 RGB image ``[height, width, 3]`` of any size. It is resized with Pillow's antialiased
bilinear filter (a triangle filter whose support grows with the shrink factor), scaled to 0..1 and
normalised per channel.
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edgeosr.errors import UsageError, require_choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of frames: a side, and both multiplied (8K video has 33 177 600), in pixels.
LARGEST_SIDE = 16384
LARGEST_FRAME = 2**25
# A side that float32 still divides into hundredths of a pixel: the graph computes positions in it.
LONGEST_SIDE = 2**17
Fit = Literal["crop", "stretch", "letterbox"]
FITS: tuple[Fit, ...] = ("crop", "stretch", "letterbox")
# Per channel, of ImageNet's training images scaled to 0..1: what most published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Color = Literal["rgb", "bgr"]
COLORS: tuple[Color, ...] = ("rgb", "bgr")
# Of the shorter side, before the cut: twice the largest input.
LONGEST_RESIZED = 8192


class Axis(NamedTuple):
    """How one axis of a frame maps to the network's input.

    Output positions ``offset .. offset + length - 1`` sample the frame's interval
    ``[start, start + extent)`` (in pixels, may be fractional); all other positions are padding (black).
    """

    start: float
    extent: float
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a frame of any size to the network's input.

    Attributes:
        height, width: the network's input size in pixels, 1 to 4096.
        fit: ``crop`` takes the largest centred region of the input's aspect ratio (times
            ``crop_fraction``), ``stretch`` the whole frame, ``letterbox`` the whole frame with its aspect
            ratio kept and black borders.
        crop_fraction: share of the centred region's sides that is kept, 0 < value <= 1; ``crop`` only.
        resize_to: the other way to say how much is kept, in whole pixels: ``crop`` first resizes the shorter
            side to this many (the longer one to the whole number below), ``stretch`` both sides; then the
            centred height x width is cut out, half a pixel going to the even side. It is what torchvision's
            ``Resize`` and ``CenterCrop`` do. None: ``crop_fraction`` alone. At least the longer side of the
            input.
        mean, std: per channel, of values scaled to 0..1, in RGB order whatever ``color`` is; std > 0.
            Padding is black before normalisation.
        color: the channel order the network was trained with; frames are always RGB.
    """

    height: int
    width: int
    fit: Fit = "crop"
    crop_fraction: float = 1.0
    resize_to: int | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    color: Color = "rgb"

    def __post_init__(self) -> None:
        require_choice("fit", self.fit, FITS)
        require_choice("color", self.color, COLORS)
        for name in ("height", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 4096:
                raise UsageError(f"preprocessing {name} must be a whole number from 1 to 4096; got {value!r}")
        if not 0 < self.crop_fraction <= 1:
            raise UsageError(f"crop_fraction must be above 0 and at most 1; got {self.crop_fraction!r}")
        if self.resize_to is not None:
            self._check_resize_to(self.resize_to)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise UsageError(f"preprocessing {name} must be three finite numbers; got {values!r}")
        if min(self.std) <= 0:
            raise UsageError(f"preprocessing std must be above 0; got {self.std!r}")

    def _check_resize_to(self, side: int) -> None:
        longer = max(self.height, self.width)
        if isinstance(side, bool) or not isinstance(side, int) or not longer <= side <= LONGEST_RESIZED:
            raise UsageError(
                f"resize_to must be a whole number from {longer}, the longer side of the input, to "
                f"{LONGEST_RESIZED}; got {side!r}"
            )
        if self.fit == "letterbox" or self.crop_fraction != 1:
            other = "fit letterbox" if self.fit == "letterbox" else f"crop_fraction {self.crop_fraction:g}"
            raise UsageError(f"resize_to must stand alone, with fit crop or stretch; got {other} beside it")

    def axes(self, frame_height: int, frame_width: int) -> tuple[Axis, Axis]:
        """Return the (vertical, horizontal) mapping for a frame of this size."""
        if self.resize_to is not None:
            shorter = min(frame_height, frame_width)
            return (
                _resized_axis(frame_height, shorter, self.height, self.resize_to, self.fit),
                _resized_axis(frame_width, shorter, self.width, self.resize_to, self.fit),
            )
        if self.fit == "stretch":
            return Axis(0.0, frame_height, 0, self.height), Axis(0.0, frame_width, 0, self.width)
        if self.fit == "crop":
            ratio = min(frame_height / self.height, frame_width / self.width) * self.crop_fraction
            tall, wide = ratio * self.height, ratio * self.width
            return (
                Axis((frame_height - tall) / 2, tall, 0, self.height),
                Axis((frame_width - wide) / 2, wide, 0, self.width),
            )
        # Whole-number arithmetic, so that the graph and this method round alike.
        if frame_height * self.width >= frame_width * self.height:
            rows = self.height
            columns = max(1, (2 * frame_width * self.height + frame_height) // (2 * frame_height))
        else:
            columns = self.width
            rows = max(1, (2 * frame_height * self.width + frame_width) // (2 * frame_width))
        return (
            Axis(0.0, frame_height, (self.height - rows) // 2, rows),
            Axis(0.0, frame_width, (self.width - columns) // 2, columns),
        )

    def keeps(self, frame_height: int, frame_width: int) -> bool:
        """Return True if a frame of this size is the network's input as it is."""
        axes = self.axes(frame_height, frame_width)
        return axes == (Axis(0.0, self.height, 0, self.height), Axis(0.0, self.width, 0, self.width))

    def resize(self, frame: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
        """Resize one RGB frame.

        Args:
            frame: uint8 ``[height, width, 3]``.

        Returns:
            uint8 ``[self.height, self.width, 3]``, RGB; not yet normalised.
        """
        import numpy as np
        from PIL import Image

        vertical, horizontal = self.axes(frame.shape[0], frame.shape[1])
        box = (
            horizontal.start,
            vertical.start,
            min(horizontal.start + horizontal.extent, frame.shape[1]),
            min(vertical.start + vertical.extent, frame.shape[0]),
        )
        size = (horizontal.length, vertical.length)
        inner = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, box=box))
        if inner.shape[:2] == (self.height, self.width):
            return inner
        padded = np.zeros((self.height, self.width, 3), np.uint8)
        rows = slice(vertical.offset, vertical.offset + vertical.length)
        padded[rows, horizontal.offset : horizontal.offset + horizontal.length] = inner
        return padded

    def as_json(self) -> dict[str, Any]:
        """Return plain values for a manifest or a run record; ``resize_to`` only where there is one."""
        plain = asdict(self)
        if self.resize_to is None:
            del plain["resize_to"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _resized_axis(frame: int, shorter: int, cut: int, side: int, fit: Fit) -> Axis:
    """Return the mapping of one axis that is resized to whole pixels, and then cut."""
    resized = side if fit == "stretch" else side * frame // shorter
    first = even_half(resized - cut)
    return Axis(first * frame / resized, cut * frame / resized, 0, cut)


def even_half(number: int) -> int:
    """Return ``number / 2``, a half rounded to the even neighbour: Python's ``round``, in whole numbers."""
    return (number + number % 4 // 3) // 2
