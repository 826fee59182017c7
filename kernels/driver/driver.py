"""The CUDA driver: its start, devices and contexts, a build's entries and their launch, with our errors.

cuda-python is imported on use (``open_driver``).
"""

import contextlib
import ctypes
from collections.abc import Iterator
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
from edgeosr.kernels.driver.calls import code_name
from edgeosr.kernels.driver.memory import MemoryCalls
from edgeosr.kernels.driver.streams import StreamCalls

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
        multiprocessors: how many it has; 0 if that was not asked.
    """

    ordinal: int
    name: str
    architecture: tuple[int, int]
    integrated: bool
    driver: tuple[int, int]
    multiprocessors: int = 0

    @property
    def target(self) -> str:
        """Return the architecture as compilers and tables call it, ``sm_87``."""
        return f"sm_{self.architecture[0]}{self.architecture[1]}"


class Driver(MemoryCalls, StreamCalls):
    """CUDA driver API; every method raises a DeviceError that names the call."""

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
        name = code_name(code)
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
        self.require(code, "cuInit")
        version = int(self.call("cuDriverGetVersion"))
        return version // 1000, version % 1000 // 10

    def device(self, ordinal: int | None) -> Device:
        """Make a context current: the caller's own, else the primary one of ``ordinal`` (None: 0).

        Raises:
            NoDeviceError: there is no such device.
        """
        version = self.start()
        count = int(self.call("cuDeviceGetCount"))
        if ordinal is None:
            context = self.call("cuCtxGetCurrent")
            ordinal = int(self.call("cuCtxGetDevice")) if int(context) else 0
        if not 0 <= ordinal < count:
            raise NoDeviceError(f"device {ordinal} was asked for; the driver sees {count}, numbered from 0")
        if not int(self.call("cuCtxGetCurrent")) or int(self.call("cuCtxGetDevice")) != ordinal:
            self.call("cuCtxSetCurrent", self.call("cuDevicePrimaryCtxRetain", ordinal))
        return Device(
            ordinal,
            bytes(self.call("cuDeviceGetName", 128, ordinal)).split(b"\0")[0].decode(),
            (
                self._attribute("COMPUTE_CAPABILITY_MAJOR", ordinal),
                self._attribute("COMPUTE_CAPABILITY_MINOR", ordinal),
            ),
            bool(self._attribute("INTEGRATED", ordinal)),
            version,
            self._attribute("MULTIPROCESSOR_COUNT", ordinal),
        )

    def current_device(self) -> int:
        """Return the ordinal of the current context's device, -1 if there is no context."""
        return int(self.call("cuCtxGetDevice")) if int(self.call("cuCtxGetCurrent")) else -1

    def current_context(self) -> Any:
        """Return the current context; ``device`` has made one current."""
        return self.call("cuCtxGetCurrent")

    @contextlib.contextmanager
    def within(self, context: Any) -> Iterator[None]:
        """Make ``context`` current on this thread; at the end the one before it is again."""
        self.call("cuCtxPushCurrent", context)
        try:
            yield
        finally:
            # A lost context cannot be popped; the error that lost it is the one to report.
            with contextlib.suppress(CudaError):
                self.call("cuCtxPopCurrent")

    def load(self, image: bytes) -> Any:
        """Load a cubin, or PTX (zero-terminated here)."""
        return self.call("cuModuleLoadData", image + b"\0")

    def function(self, module: Any, entry: str, shared_bytes: int) -> Any:
        """Return an entry that may use ``shared_bytes`` of dynamic shared memory.

        Raises:
            MissingSymbolError: the module has no such entry.
        """
        code, function = self.cuda.cuModuleGetFunction(module, entry.encode())
        if code_name(code) == "CUDA_ERROR_NOT_FOUND":
            raise MissingSymbolError(
                f"the loaded build of the fused kernel has no entry {entry!r}: it was made from another "
                "source; run: python -m edgeosr.kernels.build_cubins, or delete its files and the cache"
            )
        self.require(code, "cuModuleGetFunction")
        name = self.cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self.call("cuFuncSetAttribute", function, name, shared_bytes)
        return function

    def launch(
        self,
        function: Any,
        blocks: int,
        threads: int,
        shared_bytes: int,
        stream: int,
        params: Any,
        *,
        cluster: int = 1,
    ) -> None:
        """Launch with one parameter, a ctypes structure.

        Args:
            function: of ``function``, which allows the shared memory.
            blocks: of the grid.
            threads: of a block.
            shared_bytes: dynamic shared memory of a block.
            stream: a stream's handle.
            params: copied by the call.
            cluster: blocks of a cluster, neighbours in the grid, whose size it divides; 1: no clusters.
        """
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(params))
        if cluster > 1:
            config = self._in_clusters(blocks, threads, shared_bytes, stream, cluster)
            self.call("cuLaunchKernelEx", config, function, ctypes.addressof(arguments), 0)
            return
        grid = (blocks, 1, 1, threads, 1, 1)
        self.call("cuLaunchKernel", function, *grid, shared_bytes, stream, ctypes.addressof(arguments), 0)

    def places_clusters(
        self, function: Any, blocks: int, threads: int, shared_bytes: int, cluster: int
    ) -> bool:
        """Say whether the device has a place for one cluster of such a ``launch``.

        A slice of a device may have too few multiprocessors that can reach one another.
        """
        config = self._in_clusters(blocks, threads, shared_bytes, 0, cluster)
        try:
            return int(self.call("cuOccupancyMaxActiveClusters", function, config)) > 0
        except (CudaError, RuntimeError):  # RuntimeError: cuda-python's, where the driver lacks the call
            return False

    def _in_clusters(self, blocks: int, threads: int, shared_bytes: int, stream: int, cluster: int) -> Any:
        size = self.cuda.CUlaunchAttribute()
        size.id = self.cuda.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
        dimension = size.value.clusterDim
        dimension.x, dimension.y, dimension.z = cluster, 1, 1
        config = self.cuda.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
        config.sharedMemBytes, config.hStream = shared_bytes, stream
        config.attrs, config.numAttrs = [size], 1
        return config

    def _attribute(self, name: str, ordinal: int) -> int:
        attribute = getattr(self.cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self.call("cuDeviceGetAttribute", attribute, ordinal))


def open_driver(purpose: str = "the fused CUDA kernel") -> Driver:
    """Return the driver through cuda-python.

    Args:
        purpose: what it is for; the message says so.

    Raises:
        MissingDependencyError: cuda-python is not installed.
    """
    return Driver(import_extra("cuda.bindings.driver", extra="cuda", purpose=purpose))
