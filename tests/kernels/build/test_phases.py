"""Builds that stop after a phase: made with the macro, and taken only if they are of the installed source."""

from pathlib import Path

import pytest
from cuda_double import CudaDouble
from fused_cases import random_inputs, random_scorer
from fused_run import SOURCE, prepared
from fused_suite import MAP_CASE
from simt_build import built
from simt_run import Library

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build import ahead, phases
from edgeosr.kernels.build.ahead import BUILDS, SOURCE_FILE, Build
from edgeosr.kernels.build.images import suitable_builds
from edgeosr.kernels.build.nvrtc import Compiled, Nvrtc
from edgeosr.kernels.build.phases import MACRO, PHASES, build_phases, phase_image
from edgeosr.kernels.build.sources import DeviceSource, device_source
from edgeosr.kernels.build.toolchain import Nvcc
from edgeosr.kernels.device_verdicts import WRITTEN
from edgeosr.kernels.driver.driver import Device, Driver
from edgeosr.kernels.packing import pack_scorer

ORIN = (Build((8, 7), (13, 0)), Build((8, 7), (12, 6)))


@pytest.fixture
def compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubles that write what they were told."""

    def cubin(self: Nvcc, architecture: str, target: Path, *, defines: tuple[str, ...] = ()) -> str:
        target.write_text(f"nvcc {architecture} {defines}", "utf-8")
        return ""

    def compile(
        self: Nvrtc, source: DeviceSource, architecture: str, *, defines: tuple[str, ...] = ()
    ) -> Compiled:
        return Compiled(f"nvrtc {architecture} {defines}".encode(), "")

    monkeypatch.setattr(Nvcc, "cubin", cubin)
    monkeypatch.setattr(Nvrtc, "compile", compile)
    monkeypatch.setattr(ahead, "newest_nvrtc", lambda version: Nvrtc(None, version))  # type: ignore[arg-type]


def orin() -> Device:
    return Driver(CudaDouble()).device(None)


@pytest.mark.usefixtures("compilers")
def test_each_phase_is_built_with_its_value_of_the_macro_by_the_compiler_of_its_driver(
    tmp_path: Path,
) -> None:
    made = list(build_phases(tmp_path, [*ORIN, Build((7, 5), (11, 8), ptx=True)]))
    assert len(made) == len(PHASES) * 2, "no PTX: phases are timed where a cubin is"
    for stop in PHASES:
        found = {path.name: path.read_text("utf-8") for path in made if path.parent.name == f"stop{stop}"}
        assert found == {
            ORIN[0].file_name: f"nvcc sm_87 ('{MACRO}={stop}',)",
            ORIN[1].file_name: f"nvrtc sm_87 ('{MACRO}={stop}',)",
        }
    image = phase_image(orin(), tmp_path, 2)
    assert suitable_builds(orin())[0].file_name == ORIN[1].file_name, "the driver's is CUDA 12.6"
    assert image.data == f"nvrtc sm_87 ('{MACRO}=2',)".encode() and "stops after phase 2" in image.origin
    assert not image.clusters


@pytest.mark.usefixtures("compilers")
def test_phase_builds_of_another_source_or_another_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelBuildError, match=r"it holds no builds; make the archive again: make gpu-pack"):
        phase_image(orin(), tmp_path, 1)
    list(build_phases(tmp_path, [Build((9, 0), (13, 0))]))
    assert phase_image(Device(0, "H200", (9, 0), False, (13, 0)), tmp_path, 1).clusters
    with pytest.raises(KernelBuildError, match=r"no phase build for Orin \(sm_87\)"):
        phase_image(orin(), tmp_path, 1)
    (tmp_path / "stop1" / SOURCE_FILE).write_text("0" * 64, "utf-8")
    with pytest.raises(KernelBuildError, match=f"source {device_source().digest[:12]}.* source 000000000000"):
        phase_image(orin(), tmp_path, 1)


def test_a_build_that_stops_writes_no_verdict_and_leaves_its_counters_as_the_next_launch_needs_them() -> None:
    scorer, inputs = random_scorer(MAP_CASE), random_inputs(MAP_CASE)
    launch = prepared(MAP_CASE, pack_scorer(scorer, half=True), inputs)
    for stop in (2, 4):
        library = Library(built(SOURCE, defines=(f"{MACRO}={stop}",)))
        for _ in range(2):
            assert not (launch.run(library)["flags"] & WRITTEN).any()
    assert (launch.run(Library(built(SOURCE)))["flags"] & WRITTEN).all()


def test_every_phase_has_its_place_in_the_source() -> None:
    source = device_source()
    text = source.main + "".join(source.headers.values())
    assert f"#ifndef {MACRO}" in text
    assert {stop for stop in range(10) if f"stops_after({stop})" in text} == set(PHASES)
    assert set(BUILDS) >= set(ORIN) and phases.WHOLE not in PHASES.values()
