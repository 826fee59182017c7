"""What a latency was measured on: without it a number is not printed."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeosr.usable_processors import usable_processors

PACKAGES = ("edgeosr", "onnxruntime", "numpy", "pillow", "onnx", "torch")


@dataclass(frozen=True)
class Device:
    """The machine and what the process may use of it.

    Attributes:
        cpu: model name; board: device-tree model of an edge board, or empty.
        cores: logical cores this process may run on; machine_cores: all of the machine.
        governor: CPU frequency governor, or "not visible".
        cpu_quota: cores a container may use (cgroup), or None.
        memory_mib: memory of the machine, MiB.
        load: load average of the last minute when asked, or None where the system has none.
        container: "none seen" or what says that this is one.
        gpu: "none", or "present, not used" (this bench runs the CPU provider).
        system: operating system, kernel and architecture; python: version.
    """

    cpu: str
    board: str
    cores: int
    machine_cores: int
    governor: str
    cpu_quota: float | None
    memory_mib: int | None
    load: float | None
    container: str
    gpu: str
    system: str
    python: str

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def describe_device(root: Path = Path("/")) -> Device:
    """Describe this machine; ``root`` replaces the file tree that /proc and /sys are read from (tests)."""
    return Device(
        cpu=_field(root / "proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        board=_text(root / "proc/device-tree/model").rstrip("\0"),
        cores=usable_processors(),
        machine_cores=os.cpu_count() or 1,
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not visible",
        cpu_quota=_cpu_quota(root),
        memory_mib=_kib(_field(root / "proc/meminfo", "MemTotal")),
        load=load_average(),
        container=_container(root),
        gpu="present, not used" if _gpu(root) else "none",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def load_average() -> float | None:
    """Return the load average of the last minute, or None where the system has none (Windows)."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return installed versions, by default of what matters to a latency; absent packages are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _field(path: Path, name: str) -> str:
    for line in _text(path).splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _kib(text: str) -> int | None:
    return int(text.split()[0]) // 1024 if text else None


def _cpu_quota(root: Path) -> float | None:
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if not quota.isdigit():  # version 1 of cgroups, or "max": no limit
        quota = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _container(root: Path) -> str:
    for path in (".dockerenv", "run/.containerenv"):
        if (root / path).exists():
            return f"yes (/{path})"
    return "none seen"


def _gpu(root: Path) -> bool:
    nodes = ("dev/nvidia0", "dev/nvidiactl", "dev/nvhost-gpu", "dev/nvgpu", "dev/dri/renderD128")
    return any((root / node).exists() for node in nodes)
