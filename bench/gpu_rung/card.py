"""The first step: what the card and the machine are, and whether the rung can run on them at all."""

import argparse
import contextlib
import platform
import shutil
import subprocess
import sys
from typing import Any

from edgeosr.bench.device import describe_device, versions
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.bench.gpu_rung.torch_device import open_torch
from edgeosr.errors import CudaError, DeviceMemoryError, NoDeviceError
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
_SMI = (
    "name,driver_version,pstate,clocks.current.sm,clocks.max.sm,clocks.current.memory,power.limit,"
    "temperature.gpu,mig.mode.current"
)


def look_at_card(report: StepReport, options: argparse.Namespace) -> None:
    """Describe it.

    Raises:
        MissingDependencyError, UsageError: torch is missing, or sees no device.
        NoDriverError, NoDeviceError: there is no card, or it is older than sm_75.
        DeviceMemoryError: too little of its memory is free.
    """
    driver = open_driver("the hardware rung")
    device = driver.device(None)
    report.put("card", described(driver, device))
    require_fit(device, free_gib(driver, device))
    open_torch(driver)
    report.put("build", image_for(device).origin)
    report.put("source", device_source().digest)
    report.put("versions", versions(PACKAGES))
    host = describe_device().as_json()
    report.put("host", {name: host[name] for name in ("cpu", "board", "cores", "memory_mib", "container")})
    report.put("system", f"{platform.system()} {platform.release()} {platform.machine()}")
    report.put("python", platform.python_version())
    report.put("nvidia_smi", nvidia_smi())


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
        which = getattr(driver.cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}", None)
        with contextlib.suppress(CudaError):  # a figure less; later drivers may not tell it
            return int(driver.call("cuDeviceGetAttribute", which, device.ordinal)) // unit
        return None

    free, total = driver_memory(driver)
    return {
        "name": device.name,
        "architecture": f"sm_{device.architecture[0]}{device.architecture[1]}",
        "integrated": device.integrated,
        "multiprocessors": attribute("MULTIPROCESSOR_COUNT"),
        "clock_mhz": attribute("CLOCK_RATE", 1000),
        "memory_clock_mhz": attribute("MEMORY_CLOCK_RATE", 1000),
        "l2_bytes": attribute("L2_CACHE_SIZE"),
        "memory_gib": round(total / 2**30, 1),
        "free_gib": round(free / 2**30, 1),
        "driver_cuda": f"{device.driver[0]}.{device.driver[1]}",
    }


def nvidia_smi() -> dict[str, str]:
    """Return what nvidia-smi says of clocks, power and driver; what it said or that it is missing, if not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {"not_run": "nvidia-smi is not on the PATH"}
    words = [program, f"--query-gpu={_SMI}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"not_run": str(error)}
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if done.returncode or len(values) != len(_SMI.split(",")):
        return {"not_run": (done.stderr or done.stdout).strip()[:300]}
    return dict(zip(_SMI.split(","), values, strict=True))


if __name__ == "__main__":
    sys.exit(step_main("What card this is, and whether the rung can run on it.", look_at_card))
