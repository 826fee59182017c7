"""Rung one: every compiler takes the kernel without a warning, and the code stays within its budget."""

import math
import re
from pathlib import Path

import compile_gate
import pytest
from compile_gate import BUILDS, MULTIPROCESSORS, Entry
from fused_cases import Case, random_scorer
from kernel_entries import CLUSTER_ENTRIES, ENTRIES

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.nvrtc import newest_nvrtc, nvrtc_from_file
from edgeosr.kernels.build.sources import DeviceSource, device_source
from edgeosr.kernels.build.toolchain import find_nvcc
from edgeosr.kernels.packing import pack_scorer
from edgeosr.kernels.plan import LaunchPlan, MapShape, plan_launch

CLUSTERED = ("sm_90", "sm_110", "sm_120")
# Headers that belong to the emulation on the CPU, and what asks for them, there alone.
EMULATION = {"primitives.cuh": "simt.h", "cluster.cuh": "cluster.h"}


@pytest.fixture(scope="module")
def entries() -> dict[str, dict[str, Entry] | KernelBuildError]:
    return compile_gate.measured_in_parallel()


def of(build: str, entries: dict[str, dict[str, Entry] | KernelBuildError]) -> dict[str, Entry]:
    found = entries[build]
    if isinstance(found, KernelBuildError):
        raise found
    return found


@pytest.mark.parametrize("build", BUILDS)
def test_a_compiler_takes_the_source_without_a_warning_and_makes_every_entry(build: str, entries) -> None:
    expected = set(ENTRIES) if "72" not in build else {name for name in ENTRIES if "_fma_" in name}
    assert set(of(build, entries)) == expected | (set(CLUSTER_ENTRIES) if build in CLUSTERED else set())


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_spilled_and_no_local_memory_is_touched(build: str, entries) -> None:
    found = of(build, entries)
    assert {name: entry.spills for name, entry in found.items() if entry.spills} == {}
    assert {name: entry.stack for name, entry in found.items() if entry.stack} == {}
    assert {name: n for name, e in found.items() if (n := e.local_instructions)} == {}


@pytest.mark.parametrize("build", BUILDS)
def test_registers_and_shared_memory_stay_within_the_committed_budget(build: str, entries) -> None:
    found, budget = of(build, entries), compile_gate.budget(build)
    assert set(found) == set(budget)
    over = {name: e.registers for name, e in found.items() if e.registers > budget[name]["registers"]}
    assert over == {}, (
        "more registers than kernels/budgets allows; if meant, run tests/kernels/compile_gate.py"
    )
    assert {name: e.static_shared for name, e in found.items() if e.static_shared} == {}


@pytest.mark.parametrize("build", [build for build in BUILDS if "72" not in build])
def test_tensor_cores_and_16_byte_weight_loads_are_in_the_code(build: str, entries) -> None:
    budget = compile_gate.budget(build)
    for name, entry in of(build, entries).items():
        # Pairs of fp16 channels are added up there too.
        on_tensor_cores = "_fma_" not in name or name.endswith("_map_fma_f16")
        assert bool(entry.tensor_instructions) == on_tensor_cores, name
        assert entry.wide_loads is not None
        # A tenth less may be the compiler's unrolling; a weight load that became narrow takes away far more.
        assert entry.wide_loads >= math.floor(0.9 * budget[name]["wide_loads"]) > 0, name


def planned(half: bool, architecture: str = "") -> LaunchPlan:
    case = Case(
        dimension=512,
        batch=64,
        classes=10,
        head="cosine",
        discriminator="wide",
        half_weights=half,
        half_input=True,
        positions=49,
        filter=3,
    )
    packed = pack_scorer(random_scorer(case), half=half)
    return plan_launch(packed, MapShape(height=7, width=7, half=True), 64, architecture=architecture)


@pytest.mark.parametrize("build", BUILDS)
def test_at_512_channels_at_least_half_of_a_multiprocessor_is_occupied(build: str, entries) -> None:
    plan = planned(half="72" not in build)
    registers = of(build, entries)[plan.entry].registers
    blocks = compile_gate.blocks_per_multiprocessor(build, registers, plan.threads, plan.shared_bytes)
    threads = MULTIPROCESSORS[build.split("-")[0]][0]
    assert blocks * plan.threads >= threads / 2, f"{blocks} blocks of {plan.threads} threads"


