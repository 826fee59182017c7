"""The first step: what the card and the machine are, and whether the rung can run on them at all."""

import argparse
import platform
import sys
from collections.abc import Callable
from typing import Any

from edgeosr.bench.device import describe_device, versions
from edgeosr.bench.gpu_rung.clocks import nvidia_smi, pci_id
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.bench.gpu_rung.torch_device import open_torch
from edgeosr.errors import DeviceMemoryError, NoDeviceError
from edgeosr.kernels.build.images import image_for
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.driver.driver import Device, Driver, open_driver
from edgeosr.runtime.engines.gpu import Gpu, available_memory

OLDEST = (7, 5)  # sm_75, the first with the tensor cores that the kernel uses
NEEDED_GIB = 3.0  # torch's own context, cuDNN's workspaces, ResNet-18 at 112 pixels with 64 frames
PACKAGES = (
    "edgeosr",
    "torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "cuda-bindings",
    "tensorrt",
    "typer",
    "kornia",
)


def look_at_card(report: StepReport, options: argparse.Namespace) -> None:
    """Describe it. What only describes may fail: then the record has the reason in its place.

    Raises:
        MissingDependencyError, UsageError: torch is missing, or sees no device.
        NoDriverError, NoDeviceError: there is no card, or it is older than sm_75.
        DeviceMemoryError: too little of its memory is free.
    """
    driver = open_driver("the hardware rung")
    device = driver.device(None)
    report.put("card", described(driver, device))
    require_fit(device, free_gib(driver, device))
    told = _Teller(report)
    told("build", lambda: image_for(device).origin)
    open_torch(driver)  # the slowest, where torch is imported for the first time
    told("source", lambda: device_source().digest)
    told("versions", lambda: versions(PACKAGES))
    told("host", described_host)
    told("system", lambda: f"{platform.system()} {platform.release()} {platform.machine()}")
    told("python", platform.python_version)
    told("nvidia_smi", lambda: nvidia_smi(pci_id(driver, device)))


class _Teller:
    """Keeps a figure, or why it cannot be told."""

    def __init__(self, report: StepReport):
        self._report = report

    def __call__(self, name: str, figure: Callable[[], Any]) -> None:
        try:
            found = figure()
        except Exception as error:  # whatever a library raises: the rung can do without this figure
            found = {"not_told": f"{type(error).__name__}: {error}"[:300]}
        self._report.put(name, found)


def described_host() -> dict[str, Any]:
    """Return the host's processor, board and memory."""
    host = describe_device().as_json()
    return {name: host[name] for name in ("cpu", "board", "cores", "memory_mib", "container")}


def require_fit(device: Device, free: float) -> None:
    """Raise unless the rung can run on ``device`` with ``free`` GiB."""
    if device.architecture < OLDEST:
        need, have = ("sm_{}{}".format(*version) for version in (OLDEST, device.architecture))
        raise NoDeviceError(
            f"the hardware rung needs a card of {need} or later; {device.name} is {have}, on which "
            "python -m edgeosr.kernels.selftest runs"
        )
    if free < NEEDED_GIB:
        raise DeviceMemoryError(
            f"the hardware rung needs {NEEDED_GIB:.0f} GiB of the card's memory; {free:.1f} GiB are free on "
            f"{device.name}: end other programs that use it (see nvidia-smi, on a Jetson tegrastats)"
        )


def free_gib(driver: Driver, device: Device) -> float:
    """Return the free memory; what the system could give, where processor and GPU share it."""
    free, total = driver_memory(driver)
    if device.integrated:
        gpu = Gpu(ordinal=0, name=device.name, architecture="", memory=total, integrated=True)
        free = available_memory(gpu)
    return float(free / 2**30)


def driver_memory(driver: Driver) -> tuple[int, int]:
    """Return (free, total) bytes of the current context's device."""
    code, free, total = driver.cuda.cuMemGetInfo()
    driver.require(code, "cuMemGetInfo")
    return int(free), int(total)


def described(driver: Driver, device: Device) -> dict[str, Any]:
    """Return name, architecture, processors, clocks, memory and driver."""

    def attribute(name: str, unit: int = 1) -> int | None:
        try:
            which = getattr(driver.cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(driver.call("cuDeviceGetAttribute", which, device.ordinal)) // unit
        except Exception:  # a figure less; later drivers and bindings may not tell it
            return None

    free, total = driver_memory(driver)
    return {
        "name": device.name,
        "architecture": device.target,
        "integrated": device.integrated,
        "multiprocessors": attribute("MULTIPROCESSOR_COUNT"),
        "clock_mhz": attribute("CLOCK_RATE", 1000),
        "memory_clock_mhz": attribute("MEMORY_CLOCK_RATE", 1000),
        "l2_bytes": attribute("L2_CACHE_SIZE"),
        "memory_gib": round(total / 2**30, 1),
        "free_gib": round(free / 2**30, 1),
        "driver_cuda": f"{device.driver[0]}.{device.driver[1]}",
    }


if __name__ == "__main__":
    sys.exit(step_main("What card this is, and whether the rung can run on it.", look_at_card))
