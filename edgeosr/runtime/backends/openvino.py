"""The openvino backend: ``model.onnx`` on an x86 processor, in float32 or with a faster body."""

import contextlib
from collections.abc import Iterator
from typing import Any

from edgeosr.errors import InferenceError
from edgeosr.runtime.openvino_graph import OpenVinoGraph
from edgeosr.runtime.rows import Rows


class OpenVinoBackend:
    """See ``Backend``; ``graph``: loaded; ``file``: that runs, ``model.onnx`` alone or ``body.onnx``."""

    name = "openvino"
    takes_cuda_arrays = False

    def __init__(self, graph: OpenVinoGraph, file: str) -> None:
        self._graph = graph
        self.graph = file
        self.providers: tuple[str, ...] = (f"OpenVINO {graph.version} on the CPU, {graph.precision}",)

    def run(self, frames: Any, *, bgr: bool, threshold: float) -> Rows:
        """Judge a batch; decisions are left to the caller."""
        with enough_memory():
            return self._graph.run(frames, bgr=bgr)

    def warm_up(self, frames: Any, *, threshold: float, limit_s: float) -> Rows:
        """Judge a first batch within ``limit_s`` seconds; an InferenceError says that it took longer."""
        with enough_memory():
            return self._graph.run(frames, limit_s=limit_s)

    def briefly(self, frame: Any) -> contextlib.AbstractContextManager[None]:
        """Let the networks for batches go that were compiled within it."""
        return self._graph.briefly()

    def close(self) -> None:
        """Let the network go when the last call in another thread ends."""


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turn a MemoryError, which may have no words, into what a lack of memory is on onnxruntime, too.

    Raises:
        InferenceError: says what to do.
    """
    try:
        yield
    except MemoryError as error:
        raise InferenceError(
            f"openvino has not enough memory ({str(error) or 'nothing more is said'}); give the process "
            "more, judge fewer frames in one call, or take backend='onnxruntime'"
        ) from error