@pytest.mark.parametrize("build", CLUSTERED)
def test_at_512_channels_two_blocks_of_clusters_fit_a_multiprocessor_but_for_sm_120_s(
    build: str, entries
) -> None:
    plan = planned(True, build)
    assert plan.cluster == 8
    registers = of(build, entries)[plan.entry].registers
    blocks = compile_gate.blocks_per_multiprocessor(build, registers, plan.threads, plan.shared_bytes)
    assert blocks == (1 if build == "sm_120" else 2)


def test_the_device_source_includes_nothing_but_our_own_files() -> None:
    source = device_source()
    for text in (source.main, *source.headers.values()):
        for line in text.splitlines():
            if line == "#include EDGEOSR_MORE_PARTS":  # a part from outside, only where one is named
                continue
            if line.startswith("#include"):
                name = line.split('"')[1]
                assert name in source.headers or name in EMULATION.values()
    for header, name in EMULATION.items():
        assert f'#ifdef EDGEOSR_SIMT\n#include "{name}"\n' in source.headers[header]


def test_the_gate_judges_every_cubin_that_is_shipped() -> None:
    nvcc = {"sm_75", "sm_87", "sm_89", "sm_90", "sm_110", "sm_120"}
    assert set(BUILDS) == nvcc | {"sm_72-nvrtc11.8", "sm_87-nvrtc12.6"}
    assert {b.split("-")[0] for b in BUILDS} == set(MULTIPROCESSORS)


@pytest.mark.parametrize("version", [(12, 99), (11, 8)], ids=str)
def test_nvrtc_compiles_for_a_device_with_clusters_at_run_time(version: tuple[int, int]) -> None:
    """As an installation without the builds made ahead does on Hopper; 11.8 makes none of clusters."""
    made = newest_nvrtc(version).compile(device_source(), "sm_90")
    names = {name for name in (*ENTRIES, *CLUSTER_ENTRIES) if f"'{name}'" in made.log}
    assert names == set(ENTRIES) | (set(CLUSTER_ENTRIES) if version > (12, 1) else set())
    spilled = re.findall(r"[1-9]\d* bytes spill stores", made.log)
    assert "0 bytes spill stores" in made.log and (version < (12, 1) or spilled == [])


def test_a_source_that_does_not_compile_is_an_error_in_the_compilers_words(tmp_path: Path) -> None:
    broken = DeviceSource('#include "own.cuh"\nint f() { return missing; }\n', {"own.cuh": "\n"})
    with pytest.raises(KernelBuildError, match=r"(?s)NVRTC 11.8 could not compile fused_score.cu.*missing"):
        newest_nvrtc((11, 8)).compile(broken, "sm_87")
    (tmp_path / "fused_score.cu").write_text(broken.main)
    (tmp_path / "own.cuh").write_text("int unused() { int x; return 0; }\n")
    with pytest.raises(
        KernelBuildError, match=r"(?s)nvcc 13.* could not compile fused_score.cu for sm_87.*missing"
    ):
        find_nvcc().cubin("sm_87", tmp_path / "out.cubin", tmp_path)


def test_a_warning_fails_the_gate(tmp_path: Path) -> None:
    (tmp_path / "fused_score.cu").write_text("__global__ void f(int* p) { int unused = 1; *p = 1; }\n")
    with pytest.raises(KernelBuildError, match="unused"):
        find_nvcc().cubin("sm_87", tmp_path / "out.cubin", tmp_path)


def test_an_nvcc_that_is_missing_or_too_old_is_an_error_with_the_install_line(
    monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEOSR_NVCC", str(tmp_path / "nvcc"))
    with pytest.raises(
        KernelBuildError, match=r"needs nvcc 13.0 or later.*does not run.*pip install nvidia-cuda-nvcc"
    ):
        find_nvcc()
    old = tmp_path / "nvcc"
    old.write_text("#!/bin/sh\necho Cuda compilation tools, release 12.6, V12.6.85\n")
    old.chmod(0o755)
    with pytest.raises(KernelBuildError, match=r"nvcc \(12.6\)"):
        find_nvcc()


def test_an_nvrtc_that_is_missing_is_an_error_with_the_install_line(tmp_path: Path) -> None:
    with pytest.raises(
        KernelBuildError, match=r"version 12.2 or older.*pip install 'nvidia-cuda-nvrtc-cu12==12.2"
    ):
        newest_nvrtc((12, 2), search=[])
    (tmp_path / "libnvrtc.so").write_bytes(b"no library")
    with pytest.raises(KernelBuildError, match="is not an NVRTC library"):
        nvrtc_from_file(tmp_path / "libnvrtc.so")
