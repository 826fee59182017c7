"""The few CUDA driver calls that the loader makes, through cuda-python, with our errors.

cuda-python is imported on use. ``Driver`` takes the module ``cuda.bindings.driver`` or anything that behaves
like it, which is how the tests reach every branch without a GPU.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

from edgeosr.errors import (
    CudaError,
    DriverTooOldError,
    MissingSymbolError,
    NoDeviceError,
    NoDriverError,
    import_extra,
)

_NEXT = "score with model.onnx (edgeosr.Runtime), which needs no GPU"


@dataclass(frozen=True)
class Device:
    """The device of a context.

    Attributes:
        ordinal: its number.
        name: as the driver gives it.
        architecture: compute capability, (8, 7) for Orin.
        integrated: shares memory with the CPU: Tegra, whose driver takes a cubin of exactly its
            architecture only.
        driver: CUDA version the driver supports, (12, 6).
    """

    ordinal: int
    name: str
    architecture: tuple[int, int]
    integrated: bool
    driver: tuple[int, int]


class Driver:
    """CUDA driver API; every method raises a DeviceError that names the call."""

    def __init__(self, bindings: Any):
        self.cuda = bindings

    def start(self) -> tuple[int, int]:
        """Initialise; return the CUDA version that the driver supports.

        Raises:
            NoDriverError: libcuda is not installed.
            NoDeviceError: no device is visible.
            DriverTooOldError: the driver is older than cuda-python can use.
        """
        try:
            code, *_ = self.cuda.cuInit(0)
        # cuda-python: RuntimeError (12.x, 13.x) or its pathfinder's error, both when libcuda does not open.
        except Exception as error:
            if isinstance(error, RuntimeError) and "not found" in str(error) and "Function" in str(error):
                raise DriverTooOldError(
                    f"the NVIDIA driver is older than the installed cuda-python: {error}; update the driver, "
                    "or install the cuda-python of its CUDA version (JetPack 6: pip install 'cuda-python<13')"
                ) from error
            raise NoDriverError(
                f"the fused kernel needs the NVIDIA driver (libcuda), which was not found: {error}; install "
                f"it, in a container start it with --runtime nvidia or --gpus all; or {_NEXT}"
            ) from error
        name = _name(code)
        if name in {"CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_INVALID_DEVICE"}:
            raise NoDeviceError(
                "the NVIDIA driver is installed but sees no device; check nvidia-smi (Jetson: tegrastats) "
                f"and CUDA_VISIBLE_DEVICES; or {_NEXT}"
            )
        if name in {"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"}:
            raise DriverTooOldError(f"the driver's parts do not match ({name}); restart after its update")
        if name == "CUDA_ERROR_STUB_LIBRARY":
            raise NoDriverError(
                f"libcuda is the toolkit's stub, not a driver; take it off the path; or {_NEXT}"
            )
        self._require(code, "cuInit")
        version = int(self._call("cuDriverGetVersion"))
        return version // 1000, version % 1000 // 10

    def device(self, ordinal: int | None) -> Device:
        """Make a context current: the caller's own, else the primary one of ``ordinal`` (None: 0).

        Raises:
            NoDeviceError: there is no such device.
        """
        version = self.start()
        count = int(self._call("cuDeviceGetCount"))
        if ordinal is None:
            context = self._call("cuCtxGetCurrent")
            ordinal = int(self._call("cuCtxGetDevice")) if int(context) else 0
        if not 0 <= ordinal < count:
            raise NoDeviceError(f"device {ordinal} was asked for; the driver sees {count}, numbered from 0")
        if not int(self._call("cuCtxGetCurrent")) or int(self._call("cuCtxGetDevice")) != ordinal:
            self._call("cuCtxSetCurrent", self._call("cuDevicePrimaryCtxRetain", ordinal))
        return Device(
            ordinal,
            bytes(self._call("cuDeviceGetName", 128, ordinal)).rstrip(b"\0").decode(),
            (
                self._attribute("COMPUTE_CAPABILITY_MAJOR", ordinal),
                self._attribute("COMPUTE_CAPABILITY_MINOR", ordinal),
            ),
            bool(self._attribute("INTEGRATED", ordinal)),
            version,
        )

    def current_device(self) -> int:
        """Return the ordinal of the current context's device, -1 if there is no context."""
        return int(self._call("cuCtxGetDevice")) if int(self._call("cuCtxGetCurrent")) else -1

    def load(self, image: bytes) -> Any:
        """Load a cubin, or PTX (zero-terminated here)."""
        return self._call("cuModuleLoadData", image + b"\0")

    def function(self, module: Any, entry: str, shared_bytes: int) -> Any:
        """Return an entry that may use ``shared_bytes`` of dynamic shared memory.

        Raises:
            MissingSymbolError: the module has no such entry.
        """
        code, function = self.cuda.cuModuleGetFunction(module, entry.encode())
        if _name(code) == "CUDA_ERROR_NOT_FOUND":
            raise MissingSymbolError(
                f"the loaded build of the fused kernel has no entry {entry!r}: it was made from another "
                "source; run: python -m edgeosr.kernels.build_cubins, or delete its files and the cache"
            )
        self._require(code, "cuModuleGetFunction")
        name = self.cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self._call("cuFuncSetAttribute", function, name, shared_bytes)
        return function

    def allocate(self, size: int) -> int:
        """Return the address of ``size`` bytes, aligned to 256."""
        return int(self._call("cuMemAlloc", max(size, 1)))

    def free(self, address: int) -> None:
        """Return memory of ``allocate``."""
        self._call("cuMemFree", address)

    def write(self, address: int, data: bytes, stream: int) -> None:
        """Copy host bytes to the device in the stream's order; ``data`` may be dropped after the call."""
        self._call("cuMemcpyHtoDAsync", address, data, len(data), stream)

    def read(self, address: int, into: memoryview, stream: int) -> None:
        """Copy to host memory and wait for the stream."""
        room = (ctypes.c_char * into.nbytes).from_buffer(into)
        self._call("cuMemcpyDtoHAsync", ctypes.addressof(room), address, into.nbytes, stream)
        self._call("cuStreamSynchronize", stream)

    def synchronize(self, stream: int) -> None:
        """Wait for the stream."""
        self._call("cuStreamSynchronize", stream)

    def clear(self, address: int, words: int, stream: int) -> None:
        """Set 32-bit words to zero in the stream's order."""
        self._call("cuMemsetD32Async", address, 0, words, stream)

    def launch(
        self, function: Any, blocks: int, threads: int, shared_bytes: int, stream: int, params: Any
    ) -> None:
        """Launch with one parameter, a ctypes structure."""
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(params))
        grid = (blocks, 1, 1, threads, 1, 1)
        self._call("cuLaunchKernel", function, *grid, shared_bytes, stream, ctypes.addressof(arguments), 0)

    def follow(self, later: int, earlier: int) -> None:
        """Make the stream ``later`` wait for all that ``earlier`` holds now; the host does not wait."""
        event = self.event()
        self.record(event, earlier)
        self.wait(later, event)
        self.destroy_event(event)  # CUDA keeps it until it has happened

    def event(self) -> Any:
        """Return a new event without a time stamp."""
        return self._call("cuEventCreate", int(self.cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING))

    def destroy_event(self, event: Any) -> None:
        """Give an event back."""
        self._call("cuEventDestroy", event)

    def timed_event(self) -> Any:
        """Return a new event with a time stamp."""
        return self._call("cuEventCreate", int(self.cuda.CUevent_flags.CU_EVENT_DEFAULT))

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Wait for ``end``; return the milliseconds since ``start``."""
        self._call("cuEventSynchronize", end)
        return float(self._call("cuEventElapsedTime", start, end))

    def record(self, event: Any, stream: int) -> None:
        """Record ``event`` in the stream."""
        self._call("cuEventRecord", event, stream)

    def wait(self, stream: int, event: Any) -> None:
        """Let the stream wait for ``event``."""
        self._call("cuStreamWaitEvent", stream, event, 0)

    def _attribute(self, name: str, ordinal: int) -> int:
        attribute = getattr(self.cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._call("cuDeviceGetAttribute", attribute, ordinal))

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *results = getattr(self.cuda, name)(*arguments)
        self._require(code, name)
        return results[0] if results else None

    def _require(self, code: Any, call: str) -> None:
        if int(code):
            raise CudaError(f"{call} failed: {_name(code)} ({int(code)})", call=call, code=_name(code))


def open_driver() -> Driver:
    """Return the driver through cuda-python.

    Raises:
        MissingDependencyError: cuda-python is not installed.
    """
    return Driver(import_extra("cuda.bindings.driver", extra="cuda", purpose="the fused CUDA kernel"))


def _name(code: Any) -> str:
    return str(getattr(code, "name", code))
