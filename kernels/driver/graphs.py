"""Work of a stream kept as a CUDA graph and replayed, on a stream of its own: for timing.

The calls go through ``Driver``'s bindings, so that the tests' double of them stands in for a device.
"""

from collections.abc import Callable
from typing import Any

from edgeosr.errors import CudaError
from edgeosr.kernels.driver.driver import Driver


class OwnStream:
    """A stream that does not wait for the default one; close it after use."""

    def __init__(self, driver: Driver):
        self._cuda = driver.cuda
        flag = int(driver.cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
        self.handle = int(_called(driver.cuda, "cuStreamCreate", flag))

    def close(self) -> None:
        """Destroy it; its work must be over."""
        _called(self._cuda, "cuStreamDestroy", self.handle)

    def __enter__(self) -> "OwnStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Graph:
    """What ``work`` put into a stream, to be replayed there.

    Attributes:
        stream: the handle it was captured on.
    """

    def __init__(self, driver: Driver, stream: int, work: Callable[[], object]):
        """Capture.

        Args:
            driver: CUDA.
            stream: a stream's handle, not the default one.
            work: enqueues on that stream; it must not allocate or wait, so call it once before.

        Raises:
            CudaError: something in ``work`` cannot be captured.
        """
        self._cuda, self.stream = driver.cuda, stream
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _called(self._cuda, "cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            self._cuda.cuStreamEndCapture(stream)  # a stream left in capture mode refuses everything
            raise
        graph = _called(self._cuda, "cuStreamEndCapture", stream)
        self._graph = _called(self._cuda, "cuGraphInstantiate", graph, 0)
        _called(self._cuda, "cuGraphDestroy", graph)

    def replay(self) -> None:
        """Put the captured work into the stream once more."""
        _called(self._cuda, "cuGraphLaunch", self._graph, self.stream)

    def close(self) -> None:
        """Free it; its replays must be over."""
        _called(self._cuda, "cuGraphExecDestroy", self._graph)


def _called(cuda: Any, name: str, *arguments: Any) -> Any:
    code, *results = getattr(cuda, name)(*arguments)
    if int(code):
        word = str(getattr(code, "name", code))
        raise CudaError(f"{name} failed: {word} ({int(code)})", call=name, code=word)
    return results[0] if results else None
