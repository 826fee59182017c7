"""Checks camera frames before they reach the network; every refusal says how to convert."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import FrameError
from edgeosr.preprocessing import LARGEST_FRAME, LONGEST_SIDE

Frames = NDArray[np.uint8]


def as_batch(
    frames: Frames | Sequence[Frames], fixed: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], bool]:
    """Return frames as one contiguous batch; a contiguous array is not copied.

    Args:
        frames: uint8 ``[height, width, 3]``, ``[batch, height, width, 3]``, or a list of frames of equal
            size. The batch may be empty.
        fixed: the only (height, width) the bundle takes, None for any.

    Returns:
        uint8 ``[batch, height, width, 3]`` and whether it was one frame.

    Raises:
        FrameError: wrong type, dtype, shape or size.
    """
    if isinstance(frames, list | tuple):
        return _stack(frames, fixed), False
    array = _checked(frames, (3, 4), fixed)
    single = array.ndim == 3
    with _enough_memory(array.shape):
        return np.ascontiguousarray(array[np.newaxis] if single else array), single


def _stack(frames: Sequence[Frames], fixed: tuple[int, int] | None) -> NDArray[np.uint8]:
    arrays = [_checked(frame, (3,), fixed) for frame in frames]
    sizes = sorted({array.shape[:2] for array in arrays})
    if len(sizes) > 1:
        raise FrameError(
            f"frames of one call must have one size; got {_size(sizes[0])} and {_size(sizes[1])}: "
            "call once for each size"
        )
    if not arrays:
        return np.zeros((0, *(fixed or (1, 1)), 3), np.uint8)
    with _enough_memory((len(arrays), *arrays[0].shape)):
        return np.stack(arrays)


@contextlib.contextmanager
def _enough_memory(shape: Sequence[int]) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise FrameError(
            f"frames of one call must fit in memory; got {list(shape)}: judge fewer in one call"
        ) from error


def _checked(frame: object, dimensions: tuple[int, ...], fixed: tuple[int, int] | None) -> NDArray[np.uint8]:
    if isinstance(frame, np.ma.MaskedArray):
        raise FrameError(
            "a frame must have a value for every pixel; got a masked array: fill it first, "
            "for example frame.filled(0)"
        )
    if not isinstance(frame, np.ndarray):
        raise FrameError(
            f"a frame must be a NumPy array [height, width, 3] of uint8; got {type(frame).__name__}: "
            + (
                "read the image first, or use edgeosr predict"
                if isinstance(frame, str | bytes) or hasattr(frame, "__fspath__")
                else "convert it, for example numpy.asarray(image.convert('RGB')) for a Pillow image"
            )
        )
    if frame.dtype != np.uint8:
        raise FrameError(f"a frame must have dtype uint8 (0 to 255); got {frame.dtype}: {_from_dtype(frame)}")
    if frame.ndim not in dimensions or frame.shape[-1] != 3:
        wanted = (
            "[height, width, 3] or [batch, height, width, 3]" if 4 in dimensions else "[height, width, 3]"
        )
        raise FrameError(f"expected {wanted}; got {list(frame.shape)}: {_from_shape(frame.shape)}")
    height, width = frame.shape[-3:-1]
    if height == 0 or width == 0:
        raise FrameError(f"a frame must have at least one pixel; got {_size((height, width))}")
    require_size((height, width), fixed)
    # Of a subclass only the values are taken: its own way to index or to reshape might be another.
    return np.asarray(frame)


def require_size(size: tuple[int, int], fixed: tuple[int, int] | None) -> None:
    """Raise a FrameError unless frames of ``size`` (height, width) are not too large and fit the bundle.

    Args:
        size: of the frames; at most ``LARGEST_FRAME`` pixels, and ``LONGEST_SIDE`` a side.
        fixed: the only size that the bundle takes, None for any.
    """
    if size[0] * size[1] > LARGEST_FRAME:
        raise FrameError(
            f"a frame must be of at most {LARGEST_FRAME} pixels; got {_size(size)}: make it smaller first"
        )
    if max(size) > LONGEST_SIDE:
        raise FrameError(
            f"a side of a frame must be of at most {LONGEST_SIDE} pixels; got {_size(size)}: make it "
            "smaller, or judge it in pieces"
        )
    if fixed is not None and size != fixed:
        raise FrameError(
            f"this bundle takes frames of {_size(fixed)} only (height x width); "
            f"got {_size(size)}: export it again without --frame, or with this size"
        )


def _from_dtype(frame: NDArray[np.generic]) -> str:
    if frame.dtype.kind == "f":
        return "for values from 0 to 1 multiply: (frame * 255).round().astype(numpy.uint8)"
    if frame.dtype == np.uint16:
        return "for 16-bit images: (frame / 257).round().astype(numpy.uint8)"
    return "convert it with frame.astype(numpy.uint8) if its values are 0 to 255"


def _from_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "this looks grey: numpy.repeat(frame[..., None], 3, axis=2) makes it RGB"
    if len(shape) in (3, 4) and shape[-1] == 1:
        return "this looks grey: numpy.repeat(frame, 3, axis=-1) makes it RGB"
    if len(shape) in (3, 4) and shape[-1] == 4:
        return "this looks like RGBA: frame[..., :3] drops the transparency"
    if len(shape) in (3, 4) and shape[-3] == 3:
        return "channels come last: numpy.moveaxis(frames, -3, -1)"
    return "colour images with channels last are taken"


def _size(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
