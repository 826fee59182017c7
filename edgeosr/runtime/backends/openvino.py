"""The openvino backend: ``model.onnx`` on an x86 processor, in float32 or with a faster body."""

from typing import Any

from edgeosr.bundle.manifest import BODY
from edgeosr.runtime.openvino_graph import OpenVinoGraph
from edgeosr.runtime.openvino_stages import Body
from edgeosr.runtime.rows import Rows
from edgeosr.scoring.fusion import Fusion


class OpenVinoBackend:
    """See ``Backend``; arguments and errors as in ``OpenVinoGraph``."""

    name = "openvino"
    takes_cuda_arrays = False

    def __init__(
        self,
        model: bytes,
        *,
        parts: int,
        threads: int | None = None,
        body: Body | None = None,
        fusion: Fusion | None = None,
    ) -> None:
        self._graph = OpenVinoGraph(model, parts=parts, threads=threads, body=body, fusion=fusion)
        self.graph = "model.onnx" if body is None else BODY
        self.providers: tuple[str, ...] = (
            f"OpenVINO {self._graph.version} on the CPU, {self._graph.precision}",
        )

    def run(self, frames: Any, *, bgr: bool, threshold: float) -> Rows:
        """Judge a batch; decisions are left to the caller."""
        return self._graph.run(frames, bgr=bgr)

    def warm_up(self, frames: Any, *, threshold: float, limit_s: float) -> Rows:
        """Judge a first batch within ``limit_s`` seconds; an InferenceError says that it took longer."""
        return self._graph.run(frames, limit_s=limit_s)

    def close(self) -> None:
        """Let the network go when the last call in another thread ends."""
