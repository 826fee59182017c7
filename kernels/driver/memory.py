"""Memory of the device and page-locked memory of the host, and copies between them."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import CudaError
from edgeosr.kernels.driver.calls import Calls

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


class MemoryCalls(Calls):
    """Allocations and copies. What takes a stream happens in its order; only ``read`` waits."""

    def allocate(self, size: int) -> int:
        """Return the address of ``size`` bytes, aligned to 256."""
        return int(self.call("cuMemAlloc", max(size, 1)))

    def free(self, address: int) -> None:
        """Return memory of ``allocate``."""
        self.call("cuMemFree", address)

    def allocate_host(self, size: int, *, mapped: bool = False) -> HostMemory:
        """Return page-locked memory, ``mapped``: which the device reads and writes where it lies."""
        size = max(size, 1)
        address = int(self.call("cuMemHostAlloc", size, _MAPPED if mapped else 0))
        if not mapped:
            return HostMemory(address, size)
        try:
            return HostMemory(address, size, int(self.call("cuMemHostGetDevicePointer", address, 0)))
        except CudaError:
            self.call("cuMemFreeHost", address)
            raise

    def free_host(self, memory: HostMemory) -> None:
        """Return memory of ``allocate_host``; nothing on the device may still use it."""
        self.call("cuMemFreeHost", memory.address)

    def write(self, address: int, data: bytes, stream: int) -> None:
        """Copy host bytes to the device; ``data`` may be dropped after the call."""
        self.call("cuMemcpyHtoDAsync", address, data, len(data), stream)

    def read(self, address: int, into: memoryview, stream: int) -> None:
        """Copy to host memory and wait for the stream."""
        room = (ctypes.c_char * into.nbytes).from_buffer(into)
        self.call("cuMemcpyDtoHAsync", ctypes.addressof(room), address, into.nbytes, stream)
        self.call("cuStreamSynchronize", stream)

    def copy_in(self, device: int, host: HostMemory, size: int, stream: int) -> None:
        """Copy to the device; ``host`` must stay as it is until the stream got there."""
        self.call("cuMemcpyHtoDAsync", device, host.address, size, stream)

    def copy_out(self, host: HostMemory, device: int, size: int, stream: int) -> None:
        """Copy to the host; ``host`` may be read once the stream is synchronised."""
        self.call("cuMemcpyDtoHAsync", host.address, device, size, stream)

    def copy_on_device(self, into: int, device: int, size: int, stream: int) -> None:
        """Copy within the device."""
        self.call("cuMemcpyDtoDAsync", into, device, size, stream)

    def clear(self, address: int, words: int, stream: int) -> None:
        """Set 32-bit words to zero."""
        self.fill(address, 0, words, stream)

    def fill(self, address: int, word: int, words: int, stream: int) -> None:
        """Set 32-bit words to ``word``."""
        self.call("cuMemsetD32Async", address, word, words, stream)
