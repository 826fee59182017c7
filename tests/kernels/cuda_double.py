"""A double of ``cuda.bindings.driver``: device memory is host memory, and launches run on the SIMT emulation.

It keeps what a device would refuse: any call before ``cuInit``, what needs a context on a thread that has
none, a launch without loaded functions or of memory it was not given. Every call is noted in ``calls``, and
any call can be made to fail.
"""

import ctypes
import functools
import threading
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from cuda.bindings import driver as genuine
from fused_run import SOURCE
from kernel_entries import CLUSTER_ENTRIES, ENTRIES
from simt_build import built
from simt_run import Library, Shape

from edgeosr.kernels.params import FusedScoreParams


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NOT_INITIALIZED = 3
    CUDA_ERROR_STUB_LIBRARY = 34
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_DEVICE = 101
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209
    CUDA_ERROR_NOT_FOUND = 500
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803
    CUDA_ERROR_INVALID_CLUSTER_SIZE = 912


class Attribute(IntEnum):
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_INTEGRATED = 18
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class FunctionAttribute(IntEnum):
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


class EventFlags(IntEnum):
    CU_EVENT_DEFAULT = 0
    CU_EVENT_DISABLE_TIMING = 2


# What the driver answers before cuInit, and then without a current context; everything else needs both.
BEFORE_INIT = {"cuInit", "cuDriverGetVersion"}
WITHOUT_CONTEXT = {
    "cuDeviceGetCount", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDeviceGetPCIBusId",
    "cuDevicePrimaryCtxRetain", "cuCtxGetCurrent", "cuCtxSetCurrent", "cuCtxPushCurrent",
}  # fmt: skip


@functools.cache
def emulation(*defines: str) -> Library:
    return Library(built(SOURCE, defines=defines))


@dataclass(frozen=True)
class Launch:
    """What one launch asked for; the parameters are a copy, as CUDA makes one."""

    function: str
    blocks: int
    threads: int
    shared: int
    stream: int
    params: FusedScoreParams
    cluster: int = 1

    @property
    def shape(self) -> Shape:
        return Shape(self.blocks, self.threads, self.shared, self.cluster)

    def emulated(self, *defines: str) -> None:
        """Run it on the CPU, on a machine with clusters if it has some."""
        machine = ("EDGEOSR_SIMT_ARCH=900",) if self.cluster > 1 else ()
        entry = self.function.partition("|")[0]  # what is behind it names a module
        emulation(*machine, *defines).run(entry, bytes(self.params), self.shape, schedule="forward")


def fill_words(address: int, word: int, words: int) -> None:
    np.ctypeslib.as_array((ctypes.c_uint32 * words).from_address(address))[:] = word


def params_at(arguments: int) -> FusedScoreParams:
    """Return a copy of the one parameter of a launch."""
    pointer = ctypes.cast(arguments, ctypes.POINTER(ctypes.c_void_p))[0]
    return FusedScoreParams.from_buffer_copy(ctypes.string_at(pointer, ctypes.sizeof(FusedScoreParams)))


