"""The onnxruntime backend: ``model.onnx`` on the CPU, or on what the installed onnxruntime brings."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.runtime.rows import Rows
from edgeosr.runtime.sessions import CPU_ONLY


class OnnxRuntimeBackend:
    """See ``Backend``; arguments and errors as in ``OnnxRuntimeGraph``."""

    name = "onnxruntime"
    graph = "model.onnx"
    takes_cuda_arrays = False

    def __init__(
        self,
        model: bytes,
        *,
        parts: int,
        threads: int | None = None,
        providers: Sequence[str] = CPU_ONLY,
    ) -> None:
        self._graph = OnnxRuntimeGraph(model, parts=parts, threads=threads, providers=providers)
        self.providers: tuple[str, ...] = self._graph.providers

    def run(self, frames: Any, *, bgr: bool, threshold: float) -> Rows:
        """Judge a batch; decisions are left to the caller."""
        return self._graph.run(frames, bgr=bgr)

    def warm_up(self, frames: Any, *, threshold: float, limit_s: float) -> Rows:
        """Judge a first batch within ``limit_s`` seconds; an InferenceError says that it took longer."""
        return self._graph.warm_up(frames, limit_s=limit_s)

    def briefly(self, frame: Any) -> AbstractContextManager[None]:
        """Let the memory go that batches took within it."""
        return self._graph.briefly(frame)

    def close(self) -> None:
        """Let the session go when the last call in another thread ends."""
