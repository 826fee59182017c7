"""What the Runtime asks of a backend: frames in, one row a frame out."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from edgeosr.bundle.engines import BUILDERS
from edgeosr.runtime.rows import Rows

BACKENDS = ("onnxruntime", "openvino", *BUILDERS)
# libedgeosr, which opens the bundle by itself; never chosen unasked.
NATIVE = "native"


class Backend(Protocol):
    """Runs the network of one bundle. ``run`` may be called from several threads at once.

    Attributes:
        name: one of ``BACKENDS``, or ``NATIVE``.
        providers: what runs inside, for reports: onnxruntime's execution providers, openvino's version and
            precision, or the engine's file.
        graph: the file of the bundle that it runs: ``model.onnx``, ``backbone.onnx``, or ``body.onnx`` with
            the ends of the first.
        takes_cuda_arrays: ``run`` takes frames that lie in a CUDA device's memory.
    """

    name: str
    providers: tuple[str, ...]
    graph: str
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

    def warm_up(self, frames: Any, *, threshold: float, limit_s: float) -> Rows:
        """Judge a first batch of RGB frames in the host's memory.

        Args:
            frames: as in ``run``.
            threshold: as in ``run``.
            limit_s: seconds that it may take, where the backend can be stopped.

        Raises:
            InferenceError: it took longer.
            EdgeosrError: as ``run``.
        """

    def briefly(self, frame: Any) -> AbstractContextManager[None]:
        """Judge batches within it that leave no memory behind which a frame alone does not need.

        Args:
            frame: a batch of one, as ``run`` takes it; not judged.
        """

    def close(self) -> None:
        """Free everything; later calls of ``run`` raise. Calling it twice is fine."""


def float32_below(threshold: float) -> float:
    """Return the largest float32 value <= threshold: float32 scores compare with it as with threshold."""
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf))) if float(rounded) > threshold else float(rounded)
