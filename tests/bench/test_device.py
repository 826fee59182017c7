import importlib.metadata
import os
from pathlib import Path

import pytest

from edgeosr.bench.device import describe_device, versions


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_edge_board_in_a_container_is_described_as_one(tmp_path) -> None:
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1\n")
    write(tmp_path / "proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n")
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin Nano\0")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n")
    write(tmp_path / "sys/fs/cgroup/cpu.max", "150000 100000\n")
    write(tmp_path / ".dockerenv", "")
    write(tmp_path / "dev/nvhost-gpu", "")
    device = describe_device(tmp_path)
    assert device.cpu == "ARMv8 Processor rev 1"
    assert device.board == "NVIDIA Jetson Orin Nano"
    assert device.memory_mib == 8192
    assert device.governor == "schedutil"
    assert device.cpu_quota == 1.5
    assert device.container == "yes (/.dockerenv)"
    assert device.gpu == "present, not used"


def test_what_cannot_be_seen_is_said_and_not_guessed(tmp_path) -> None:
    device = describe_device(tmp_path)
    assert (device.governor, device.container, device.gpu) == ("not visible", "none seen", "none")
    assert (device.board, device.memory_mib, device.cpu_quota) == ("", None, None)
    assert device.cpu


@pytest.mark.parametrize(("text", "quota"), [("max 100000\n", None), ("50000 100000\n", 0.5), ("", None)])
def test_a_container_without_a_cpu_limit_has_no_quota(tmp_path, text, quota) -> None:
    write(tmp_path / "sys/fs/cgroup/cpu.max", text)
    assert describe_device(tmp_path).cpu_quota == quota


def test_the_first_cgroup_version_is_read_too(tmp_path) -> None:
    write(tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert describe_device(tmp_path).cpu_quota is None
    write(tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n")
    assert describe_device(tmp_path).cpu_quota == 3


def test_cores_are_those_this_process_may_use() -> None:
    device = describe_device()
    assert 1 <= device.cores <= device.machine_cores
    if hasattr(os, "sched_getaffinity"):
        assert device.cores == len(os.sched_getaffinity(0))


def test_versions_name_only_what_is_installed() -> None:
    found = versions()
    assert found["onnxruntime"] == importlib.metadata.version("onnxruntime")
    assert list(versions(("numpy", "no-such-package-of-edgeosr"))) == ["numpy"]
