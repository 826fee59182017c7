"""Frames of every format and any size, for comparing decisions: near the threshold and of noise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeosr.bundle.directory import Bundle
from edgeosr.runtime.bundle_golden import bundle_golden
from edgeosr.runtime.native.library import BGR8, GRAY8, NV12, RGB8, YUYV

Bytes = NDArray[np.uint8]
FORMATS = {RGB8: "RGB8", BGR8: "BGR8", NV12: "NV12", YUYV: "YUYV", GRAY8: "GRAY8"}
LONGEST_SIDE = 640
NOISE_EVERY = 8  # each eighth frame is noise, which is unknown
# BT.601 of limited range in 16.16 fixed point, as edgeosr.h says what NV12 and YUYV stand for.
LUMA, RED, GREEN, BLUE = 76309, 104597, (-25675, -53279), 132201


@dataclass(frozen=True)
class RandomFrame:
    """A frame as the library takes it, and what it stands for.

    Attributes:
        pixel_format: of ``edgeosr_format``.
        planes: its bytes; rows may lie apart.
        rgb: ``[height, width, 3]``.
    """

    pixel_format: int
    planes: tuple[Bytes, ...]
    rgb: Bytes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]


def rgb_from_yuv(y: Bytes, u: Bytes, v: Bytes) -> Bytes:
    """Return RGB ``[height, width, 3]`` of luma and chroma, each ``[height, width]``."""
    luma = LUMA * (y.astype(np.int64) - 16) + 32768
    blue, red = u.astype(np.int64) - 128, v.astype(np.int64) - 128
    planes = (luma + RED * red, luma + GREEN[0] * blue + GREEN[1] * red, luma + BLUE * blue)
    return np.stack([np.clip(plane >> 16, 0, 255) for plane in planes], -1).astype(np.uint8)


def random_frames(bundle: Bundle, count: int, seed: int) -> Iterator[RandomFrame]:
    """Give frames of random size, each format in turn, of golden frames (near the threshold) or of noise.

    Args:
        bundle: for frames of any size, or of one.
        count: of frames.
        seed: of all that is random.
    """
    golden = bundle_golden(bundle)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixel_format = i % len(FORMATS)
        if bundle.manifest.frame is not None:
            height, width = bundle.manifest.frame
        else:
            height, width = (int(2 ** rng.uniform(0, np.log2(LONGEST_SIDE))) for _ in range(2))
        width += width % 2 if pixel_format == YUYV else 0
        chosen = int(rng.integers(len(golden)))
        if (i // len(FORMATS)) % NOISE_EVERY == 0:
            picture = rng.integers(0, 256, (height, width, 3), np.uint8)
        else:
            frame = golden.frames[chosen][..., :: -1 if golden.bgr[chosen] else 1]
            resized = Image.fromarray(np.ascontiguousarray(frame)).resize((width, height))
            shift = rng.integers(-24, 25)
            picture = np.clip(np.asarray(resized).astype(np.int64) + shift, 0, 255).astype(np.uint8)
        yield _in_format(picture, pixel_format, int(rng.integers(2)) * int(rng.integers(1, 33)))


def _in_format(rgb: Bytes, pixel_format: int, more: int) -> RandomFrame:
    """Return a frame whose rows lie ``more`` bytes apart, made of a picture, chroma of each pair's first."""
    height, width = rgb.shape[:2]
    if pixel_format in (RGB8, BGR8):
        stored = rgb if pixel_format == RGB8 else rgb[..., ::-1]
        return RandomFrame(pixel_format, (_apart(stored, more),), rgb)
    y, u, v = np.asarray(Image.fromarray(rgb).convert("YCbCr")).transpose(2, 0, 1)
    if pixel_format == GRAY8:
        return RandomFrame(pixel_format, (_apart(y, more),), np.repeat(y[..., None], 3, 2))
    rows, columns = np.arange(height), np.arange(width)
    if pixel_format == NV12:
        chroma = np.stack([u[::2, ::2], v[::2, ::2]], -1)
        u, v = chroma[rows // 2][:, columns // 2].transpose(2, 0, 1)
        return RandomFrame(pixel_format, (_apart(y, more), _apart(chroma, 2 * more)), rgb_from_yuv(y, u, v))
    pairs = np.stack([y[:, ::2], u[:, ::2], y[:, 1::2], v[:, ::2]], -1)
    u, v = u[:, columns // 2 * 2], v[:, columns // 2 * 2]
    return RandomFrame(pixel_format, (_apart(pairs, more),), rgb_from_yuv(y, u, v))


def _apart(plane: Bytes, more: int) -> Bytes:
    """Return rows of bytes with ``more`` between them, as a camera may give them."""
    flat = np.ascontiguousarray(plane).reshape(len(plane), -1)
    room = np.full((len(flat), flat.shape[1] + more), 255, np.uint8)
    room[:, : flat.shape[1]] = flat
    return room[:, : flat.shape[1]]
