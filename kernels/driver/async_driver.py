"""Driver calls of a runner that never waits in between: host memory for the device, streams, CUDA graphs."""

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import CudaError, import_extra
from edgeosr.kernels.driver.driver import Driver

_MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP, a macro of cuda.h


@dataclass(frozen=True)
class HostMemory:
    """Page-locked host memory.

    Attributes:
        address: for the host.
        size: bytes.
        device_address: the same bytes for the device, without a copy; 0 if they are not mapped.
    """

    address: int
    size: int
    device_address: int = 0

    def bytes(self) -> NDArray[np.uint8]:
        """Return it as writable uint8 ``[size]``, valid until it is freed."""
        room = (ctypes.c_uint8 * self.size).from_address(self.address)
        return np.frombuffer(memoryview(room), np.uint8)


class AsyncDriver(Driver):
    """``Driver`` with asynchronous copies, streams and graphs; every method raises like it."""

    def current_context(self) -> Any:
        """Return the current context; ``device`` has made one current."""
        return self._call("cuCtxGetCurrent")

    @contextlib.contextmanager
    def within(self, context: Any) -> Iterator[None]:
        """Make ``context`` current on this thread; at the end the one before it is again."""
        self._call("cuCtxPushCurrent", context)
        try:
            yield
        finally:
            # A lost context cannot be popped; the error that lost it is the one to report.
            with contextlib.suppress(CudaError):
                self._call("cuCtxPopCurrent")

    def stream(self) -> int:
        """Return a new stream that does not wait for the default one."""
        return int(self._call("cuStreamCreate", int(self.cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back; what it still holds runs to its end."""
        self._call("cuStreamDestroy", stream)

    def allocate_host(self, size: int, *, mapped: bool = False) -> HostMemory:
        """Return page-locked memory, ``mapped``: which the device reads and writes where it lies."""
        size = max(size, 1)
        address = int(self._call("cuMemHostAlloc", size, _MAPPED if mapped else 0))
        if not mapped:
            return HostMemory(address, size)
        try:
            return HostMemory(address, size, int(self._call("cuMemHostGetDevicePointer", address, 0)))
        except CudaError:
            self._call("cuMemFreeHost", address)
            raise

    def free_host(self, memory: HostMemory) -> None:
        """Return memory of ``allocate_host``; nothing on the device may still use it."""
        self._call("cuMemFreeHost", memory.address)

    def copy_in(self, device: int, host: HostMemory, size: int, stream: int) -> None:
        """Copy to the device in the stream's order; ``host`` must stay as it is until then."""
        self._call("cuMemcpyHtoDAsync", device, host.address, size, stream)

    def copy_out(self, host: HostMemory, device: int, size: int, stream: int) -> None:
        """Copy to the host in the stream's order; ``host`` may be read once the stream is synchronised."""
        self._call("cuMemcpyDtoHAsync", host.address, device, size, stream)

    def copy_on_device(self, into: int, device: int, size: int, stream: int) -> None:
        """Copy within the device in the stream's order."""
        self._call("cuMemcpyDtoDAsync", into, device, size, stream)

    def capture(self, stream: int) -> "Capture":
        """Return a block that records what it puts into ``stream`` instead of running it."""
        return Capture(self, stream)

    def launch_graph(self, graph: Any, stream: int) -> None:
        """Run a graph of ``Capture.graph`` in the stream's order."""
        self._call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """Free a graph of ``Capture.graph``; it must not be running."""
        self._call("cuGraphExecDestroy", graph)

    def begin_capture(self, stream: int) -> None:
        """See ``capture``."""
        # Thread-local: allocations of other threads must not spoil it.
        mode = self.cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> Any:
        """End a capture; return what was recorded, made executable."""
        recorded = self._call("cuStreamEndCapture", stream)
        try:
            return self._call("cuGraphInstantiate", recorded, 0)
        finally:
            # A graph that can be launched is worth more than the news that its recording stays behind.
            with contextlib.suppress(CudaError):
                self._call("cuGraphDestroy", recorded)


class Capture:
    """``with driver.capture(stream) as capture: ...``; then ``capture.graph`` can be launched.

    An exception inside ends the capture too, so that the stream can be used again.
    """

    def __init__(self, driver: AsyncDriver, stream: int):
        self._driver, self._stream = driver, stream
        self.graph: Any = None

    def __enter__(self) -> "Capture":
        self._driver.begin_capture(self._stream)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.graph = self._driver.end_capture(self._stream)
            return
        # What was recorded is of no use; that it cannot be made a graph is no second error.
        with contextlib.suppress(CudaError):
            self._driver.destroy_graph(self._driver.end_capture(self._stream))


def open_async_driver() -> AsyncDriver:
    """Return the driver through cuda-python.

    Raises:
        MissingDependencyError: cuda-python is not installed.
    """
    bindings = import_extra("cuda.bindings.driver", extra="cuda", purpose="running an engine")
    return AsyncDriver(bindings)
