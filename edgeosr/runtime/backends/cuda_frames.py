"""Frames that lie in a CUDA device's memory: found without a library, checked like those in host memory."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeosr.errors import FrameError
from edgeosr.kernels.driver.arrays import contiguous, device_bytes
from edgeosr.runtime.frames import require_size

_DLPACK_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged
HOW_TO_COPY = "copy it first: frame.cpu().numpy() for torch, cupy.asnumpy(frame) for CuPy"


def is_cuda_array(frames: object) -> bool:
    """Say whether ``frames`` lies in a CUDA device's memory (``__cuda_array_interface__`` or DLPack)."""
    if isinstance(frames, np.ndarray | list | tuple):
        return False
    # What an object of another library raises or answers is its own affair: such a one is no frame, and told.
    with contextlib.suppress(Exception):
        if getattr(frames, "__cuda_array_interface__", None) is not None:
            return True
    with contextlib.suppress(Exception):
        kind, _ = frames.__dlpack_device__()  # type: ignore[attr-defined]  # asked of whatever it is
        return int(kind) in _DLPACK_CUDA
    return False


@dataclass(frozen=True)
class CudaFrames:
    """A batch on the device that can be used where it lies.

    Attributes:
        shape: (batch, height, width, 3).
        array: what the caller passed; asked for its address when the stream that will read it is known.
        single: it was one frame ``[height, width, 3]``.
    """

    shape: tuple[int, int, int, int]
    array: Any
    single: bool

    def located(self, stream: int) -> tuple[int, int | None, int | None]:
        """Return the address, the stream on which the content becomes ready, and the device, if told.

        Args:
            stream: where it will be read; a DLPack producer lets it wait for its own.
        """
        found = device_bytes("frames", self.array, stream)
        return found.pointer, found.stream, found.device


def as_cuda_frames(array: Any, fixed: tuple[int, int] | None) -> CudaFrames:
    """Check frames on the device.

    Args:
        array: uint8 ``[height, width, 3]`` or ``[batch, height, width, 3]``, contiguous.
        fixed: the only (height, width) taken, None for any.

    Raises:
        FrameError: wrong shape or size, or not contiguous.
        UsageError: not uint8.
    """
    # The legacy default stream: only shape and strides are read here.
    found = device_bytes("frames", array, 0)
    shape = found.shape
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise FrameError(
            f"expected [height, width, 3] or [batch, height, width, 3]; got {list(shape)}: "
            "colour images with channels last are taken"
        )
    if any(
        size > 1 and have != want
        for size, have, want in zip(shape, found.strides, contiguous(shape), strict=True)
    ):
        raise FrameError(
            f"frames on the device are used where they lie and must be contiguous; got shape {list(shape)} "
            f"with strides {list(found.strides)} (bytes): make it contiguous"
        )
    batch = 1 if len(shape) == 3 else shape[0]
    height, width = shape[-3:-1]
    if height == 0 or width == 0:
        raise FrameError(f"a frame must have at least one pixel; got {height}x{width}")
    require_size((height, width), fixed)
    return CudaFrames((batch, height, width, 3), array, len(shape) == 3)
