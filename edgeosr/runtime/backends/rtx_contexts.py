"""Execution contexts of TensorRT-RTX, which compiles kernels for a shape when a context first runs it.

What it compiled is kept in a file (the runtime cache), so that the next process starts warm.
"""

import logging
from pathlib import Path
from typing import Any

from edgeosr.errors import StorageError
from edgeosr.files import write_bytes
from edgeosr.runtime.backends.contexts import made

_log = logging.getLogger(__name__)
LARGEST_CACHE = 1 << 30  # bytes


class RtxContexts:
    """Contexts of TensorRT-RTX 1.4 and later.

    Args:
        trt: the module ``tensorrt_rtx``.
        engine: an ICudaEngine.
        cache: file of what is compiled at run time.
    """

    def __init__(self, trt: Any, engine: Any, cache: Path):
        self._trt, self._engine, self._path = trt, engine, cache
        self._cache: Any = None
        self._kept = b""

    def make(self, *, captured: bool) -> Any:
        """Return a context that compiles for its shapes at once; not captured: it captures itself."""
        trt = self._trt
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        # A context has one shape for life: a kernel that suits any shape, while the real one compiles in the
        # background, would only be captured in its place.
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        graphs = trt.CudaGraphStrategy
        config.cuda_graph_strategy = graphs.DISABLED if captured else graphs.WHOLE_GRAPH_CAPTURE
        if self._cache is None:
            self._cache = self._opened(config)
        if not config.set_runtime_cache(self._cache):
            _log.warning("TensorRT-RTX did not take the runtime cache; every start compiles anew")
        return made(self._engine.create_execution_context(config))

    def capturable(self, context: Any, stream: int) -> bool:
        """Ask the context."""
        return bool(context.is_stream_capturable(stream))

    def warmed(self) -> None:
        """Keep what was compiled; a disk that cannot be written to costs the next start its time, no more."""
        data = bytes(self._cache.serialize())
        if data == self._kept or len(data) > LARGEST_CACHE:
            return
        try:
            write_bytes(self._path, data)
            self._kept = data
        except StorageError as error:
            _log.warning("the runtime cache of TensorRT-RTX is not kept: %s", error)

    def _opened(self, config: Any) -> Any:
        cache = config.create_runtime_cache()
        try:
            data = self._path.read_bytes() if self._path.stat().st_size <= LARGEST_CACHE else b""
        except OSError:
            return cache
        # RTX refuses one of another GPU, driver or version and leaves the cache empty.
        if data and cache.deserialize(data):
            self._kept = data
        return cache
