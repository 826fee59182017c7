"""torch beside the driver: memory at an address as a tensor, work on a stream's handle, CUDA graphs.

The one place where the rung says "cuda" to torch; a run without a card puts a double here.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from edgeosr.errors import UsageError, import_extra
from edgeosr.kernels.driver.driver import Driver


class Replayed(Protocol):
    """What ``TorchDevice.graph`` gives."""

    def replay(self) -> None:
        """Put the captured work into its stream once more."""


class CaptureFailedError(Exception):
    """A capture was broken off: neither the stream nor torch's memory of it can be relied on."""


class TorchDevice:
    """torch on the device of a driver, whose context is current.

    Attributes:
        torch: the module.
        name: torch's name of the device.
        dtype: of the networks.
        compiler: backend of ``torch.compile``.
    """

    name = "cuda"
    compiler = "inductor"

    def __init__(self, driver: Driver, torch: Any):
        self.driver, self.torch = driver, torch
        self.dtype = torch.float16

    def tensor_at(self, address: int, shape: tuple[int, ...], typestr: str) -> Any:
        """Return the memory at ``address`` as a tensor, without a copy; the caller keeps the memory."""
        return self.torch.as_tensor(_Memory(address, shape, typestr), device=self.name)

    def for_kernel(self, tensor: Any) -> Any:
        """Return ``tensor`` as the fused kernel takes it."""
        return tensor

    def stream(self) -> int:
        """Return a stream of torch's, which is never destroyed: for work that touches ``pinned`` memory.

        When page-locked memory is freed, torch records an event in each stream that copied from or to it. It
        kept their handles alone: where the driver has destroyed such a stream by then, the error leaves a
        destructor and ends the process.
        """
        return int(self.torch.cuda.Stream().cuda_stream)

    @contextlib.contextmanager
    def on(self, stream: int) -> Iterator[None]:
        """Let torch work on a stream of the driver for the length of a block."""
        with self.torch.cuda.stream(self.torch.cuda.ExternalStream(stream)):
            yield

    def enqueue(self, stream: int, work: Callable[[], Any]) -> None:
        """Put torch's ``work`` into the stream; it may be under capture."""
        with self.torch.inference_mode(), self.on(stream):
            work()

    def graph(self, stream: int, work: Callable[[], Any], *, warm_up: int = 3) -> Replayed:
        """Run ``work`` some times on the stream, then capture it with torch's own memory pool.

        Raises:
            CaptureFailedError: it ran, and could not be captured; whatever ``work`` raises before that, too.
        """
        torch = self.torch
        with torch.inference_mode(), self.on(stream):
            for _ in range(warm_up):
                work()
            self.driver.synchronize(stream)
            captured = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(
                    captured, stream=torch.cuda.ExternalStream(stream), capture_error_mode="thread_local"
                ):
                    work()
            except Exception as error:
                # What is raised is about the end of the capture; what spoilt it came before.
                found = [one for one in (error.__context__, error) if one is not None]
                words = "; then ".join(f"{type(one).__name__}: {one}" for one in found)
                raise CaptureFailedError(words) from error
        return captured  # type: ignore[no-any-return]  # torch is not imported here, so nothing tells its type

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return page-locked host memory, for streams of ``stream`` alone."""
        return self.torch.empty(shape, dtype=dtype).pin_memory()


class _Memory:
    def __init__(self, address: int, shape: tuple[int, ...], typestr: str):
        self.__cuda_array_interface__ = {
            "shape": tuple(shape),
            "typestr": typestr,
            "data": (int(address), False),
            "strides": None,
            "version": 3,
        }


def open_torch(driver: Driver) -> TorchDevice:
    """Return torch on the driver's device.

    Raises:
        MissingDependencyError: torch is not installed.
        UsageError: it sees no device.
    """
    torch = import_extra("torch", extra="train", purpose="the hardware rung, whose engine is torch's,")
    if not torch.cuda.is_available():
        raise UsageError(
            f"torch {torch.__version__} sees no CUDA device; install a build for this CUDA version"
        )
    torch.zeros(1, device="cuda")  # its context is the primary one, which the driver's is too
    return TorchDevice(driver, torch)
