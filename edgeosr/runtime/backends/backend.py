"""What the Runtime asks of a backend: frames in, one row a frame out."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BACKENDS = ("onnxruntime", "tensorrt", "tensorrt_rtx")


class Rows(NamedTuple):
    """One row a frame.

    Attributes:
        label: int64 ``[batch]``.
        score: float32 ``[batch]``, larger = more unknown; NaN if something was not finite.
        values: float32 ``[batch, 5]`` in ``VALUE_NAMES`` order.
        accepted: bool ``[batch]``, decided on the device with the threshold passed; None: not decided yet.
    """

    label: NDArray[np.int64]
    score: NDArray[np.float32]
    values: NDArray[np.float32]
    accepted: NDArray[np.bool_] | None


class Backend(Protocol):
    """Runs the network of one bundle. ``run`` may be called from several threads at once.

    Attributes:
        name: one of ``BACKENDS``.
        providers: what runs inside, for reports: onnxruntime's execution providers, or the engine's file.
        takes_cuda_arrays: ``run`` takes frames that lie in a CUDA device's memory.
    """

    name: str
    providers: tuple[str, ...]
    takes_cuda_arrays: bool

    def run(self, frames: Any, *, bgr: bool, threshold: float) -> Rows:
        """Judge a batch.

        Args:
            frames: contiguous uint8 ``[batch, height, width, 3]``, batch >= 1, already checked; or
                ``CudaFrames`` if ``takes_cuda_arrays``.
            bgr: the channels come blue first.
            threshold: accept if score <= threshold.

        Raises:
            EdgeosrError: it failed; the backend stays usable, or refuses later calls with the reason.
        """

    def close(self) -> None:
        """Free everything; later calls of ``run`` raise. Calling it twice is fine."""


def float32_below(threshold: float) -> float:
    """Return the largest float32 value <= threshold: float32 scores compare with it as with threshold."""
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf))) if float(rounded) > threshold else float(rounded)
