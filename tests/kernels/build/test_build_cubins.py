"""Builds made ahead of time: each file by its compiler, and errors in words. The gate compiles for real."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeosr.errors import KernelBuildError
from edgeosr.kernels import build_cubins
from edgeosr.kernels.build import ahead
from edgeosr.kernels.build.ahead import BUILDS, SOURCE_FILE, Build, build_file
from edgeosr.kernels.build.nvrtc import Compiled
from edgeosr.kernels.build.sources import device_source


class Compilers:
    """Doubles of nvcc and NVRTC that note what they were asked."""

    def __init__(self, version: tuple[int, int] | None = None):
        self.version, self.fixed, self.asked = version, version, []

    def cubin(self, target: str, path: Path, *, defines: tuple[str, ...] = ()) -> None:
        assert not defines, "the kernel itself is built without a macro"
        self.asked.append(("nvcc", target))
        path.write_bytes(b"cubin")

    def nvrtc(self, most: tuple[int, int]) -> "Compilers":
        self.version = self.fixed or most
        return self

    def compile(self, source: object, target: str, *, defines: tuple[str, ...] = ()) -> Compiled:
        assert not defines, "the kernel itself is built without a macro"
        self.asked.append((self.version, target))
        return Compiled(b"image", "")


@pytest.fixture
def compilers(monkeypatch: pytest.MonkeyPatch) -> Compilers:
    double = Compilers()
    monkeypatch.setattr(ahead, "find_nvcc", lambda: double)
    monkeypatch.setattr(ahead, "newest_nvrtc", double.nvrtc)
    return double


def test_every_file_is_built_by_its_own_compiler(compilers: Compilers, tmp_path: Path) -> None:
    assert build_cubins.main(["--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {SOURCE_FILE, *(build.file_name for build in BUILDS)}
    assert [target for tool, target in compilers.asked if tool == "nvcc"] == [
        "sm_75", "sm_87", "sm_89", "sm_90", "sm_110", "sm_120"
    ]  # fmt: skip
    older = {target: tool for tool, target in compilers.asked if tool != "nvcc"}
    assert older == {"sm_72": (11, 8), "sm_87": (12, 6), "compute_75": (11, 8)}


def test_one_file_can_be_asked_for(compilers: Compilers, tmp_path: Path) -> None:
    assert build_cubins.main(["--out", str(tmp_path), "--only", BUILDS[1].file_name]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {SOURCE_FILE, "fused_score-sm_87-cuda13.0.cubin"}


def test_an_nvrtc_of_another_version_is_refused(compilers: Compilers, tmp_path: Path) -> None:
    compilers.fixed = (11, 4)
    with pytest.raises(
        KernelBuildError, match=r"needs NVRTC 11.8; found 11.4; run: pip install 'edgeosr\[dev\]'"
    ):
        build_file(Build((7, 2), (11, 8)), tmp_path)
    assert build_cubins.main(["--out", str(tmp_path), "--only", "fused_score-sm_72-cuda11.8.cubin"]) == 1


def test_builds_of_another_source_are_taken_away_and_those_of_this_one_stay(
    compilers: Compilers, tmp_path: Path
) -> None:
    first, second = BUILDS[0].file_name, BUILDS[1].file_name
    (tmp_path / first).write_bytes(b"of an older source")
    (tmp_path / SOURCE_FILE).write_text("older\n")
    assert build_cubins.main(["--out", str(tmp_path), "--only", second]) == 0
    assert not (tmp_path / first).exists()
    assert (tmp_path / SOURCE_FILE).read_text("utf-8").strip() == device_source().digest
    (tmp_path / second).write_bytes(b"of this source")
    assert build_cubins.main(["--out", str(tmp_path), "--only", first]) == 0
    assert (tmp_path / second).read_bytes() == b"of this source"


def test_a_wheel_made_afterwards_carries_the_builds(compilers: Compilers, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "cubins")
    for folder in ("edgeosr", "export", "kernels", "bench"):
        shutil.copytree(root / folder, tree / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(root / name, tree / name)
    assert build_cubins.main(["--out", str(tree / "kernels" / "cubins")]) == 0
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(tree)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {SOURCE_FILE, *(build.file_name for build in BUILDS)}
    assert {f"edgeosr/kernels/cubins/{name}" for name in expected} <= names
