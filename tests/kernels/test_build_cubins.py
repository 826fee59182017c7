"""Builds made ahead of time: each file by its compiler, and errors in words. The gate compiles for real."""

from pathlib import Path

import pytest

from edgeosr.kernels import build_cubins
from edgeosr.kernels.device_errors import KernelBuildError
from edgeosr.kernels.module import BUILDS, Build
from edgeosr.kernels.nvrtc import Compiled
from edgeosr.kernels.toolchain import NVCC_ARCHITECTURES, NVRTC_BUILDS


class Compilers:
    """Doubles of nvcc and NVRTC that note what they were asked."""

    def __init__(self, version: tuple[int, int] | None = None):
        self.version, self.fixed, self.asked = version, version, []

    def cubin(self, target: str, path: Path) -> None:
        self.asked.append(("nvcc", target))
        path.write_bytes(b"cubin")

    def nvrtc(self, most: tuple[int, int]) -> "Compilers":
        self.version = self.fixed or most
        return self

    def compile(self, source: object, target: str) -> Compiled:
        self.asked.append((self.version, target))
        return Compiled(b"image", "")


@pytest.fixture
def compilers(monkeypatch: pytest.MonkeyPatch) -> Compilers:
    double = Compilers()
    monkeypatch.setattr(build_cubins, "find_nvcc", lambda: double)
    monkeypatch.setattr(build_cubins, "newest_nvrtc", double.nvrtc)
    return double


def test_every_file_is_built_by_its_own_compiler(compilers: Compilers, tmp_path: Path) -> None:
    assert build_cubins.main(["--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {build.file_name for build in BUILDS}
    assert [target for tool, target in compilers.asked if tool == "nvcc"] == list(NVCC_ARCHITECTURES)
    older = {target: tool for tool, target in compilers.asked if tool != "nvcc"}
    assert older == {**{arch: tool for arch, tool in NVRTC_BUILDS.items()}, "compute_75": (11, 8)}


def test_one_file_can_be_asked_for(compilers: Compilers, tmp_path: Path) -> None:
    assert build_cubins.main(["--out", str(tmp_path), "--only", BUILDS[1].file_name]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fused_score-sm_87-cuda13.0.cubin"]


def test_an_nvrtc_of_another_version_is_refused(compilers: Compilers, tmp_path: Path) -> None:
    compilers.fixed = (11, 4)
    with pytest.raises(
        KernelBuildError, match=r"needs NVRTC 11.8; found 11.4; run: pip install 'edgeosr\[dev\]'"
    ):
        build_cubins.build_file(Build((7, 2), (11, 8)), tmp_path)
    assert build_cubins.main(["--out", str(tmp_path), "--only", "fused_score-sm_72-cuda11.8.cubin"]) == 1
