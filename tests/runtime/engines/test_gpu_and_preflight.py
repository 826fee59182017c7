"""What is here is asked of the driver; what keeps an engine from loading is said before it is touched."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import pytest

from edgeosr.bundle.directory import read_manifest
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.errors import EngineError, MissingDependencyError
from edgeosr.files import sha256_of
from edgeosr.runtime.engines.gpu import Gpu, GpuProbe, available_memory, probe_gpus
from edgeosr.runtime.engines.preflight import check_engines, toolkit_of
from edgeosr.runtime.engines.tensorrt_module import load_tensorrt

DRIVER = """
#include <string.h>
#include <stddef.h>
int cuInit(unsigned flags) {{ return {init}; }}
int cuDriverGetVersion(int *v) {{ *v = 12060; return 0; }}
int cuDeviceGetCount(int *n) {{ *n = {count}; return 0; }}
int cuDeviceGet(int *d, int ordinal) {{ *d = ordinal; return 0; }}
int cuDeviceGetName(char *name, int size, int d) {{ strncpy(name, d ? "Other" : "Orin", size); return 0; }}
int cuDeviceTotalMem_v2(size_t *bytes, int d) {{ *bytes = 8ull << 30; return 0; }}
int cuDeviceGetAttribute(int *value, int which, int d) {{
    *value = which == 75 ? 8 : which == 76 ? 7 : which == 18 ? d == 0 : -1;
    return 0;
}}
"""
ORIN = Gpu(ordinal=0, name="Orin", architecture="sm_87", memory=8 << 30, integrated=True)
HERE = GpuProbe(gpus=(ORIN,), driver=(12, 6), reason="")
NOWHERE = GpuProbe(gpus=(), driver=(0, 0), reason="there is no NVIDIA driver here")


def driver(folder, init=0, count=2):
    (folder / "cuda.c").write_text(DRIVER.format(init=init, count=count), encoding="utf-8")
    library = folder / "libcuda_stub.so"
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "cuda.c", "-o", library], check=True)
    return str(library)


def test_the_driver_is_asked_for_everything(tmp_path):
    found = probe_gpus(driver(tmp_path))
    assert found.driver == (12, 6) and found.reason == ""
    assert found.gpus == (ORIN, dataclasses.replace(ORIN, ordinal=1, name="Other", integrated=False))


@pytest.mark.parametrize(("init", "count", "reason"), [(100, 0, "error 100"), (0, 0, "lists no GPU")])
def test_a_driver_without_a_gpu_is_a_reason(tmp_path, init, count, reason):
    found = probe_gpus(driver(tmp_path, init, count))
    assert found.gpus == () and reason in found.reason


def test_no_driver_and_a_library_that_is_none_are_reasons(tmp_path):
    assert "cannot be loaded" in probe_gpus(str(tmp_path / "libcuda.so.1")).reason
    (tmp_path / "empty.c").write_text("int nothing;", encoding="utf-8")
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "empty.c", "-o", tmp_path / "empty.so"], check=True)
    assert "is no NVIDIA driver" in probe_gpus(str(tmp_path / "empty.so")).reason


def test_a_gpu_that_shares_its_memory_has_what_the_system_has_left(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  8000000 kB\nMemFree:  1 kB\nMemAvailable:  2048 kB\n", encoding="utf-8")
    assert available_memory(ORIN, meminfo) == 2 << 20
    assert available_memory(dataclasses.replace(ORIN, integrated=False), meminfo) == 8 << 30
    assert available_memory(ORIN, tmp_path / "absent") == 8 << 30


def test_libraries_for_a_newer_cuda_than_the_driver_s_are_refused(manifest, monkeypatch):
    """tensorrt_rtx is installed here, from wheels made for CUDA 13."""
    assert toolkit_of("tensorrt_rtx") == 13 and toolkit_of("tensorrt") is None
    rtx = {"builder": "tensorrt_rtx", "device": "", "targets": ("sm_86", "sm_89")}
    record = dataclasses.replace(manifest.engines[0], **rtx)
    gpu = dataclasses.replace(ORIN, architecture="sm_86", integrated=False)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", SimpleNamespace(__version__="10.3.0"))
    (found,) = check_engines(
        dataclasses.replace(manifest, engines=(record,)),
        "tensorrt_rtx",
        probe=GpuProbe(gpus=(gpu,), driver=(12, 6), reason=""),
    )
    assert "is made for CUDA 13, and the driver for CUDA 12.6; update the driver" in found.described()


def test_tensorrt_is_not_even_imported_without_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match="tensorrt needs an NVIDIA GPU: there is no NVIDIA driver here"):
        load_tensorrt("tensorrt", to_run=True, probe=NOWHERE)
    with pytest.raises(EngineError, match="tensorrt_rtx needs an NVIDIA GPU"):
        load_tensorrt("tensorrt_rtx", to_run=True, probe=NOWHERE)
    with pytest.raises(MissingDependencyError, match="tensorrt is not installed; it comes with JetPack"):
        load_tensorrt("tensorrt", to_run=True, probe=HERE)


@pytest.mark.parametrize("version", ["8.5.2", "10.2.0", "12.0.0", "dev"])
def test_versions_that_nobody_checked_are_refused(version, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))
    with pytest.raises(EngineError, match=f"10.3 or later and before 12.0; got {version}"):
        load_tensorrt("tensorrt", to_run=True, probe=HERE)


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.0.106"])
def test_versions_from_10_3_to_11_are_taken(version, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))
    assert load_tensorrt("tensorrt", to_run=True, probe=HERE).__version__ == version


@pytest.fixture
def manifest(bundle_path):
    plain = read_manifest(bundle_path)
    record = EngineRecord(
        file="orin.plan",
        sha256=sha256_of(b"plan"),
        bytes=4,
        builder="tensorrt",
        version="10.3.0",
        device="Orin",
        targets=("sm_87",),
        precision="fp16",
        batch=(1, 1, 8),
        frame=(480, 640),
        backbone=plain.files[BACKBONE].sha256,
        created="2026-11-23T00:00:00+00:00",
        seconds=1.0,
    )
    return dataclasses.replace(plain, engines=(record,))


def finding(manifest, monkeypatch, probe=HERE, version="10.3.0", device=0, **changes):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__=version))
    changed = dataclasses.replace(manifest.engines[0], **changes)
    (found,) = check_engines(
        dataclasses.replace(manifest, engines=(changed,)), "tensorrt", device=device, probe=probe
    )
    return found


def test_an_engine_built_here_can_load(manifest, monkeypatch):
    assert finding(manifest, monkeypatch).ok
    assert check_engines(manifest, "tensorrt_rtx", probe=HERE) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backbone": "0" * 64}, "built from another backbone"),
        ({"probe": NOWHERE}, "no NVIDIA driver here; run it on the device it was built for"),
        ({"device": 3}, "no GPU number 3"),
        ({"targets": ("sm_110",)}, "it is for sm_110, and Orin is sm_87"),
        ({"device_name": "Xavier"}, "built on Xavier, and this is Orin"),
        ({"bytes": 7 << 30}, "MiB of memory left"),
        ({"version": "10.13.3"}, "built by tensorrt 10.3.0, and here is 10.13.3"),
        ({"version": "8.5.2"}, "10.3 or later and before 12.0"),
    ],
)
def test_what_keeps_it_from_loading_is_said_with_what_to_do(manifest, monkeypatch, changes, reason):
    given = {("device" if name == "device_name" else name): value for name, value in changes.items()}
    if "device_name" in changes:
        record = dataclasses.replace(manifest.engines[0], device=changes["device_name"])
        manifest, given = dataclasses.replace(manifest, engines=(record,)), {}
    found = finding(manifest, monkeypatch, **given)
    assert not found.ok and found.advice
    assert reason in found.described()


def test_a_missing_tensorrt_is_a_finding_not_a_crash(manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    (found,) = check_engines(manifest, "tensorrt", probe=HERE)
    assert "tensorrt is not installed" in found.described()