class CudaDouble:
    CUlaunchAttribute = genuine.CUlaunchAttribute
    CUlaunchAttributeID = genuine.CUlaunchAttributeID
    CUlaunchConfig = genuine.CUlaunchConfig
    CUdevice_attribute = Attribute
    CUfunction_attribute = FunctionAttribute
    CUevent_flags = EventFlags

    def __init__(
        self,
        *,
        driver: int = 12060,
        architecture: tuple[int, int] = (8, 7),
        integrated: bool = True,
        devices: int = 1,
        failures: dict[str, Result] | None = None,
        executes: bool = True,
    ):
        self.version, self.architecture, self.integrated = driver, architecture, integrated
        self.multiprocessors = 16
        self.clusters = 2  # that are there at once
        self.devices, self.failures, self.executes = devices, failures or {}, executes
        self.entries = {*ENTRIES, *(CLUSTER_ENTRIES if architecture >= (9, 0) else ())}
        self.started = False
        self._current = threading.local()
        self.memory: dict[int, np.ndarray] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.shared_allowed: dict[str, int] = {}
        self.clock = 0.0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            if name in self.failures:
                return (self.failures[name], None)
            if (refused := self._refused(name)) is not None:
                return (refused, None)
            found = getattr(self, f"_{name[2:]}")(*arguments)
            return found if isinstance(found, tuple) else (Result.CUDA_SUCCESS, found)

        return call

    def _refused(self, name: str) -> Result | None:
        if name in BEFORE_INIT:
            return None
        if not self.started:
            return Result.CUDA_ERROR_NOT_INITIALIZED
        return None if name in WITHOUT_CONTEXT or self.context else Result.CUDA_ERROR_INVALID_CONTEXT

    @property
    def context(self) -> int:
        """The context that is current on this thread; 0: none is."""
        return getattr(self._current, "context", 0)

    @context.setter
    def context(self, context: int) -> None:
        self._current.context = context

    def count(self, name: str) -> int:
        return sum(call[0] == name for call in self.calls)

    def _Init(self, flags: int) -> None:
        assert flags == 0
        self.started = True

    def _DriverGetVersion(self) -> int:
        return self.version

    def _DeviceGetCount(self) -> int:
        return self.devices

    def _CtxGetCurrent(self) -> int:
        return self.context

    def _CtxGetDevice(self) -> int:
        return self.context - 1

    def _DevicePrimaryCtxRetain(self, ordinal: int) -> int:
        return ordinal + 1

    def _CtxSetCurrent(self, context: int) -> None:
        self.context = context

    def _DeviceGetName(self, size: int, ordinal: int) -> bytes:
        return b"Orin\0".ljust(size, b" ")  # behind the zero lies anything

    def _DeviceGetAttribute(self, attribute: Attribute, ordinal: int) -> int:
        major, minor = self.architecture
        values = {
            "INTEGRATED": self.integrated,
            "MAJOR": major,
            "MINOR": minor,
            "COUNT": self.multiprocessors,
        }
        return int(values[attribute.name.rsplit("_", 1)[-1]])

    def _ModuleLoadData(self, image: bytes) -> str:
        assert image.endswith(b"\0")
        return "module"

    def _ModuleGetFunction(self, module: str, name: bytes) -> tuple[Any, ...]:
        entry = name.decode()
        return (Result.CUDA_SUCCESS, entry) if entry in self.entries else (Result.CUDA_ERROR_NOT_FOUND, None)

    def _FuncSetAttribute(self, function: str, attribute: FunctionAttribute, value: int) -> None:
        self.shared_allowed[function] = value

    def _MemAlloc(self, size: int) -> int:
        room = np.full(size + 256, 0xFF, np.uint8)  # fresh device memory holds anything
        start = -room.ctypes.data % 256
        self.memory[room.ctypes.data + start] = room
        return room.ctypes.data + start

    def _MemFree(self, address: int) -> None:
        del self.memory[address]

    def _MemcpyHtoDAsync(self, address: int, data: bytes, size: int, stream: int) -> None:
        ctypes.memmove(address, data, size)

    def _MemcpyDtoHAsync(self, into: int, address: int, size: int, stream: int) -> None:
        ctypes.memmove(into, address, size)

    def _StreamSynchronize(self, stream: int) -> None:
        pass

    def _MemsetD32Async(self, address: int, value: int, words: int, stream: int) -> None:
        fill_words(address, value, words)

    def _EventCreate(self, flags: int) -> str:
        return f"event {self.count('cuEventCreate')}"

    def _EventRecord(self, event: str, stream: int) -> None:
        pass

    def _EventDestroy(self, event: str) -> None:
        pass

    def _StreamWaitEvent(self, stream: int, event: str, flags: int) -> None:
        pass

    def _EventSynchronize(self, event: str) -> None:
        pass

    def _EventElapsedTime(self, start: str, end: str) -> float:
        self.clock += 1.0
        return self.clock

    def _LaunchKernel(self, function: str, *rest: Any) -> Any:
        blocks, _, _, threads, _, _, shared, stream, arguments, extra = rest
        assert extra == 0
        return self._launched(Launch(function, blocks, threads, shared, int(stream), params_at(arguments)))

    def _LaunchKernelEx(self, config: Any, function: str, arguments: int, extra: int) -> Any:
        assert extra == 0
        if (cluster := self._cluster_of(config)) is None:
            return (Result.CUDA_ERROR_INVALID_CLUSTER_SIZE, None)
        size = (config.gridDimX, config.blockDimX, config.sharedMemBytes)
        return self._launched(Launch(function, *size, int(config.hStream), params_at(arguments), cluster))

    def _OccupancyMaxActiveClusters(self, function: str, config: Any) -> Any:
        assert self.shared_allowed[function] >= config.sharedMemBytes
        refused = self._cluster_of(config) is None
        return (Result.CUDA_ERROR_INVALID_CLUSTER_SIZE, None) if refused else self.clusters

    def _cluster_of(self, config: Any) -> int | None:
        """The blocks of a cluster; None: the device has no such clusters."""
        (attribute,) = config.attrs
        assert config.numAttrs == 1
        assert attribute.id == genuine.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
        size = attribute.value.clusterDim
        unused = (config.gridDimY, config.gridDimZ, config.blockDimY, config.blockDimZ, size.y, size.z)
        assert set(unused) == {1}
        fits = 1 < size.x <= 8 and config.gridDimX % size.x == 0
        return int(size.x) if self.architecture >= (9, 0) and fits else None

    def _launched(self, launch: Launch) -> Any:
        """What all kinds of launch do."""
        self.require_launchable(launch)
        if self.executes:
            launch.emulated()

    def require_launchable(self, launch: Launch) -> None:
        """Refuse what the kernel would not survive."""
        params = launch.params
        assert self.shared_allowed[launch.function] >= launch.shared
        assert params.scorer % 16 == params.workspace % 16 == params.verdicts % 16 == 0
        assert params.cluster == launch.cluster, "blocks would wait for words of others than their cluster's"


class HostArray:
    """A NumPy array that claims to be in device memory."""

    def __init__(self, array: np.ndarray, stream: int | None = None):
        self.array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "version": 3,
            "stream": stream,
        }


class DlpackArray:
    """The same through DLPack."""

    def __init__(self, array: np.ndarray, device: tuple[int, int] = (2, 0)):
        self.array, self.device, self.streams = array, device, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()
