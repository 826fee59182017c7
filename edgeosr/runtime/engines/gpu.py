"""Which NVIDIA GPUs are here, asked of the driver by ctypes.

TensorRT's own runtime may end the process with a segmentation fault where there is no driver, so the driver
is asked before TensorRT is touched.
"""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "libcuda.so.1"
MEMINFO = Path("/proc/meminfo")
# CUdevice_attribute of cuda.h.
_INTEGRATED, _MAJOR, _MINOR = 18, 75, 76


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU.

    Attributes:
        ordinal: its number.
        name: as the driver calls it, e.g. ``Orin``.
        architecture: e.g. ``sm_87``.
        memory: bytes in all; an integrated GPU shares them with the processor.
        integrated: it has no memory of its own (Jetson).
    """

    ordinal: int
    name: str
    architecture: str
    memory: int
    integrated: bool


@dataclass(frozen=True, kw_only=True)
class GpuProbe:
    """What the driver said.

    Attributes:
        gpus: by ordinal; may be empty.
        driver: newest CUDA version of the driver, (major, minor); (0, 0) without one.
        reason: why there is no GPU, a sentence without a full stop; empty if there is one.
    """

    gpus: tuple[Gpu, ...]
    driver: tuple[int, int]
    reason: str


def probe_gpus(library: str = LIBRARY) -> GpuProbe:
    """Ask the driver; never raises and makes no context.

    Args:
        library: name or path of the driver's library.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return _none(f"there is no NVIDIA driver here ({library} cannot be loaded)")
    try:
        code = cuda.cuInit(0)
        if code != 0:
            return _none(f"the NVIDIA driver finds no GPU it can use (cuInit gives error {code})")
        version, count = ctypes.c_int(0), ctypes.c_int(0)
        cuda.cuDriverGetVersion(ctypes.byref(version))
        driver = (version.value // 1000, version.value % 1000 // 10)
        code = cuda.cuDeviceGetCount(ctypes.byref(count))
        if code != 0 or count.value < 1:
            return GpuProbe(gpus=(), driver=driver, reason="the NVIDIA driver lists no GPU")
        gpus = tuple(_gpu(cuda, ordinal) for ordinal in range(count.value))
    except AttributeError as error:
        return _none(f"{library} is no NVIDIA driver: {error}")
    return GpuProbe(gpus=gpus, driver=driver, reason="")


def available_memory(gpu: Gpu, meminfo: Path = MEMINFO) -> int:
    """Return the bytes that a plan may hope for: what the system has left, for a GPU that shares its memory.

    For a GPU with memory of its own it is all of that: what is free there can be asked only by making a
    context, which takes some.
    """
    if gpu.integrated:
        try:
            found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text("utf-8"), re.MULTILINE)
        except OSError:
            found = None
        if found:
            return min(gpu.memory, int(found[1]) << 10)
    return gpu.memory


def _none(reason: str) -> GpuProbe:
    return GpuProbe(gpus=(), driver=(0, 0), reason=reason)


def _gpu(cuda: Any, ordinal: int) -> Gpu:
    device = ctypes.c_int(0)
    cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(which: int) -> int:
        value = ctypes.c_int(0)
        cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    return Gpu(
        ordinal=ordinal,
        name=name.value.decode("utf-8", errors="replace"),
        architecture=f"sm_{attribute(_MAJOR)}{attribute(_MINOR)}",
        memory=memory.value,
        integrated=bool(attribute(_INTEGRATED)),
    )
