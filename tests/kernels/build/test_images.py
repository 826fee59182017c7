"""Which build a device gets: one made ahead, PTX, or one that NVRTC makes now and that is kept."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeosr.errors import DriverTooOldError, KernelBuildError
from edgeosr.kernels.build.ahead import BUILDS, SOURCE_FILE
from edgeosr.kernels.build.images import image_for, suitable_builds
from edgeosr.kernels.build.nvrtc import Compiled, newest_nvrtc
from edgeosr.kernels.build.sources import DeviceSource, device_source
from edgeosr.kernels.driver.driver import Device


def device(architecture: tuple[int, int], driver: tuple[int, int], *, integrated: bool) -> Device:
    return Device(0, "device", architecture, integrated, driver)


@pytest.mark.parametrize(
    ("architecture", "driver", "integrated", "first"),
    [
        ((8, 7), (13, 0), True, "fused_score-sm_87-cuda13.0.cubin"),  # JetPack 7
        ((8, 7), (12, 6), True, "fused_score-sm_87-cuda12.6.cubin"),  # JetPack 6
        ((8, 7), (12, 2), True, "fused_score-sm_87-cuda12.6.cubin"),
        ((7, 2), (11, 4), True, "fused_score-sm_72-cuda11.8.cubin"),  # JetPack 5, Xavier
        ((11, 0), (13, 0), True, "fused_score-sm_110-cuda13.0.cubin"),  # Thor
        ((8, 9), (13, 0), False, "fused_score-sm_89-cuda13.0.cubin"),
        ((8, 6), (13, 0), False, "fused_score-compute_75-cuda11.8.ptx"),  # no sm_80 or sm_86 among ours
        ((8, 9), (12, 4), False, "fused_score-sm_87-cuda12.6.cubin"),  # binary compatible on a desktop
        ((12, 1), (13, 0), False, "fused_score-sm_120-cuda13.0.cubin"),
        ((12, 1), (13, 0), True, "fused_score-compute_75-cuda11.8.ptx"),  # a Tegra takes its own alone
        ((7, 2), (12, 0), False, "fused_score-sm_72-cuda11.8.cubin"),
    ],
)
def test_a_device_gets_the_build_of_its_architecture_and_driver(
    architecture: tuple[int, int], driver: tuple[int, int], integrated: bool, first: str
) -> None:
    assert suitable_builds(device(architecture, driver, integrated=integrated))[0].file_name == first


def test_orin_with_jetpack_5_has_no_build_ahead_and_asks_nvrtc() -> None:
    assert suitable_builds(device((8, 7), (11, 4), integrated=True)) == []


class Compiler:
    """Counts compilations."""

    def __init__(self, version: tuple[int, int] = (12, 6)):
        self.version, self.targets = version, []

    def __call__(self, most: tuple[int, int]) -> "Compiler":
        assert self.version <= most
        return self

    def compile(self, source: DeviceSource, target: str) -> Compiled:
        self.targets.append(target)
        return Compiled(f"{source.digest} {target}".encode(), "")


def test_files_built_ahead_are_taken_before_anything_is_compiled(tmp_path: Path) -> None:
    orin = device((8, 7), (12, 6), integrated=True)
    compiler = Compiler()
    for build in BUILDS:
        (tmp_path / build.file_name).write_bytes(build.file_name.encode())
    (tmp_path / SOURCE_FILE).write_text(device_source().digest + "\n")
    assert image_for(orin, folder=tmp_path, cache=tmp_path / "c", nvrtc=compiler).data == (
        b"fused_score-sm_87-cuda12.6.cubin"
    )
    (tmp_path / "fused_score-sm_87-cuda12.6.cubin").unlink()
    assert image_for(orin, folder=tmp_path, cache=tmp_path / "c", nvrtc=compiler).origin.endswith("11.8.ptx")
    assert compiler.targets == []


def test_an_image_says_whether_it_was_compiled_with_clusters(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"folder": tmp_path, "cache": tmp_path / "c", "nvrtc": Compiler((13, 0))}
    compiled = {
        architecture: image_for(device(architecture, (13, 0), integrated=False), **settings).clusters
        for architecture in ((8, 9), (9, 0), (10, 0))
    }
    assert compiled == {(8, 9): False, (9, 0): True, (10, 0): True}
    for build in BUILDS:
        (tmp_path / build.file_name).write_bytes(build.file_name.encode())
    (tmp_path / SOURCE_FILE).write_text(device_source().digest + "\n")
    ahead = {
        architecture: image_for(device(architecture, (13, 0), integrated=False), **settings)
        for architecture in ((8, 9), (9, 0), (10, 0), (12, 1))
    }
    assert {architecture: image.clusters for architecture, image in ahead.items()} == {
        (8, 9): False, (9, 0): True, (10, 0): False, (12, 1): True,
    }  # fmt: skip
    assert ahead[10, 0].origin == "fused_score-compute_75-cuda11.8.ptx"  # what no cubin is for


def test_builds_of_another_source_or_of_none_that_is_named_are_not_launched(tmp_path: Path) -> None:
    orin = device((8, 7), (12, 6), integrated=True)
    (tmp_path / "fused_score-sm_87-cuda12.6.cubin").write_bytes(b"old")
    for digest in (None, "0" * 64):
        if digest:
            (tmp_path / SOURCE_FILE).write_text(digest)
        image = image_for(orin, folder=tmp_path, cache=tmp_path / "c", nvrtc=Compiler())
        assert image.origin == "NVRTC 12.6 for sm_87"


def test_nvrtc_is_the_last_resort_and_its_build_is_kept_by_source_architecture_and_compiler(
    tmp_path: Path,
) -> None:
    orin, source = device((8, 7), (12, 6), integrated=True), DeviceSource("one", {})
    compiler = Compiler()
    settings: dict[str, Any] = {"folder": tmp_path / "none", "cache": tmp_path / "cache", "nvrtc": compiler}
    first = image_for(orin, source=source, **settings)
    assert first.origin == "NVRTC 12.6 for sm_87"
    assert image_for(orin, source=source, **settings) == first
    assert compiler.targets == ["sm_87"]
    image_for(orin, source=DeviceSource("two", {}), **settings)
    image_for(device((8, 6), (12, 6), integrated=False), source=source, **settings)
    image_for(orin, source=source, **{**settings, "nvrtc": Compiler((12, 4))})
    assert compiler.targets == ["sm_87", "sm_87", "sm_86"]
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_a_damaged_cache_is_compiled_anew_and_one_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    orin, source, compiler = device((8, 7), (12, 6), integrated=True), DeviceSource("one", {}), Compiler()
    settings: dict[str, Any] = {"folder": tmp_path, "nvrtc": compiler, "source": source}
    first = image_for(orin, cache=tmp_path / "cache", **settings)
    (kept,) = (tmp_path / "cache").iterdir()
    for damaged in (b"", kept.read_bytes()[:-1], b"x" + kept.read_bytes()[1:]):
        kept.write_bytes(damaged)
        assert image_for(orin, cache=tmp_path / "cache", **settings) == first
    assert len(compiler.targets) == 4
    (tmp_path / "file").write_bytes(b"")
    assert image_for(orin, cache=tmp_path / "file" / "cache", **settings) == first


def test_no_build_and_no_compiler_is_an_error_with_what_was_looked_for_and_the_install_line(
    tmp_path: Path,
) -> None:
    orin = device((8, 7), (12, 6), integrated=True)
    none = partial(newest_nvrtc, search=[])
    with pytest.raises(KernelBuildError, match=r"sm_87-cuda12.6.cubin.*pip install 'nvidia-cuda-nvrtc-cu12"):
        image_for(orin, folder=tmp_path, cache=tmp_path, nvrtc=none)


def test_a_driver_older_than_cuda_11_is_refused(tmp_path: Path) -> None:
    old = device((7, 2), (10, 2), integrated=True)
    with pytest.raises(
        DriverTooOldError, match=r"CUDA 11.0 or later; device has one of CUDA 10.2.*JetPack 5"
    ):
        image_for(old, folder=tmp_path)
