"""Verdicts in device memory, with the room that a launch needs to make them."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import CudaError, DeviceError, UsageError
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.memory import HostMemory
from edgeosr.verdict import MOST_PARTS

WRITTEN, ACCEPTED, NOT_FINITE = 1, 2, 4
NUMBER_FROM = 8  # bits of flags from here on: the launch's number, of verdicts in device memory
_NUMBERS = 1 << 32 - NUMBER_FROM
LAYOUT = 1  # version of VERDICT, kVerdictLayout of src/params.cuh
# FusedVerdict of src/params.cuh, 80 bytes. layout: the version, and the number of values << 16; values: the
# score parts in the scorer's order, larger = more unknown, NaN beyond them.
VERDICT = np.dtype(
    [
        ("label", "<i4"),
        ("flags", "<u4"),
        ("score", "<f4"),
        ("layout", "<u4"),
        ("values", "<f4", (MOST_PARTS,)),
    ]
)


class DeviceVerdicts:
    """Room for the verdicts of one batch and the workspace; one for each launch that may be under way.

    A captured graph keeps its own: it writes to these addresses at every replay. Verdicts come first, then
    the workspace, whose counters come first. Both are cleared here, and again when verdicts were missing;
    a launch that gets to its end leaves the counters at 0. In device memory verdicts have their launch's
    number, one more than the launch before had: so no launch has to clear them. With ``host`` the kernel
    writes them to host memory without a copy and without a number: ``expect`` clears them.

    Who reads them on the device (``__cuda_array_interface__``) masks the flags: of a new launch is a verdict
    whose bit 0 is set, and whose bits 8 to 31 are not those that were last read there.

    Args:
        driver: of the device.
        batch: B.
        workspace_bytes: of the plan.
        counter_bytes: of the plan.
        parts: of the score.
        host: see below.
        stream: in whose order the room is cleared, and used first; None: it is clear at once, for any stream.

    Attributes:
        batch: B.
        parts: of the score, values of a verdict.
        address: of the verdicts, B times 80 bytes.
        workspace: address behind them, or of memory of its own.
        host: mapped memory of at least B times 80 bytes, or None.
        numbered: verdicts have the number of their launch.
    """

    def __init__(
        self,
        driver: Driver,
        batch: int,
        workspace_bytes: int,
        counter_bytes: int,
        *,
        parts: int,
        host: HostMemory | None = None,
        stream: int | None = None,
    ):
        self.driver = driver
        self.batch = batch
        self.parts = parts
        self.stream = 0
        self.host = host
        self.numbered = host is None
        self._used = False
        self._taken = 0  # the number of the verdicts that were read last
        verdict_bytes = batch * VERDICT.itemsize
        kept = verdict_bytes if host is None else 0
        self._clear_words = (kept + counter_bytes) // 4
        self.workspace_bytes, self.counter_bytes = workspace_bytes, counter_bytes
        self._allocated = driver.allocate(kept + workspace_bytes)
        try:
            self._clear(0 if stream is None else stream)
            if stream is None:
                driver.synchronize(0)
            self._done = driver.event()
        except BaseException:
            with contextlib.suppress(CudaError):
                driver.synchronize(stream or 0)
            driver.free(self._allocated)
            raise
        self.address = self._allocated if host is None else host.device_address
        self.workspace = self._allocated + kept

    def require(self, batch: int, workspace_bytes: int, counter_bytes: int) -> None:
        """Raise UsageError unless this is open room for a launch of ``batch`` samples, of such a workspace.

        Another scorer's counters may lie where this one's sums would.
        """
        fits = self.workspace_bytes == workspace_bytes and self.counter_bytes == counter_bytes
        if self.batch != batch or not fits or not self.address:
            raise UsageError(
                f"into must be open room for {batch} verdicts of this scorer; got one for {self.batch}; make "
                f"it with room({batch})"
            )

    def _clear(self, stream: int) -> None:
        if self._clear_words:
            self.driver.clear(self._allocated, self._clear_words, stream)

    def begin(self, stream: int) -> None:
        """Order ``stream`` behind the last launch into this room."""
        if self._used and stream != self.stream:
            self.driver.wait(stream, self._done)

    def end(self, stream: int) -> None:
        """Note where the launch went."""
        self.driver.record(self._done, stream)
        self.stream, self._used = stream, True

    def expect(self) -> None:
        """Clear verdicts in host memory, so that a missing one is seen; no launch may be running."""
        if self.host is not None:
            self.host.bytes()[: self.batch * VERDICT.itemsize] = 0

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The verdicts as bytes, ``[B, 80]``, for CuPy, torch and the like; flags have their number there."""
        return {
            "shape": (self.batch, VERDICT.itemsize),
            "typestr": "|u1",
            "data": (self.address, True),
            "strides": None,
            "version": 3,
            "stream": self.stream or 1,
        }

    def to_host(self) -> NDArray[Any]:
        """Wait for the launch's stream and return its verdicts, ``[B]`` of ``VERDICT``: once a launch.

        Raises:
            DeviceError: see ``taken``.
        """
        found = np.zeros(self.batch, VERDICT)
        if self.host is not None:
            self.driver.synchronize(self.stream)
            found[:] = self.host.bytes()[: found.nbytes].view(VERDICT)
        elif self.batch:
            self.driver.read(self.address, found.view(np.uint8).data, self.stream)
        return self.taken(found)

    def taken(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return verdicts that were copied from here, without their number; no launch may be running.

        Raises:
            DeviceError: a verdict was not written since the last were taken: the launch did not run to its
                end. The room is then as a new one.
        """
        try:
            written_verdicts(found, self.parts, since=self._taken if self.numbered else None)
        except DeviceError:
            self._taken = 0
            with contextlib.suppress(CudaError):  # of a lost device: the missing verdict is the one to report
                self._clear(0)
                self.driver.synchronize(0)  # launches may go to streams that do not wait for the default one
            raise
        if self.numbered and len(found):
            self._taken = int(found["flags"][0]) >> NUMBER_FROM
            found["flags"] &= (1 << NUMBER_FROM) - 1
        return found

    def close(self) -> None:
        """Free the memory, ``host`` excepted; the launch must be over."""
        if self._allocated:
            allocated, self._allocated = self._allocated, 0
            self.address = self.workspace = 0
            self.driver.destroy_event(self._done)
            self.driver.free(allocated)

    def __enter__(self) -> "DeviceVerdicts":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def written_verdicts(found: NDArray[Any], parts: int, *, since: int | None = None) -> NDArray[Any]:
    """Return verdicts ``[B]`` of ``VERDICT`` as they came.

    Args:
        found: the verdicts.
        parts: how many values each must have, the scorer's score parts.
        since: the number of the launch before; None: verdicts have no number, they were cleared.

    Raises:
        DeviceError: one was not written: the launch did not run to its end; or it has another layout, or
            another number of values.
    """
    missing = _missing(found["flags"], since)
    if missing and missing == len(found) and since:
        raise DeviceError(
            f"{missing} of {len(found)} verdicts were not written since they were last read: read them once "
            "a launch; if there was one, it did not run to its end: look for an earlier CUDA error, and take "
            "none of this batch as accepted"
        )
    if missing:
        raise DeviceError(
            f"{missing} of {len(found)} verdicts were not written: the launch did not run to its end; "
            "look for an earlier CUDA error, and take none of this batch as accepted"
        )
    versions = np.unique(found["layout"] & 0xFFFF)
    if (versions != LAYOUT).any():
        raise DeviceError(
            f"verdicts must have layout {LAYOUT}; got {versions.tolist()}: the kernel is of another version; "
            "build it again: python -m edgeosr.kernels.build_cubins"
        )
    counts = np.unique(found["layout"] >> 16)
    if (counts != parts).any():
        raise DeviceError(
            f"verdicts must have {parts} values, one a score part; got {counts.tolist()}: they were made "
            "with another scorer; take none of this batch as accepted"
        )
    return found


def _missing(flags: NDArray[Any], since: int | None) -> int:
    """Return how many verdicts are not of the latest launch, or of none since number ``since``."""
    written = flags & WRITTEN != 0
    if since is None or not len(flags):
        return int(np.count_nonzero(~written))
    launches = np.where(written, (flags >> NUMBER_FROM).astype(np.int64) - since, 0) % _NUMBERS
    return int(np.count_nonzero(launches < max(launches.max(), 1)))
