"""Work of a stream kept as a CUDA graph: put in once, replayed with one call."""

import contextlib
from collections.abc import Callable
from typing import Any

from edgeosr.errors import CudaError
from edgeosr.kernels.driver.calls import Calls


class Graph:
    """What ``work`` put into a stream, to be replayed there; close it after use."""

    def __init__(self, driver: Calls, stream: int, work: Callable[[], object]):
        """Capture; nothing of it runs yet.

        Args:
            driver: of the device.
            stream: a stream's handle, not the default one.
            work: enqueues on that stream; it must not allocate or wait, so call it once before.

        Raises:
            CudaError: something in ``work`` cannot be captured. Whatever is raised, by ``work`` too, the
                capture is over and the stream can be used again.
        """
        self._driver, self._stream = driver, stream
        # Thread-local: allocations of other threads must not spoil it.
        mode = driver.cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        driver.call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # The error that spoilt the capture is the one to report.
            with contextlib.suppress(CudaError):
                driver.call("cuGraphDestroy", driver.call("cuStreamEndCapture", stream))
            raise
        recorded = driver.call("cuStreamEndCapture", stream)
        try:
            self._graph: Any = driver.call("cuGraphInstantiate", recorded, 0)
        finally:
            # A graph that can be launched is worth more than the news that its recording stays behind.
            with contextlib.suppress(CudaError):
                driver.call("cuGraphDestroy", recorded)

    def replay(self) -> None:
        """Put the captured work into the stream once more."""
        self._driver.call("cuGraphLaunch", self._graph, self._stream)

    def close(self) -> None:
        """Free it; its replays must be over."""
        self._driver.call("cuGraphExecDestroy", self._graph)
