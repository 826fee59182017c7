"""Memory between host and engine: frames in, verdicts out.

On a discrete GPU frames and verdicts lie twice, page-locked on the host and on the device, with a copy in
between. An integrated GPU reads and writes the host's memory itself: one place and no copy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.kernels.device_verdicts import VERDICT, DeviceVerdicts
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.memory import HostMemory
from edgeosr.kernels.fused_score import FusedScorer


class FrameBuffer:
    """Room for one batch of frames.

    Args:
        driver: of the device.
        size: bytes.
        mapped: the device reads the host's memory.

    Attributes:
        address: where the engine reads.
    """

    def __init__(self, driver: Driver, size: int, *, mapped: bool):
        self._driver, self._size, self._mapped = driver, size, mapped
        self._host: HostMemory | None = driver.allocate_host(size, mapped=mapped)
        try:
            self.address = self._host.device_address if mapped else driver.allocate(size)
        except BaseException:
            driver.free_host(self._host)
            raise

    def fill(self, frames: NDArray[np.uint8]) -> None:
        """Take contiguous frames; the stream must have finished with the ones before."""
        assert self._host is not None and frames.nbytes == self._size
        self._host.bytes()[: self._size] = frames.reshape(-1)

    def upload(self, stream: int) -> None:
        """Bring them to the device in the stream's order."""
        if not self._mapped and self._host is not None:
            self._driver.copy_in(self.address, self._host, self._size, stream)

    def close(self) -> None:
        """Free both places."""
        host, self._host = self._host, None
        if host is not None:
            if not self._mapped:
                self._driver.free(self.address)
            self._driver.free_host(host)


class VerdictBuffer:
    """Room for one batch of verdicts.

    Args:
        driver: of the device.
        scorer: whose verdicts.
        batch: how many.
        mapped: the device writes the host's memory.

    Attributes:
        room: where the kernel writes.
    """

    def __init__(self, driver: Driver, scorer: FusedScorer, batch: int, *, mapped: bool):
        self._driver, self._batch, self._mapped = driver, batch, mapped
        size = batch * VERDICT.itemsize
        self._host: HostMemory | None = driver.allocate_host(size, mapped=mapped)
        try:
            self.room: DeviceVerdicts = scorer.room(batch, host=self._host if mapped else None)
        except BaseException:
            driver.free_host(self._host)
            raise

    def download(self, stream: int) -> None:
        """Bring the verdicts to the host in the stream's order."""
        if not self._mapped and self._host is not None:
            self._driver.copy_out(self._host, self.room.address, self._batch * VERDICT.itemsize, stream)

    def read(self) -> NDArray[Any]:
        """Return a copy of the verdicts, ``[batch]`` of ``VERDICT``; the stream must be synchronised.

        Raises:
            DeviceError: one was not written since the last were read.
        """
        assert self._host is not None
        found = self._host.bytes()[: self._batch * VERDICT.itemsize].view(VERDICT).copy()
        return self.room.taken(found)

    def close(self) -> None:
        """Free both places."""
        host, self._host = self._host, None
        if host is not None:
            self.room.close()
            self._driver.free_host(host)


class DeviceTensor:
    """An output of the engine, C-ordered; ``__cuda_array_interface__`` shows it to the kernel."""

    def __init__(self, driver: Driver, shape: tuple[int, ...], typestr: str):
        self._driver = driver
        self.address = driver.allocate(int(np.prod(shape)) * np.dtype(typestr).itemsize)
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }

    def close(self) -> None:
        """Free it."""
        address, self.address = self.address, 0
        if address:
            self._driver.free(address)
