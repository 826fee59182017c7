"""What `pip install edgeosr` puts on a machine."""

import email
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNEL_FILES = (
    "CMakeLists.txt",
    "budgets/*.json",
    "examples/*",
    "include/edgeosr/*",
    "plan_table.json",
    "src/*",
)
# Of libedgeosr, which is built where a compiler is.
NATIVE_FILES = (
    *("CMakeLists.txt", "tensorrt.cmake", "edgeosr.pc.in"),
    *("examples/*", "include/*", "src/**/*", "tensorrt/*"),
)
FOLDERS = ("edgeosr", "export", "kernels", "bench")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: a build in the tree would pick up what an older build left in build/.
    clean = tmp_path_factory.mktemp("clean")
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(
            ROOT / folder, clean / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so", "cubins")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, clean / name)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(clean)],
        check=True,
        capture_output=True,
        text=True,
    )
    (built,) = out.glob("*.whl")
    return built


def installed_name(path: Path) -> str:
    """Where a file of the tree lies in an installation."""
    inside = path.relative_to(ROOT).as_posix()
    return inside if inside.startswith("edgeosr/") else f"edgeosr/{inside}"


def test_the_wheel_installs_only_edgeosr_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"edgeosr", "edgeosr-0.1.0.dist-info"}
    # The owner of a device runs the selftest on it; it is no test of ours.
    ours = {
        "edgeosr/cli/selftest.py",
        *(
            f"edgeosr/kernels/selftest/{name}.py"
            for name in (
                "__init__",
                "__main__",
                "allowed",
                "cases",
                "device_copy",
                "launches",
                "rivals",
                "selftest",
            )
        ),
        "edgeosr/runtime/selftest.py",
    }
    assert {name for name in names if "test" in name} == ours


def test_the_wheel_holds_every_module_of_the_rooms_and_the_type_marker(wheel: Path) -> None:
    expected = {installed_name(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("edgeosr/")}
    # A sub-package that pyproject.toml forgets shows up here as missing modules.
    # The device source is compiled where no build made ahead suits; the rest of it serves C++.
    native = {path for kind in KERNEL_FILES for path in (ROOT / "kernels").glob(kind) if path.is_file()}
    assert len(native) > 20
    library = ROOT / "edgeosr" / "runtime" / "native"
    native |= {path for kind in NATIVE_FILES for path in library.glob(kind) if path.is_file()}
    native = {path for path in native if "__pycache__" not in path.parts}
    kept = {
        "kernel_counts",
        "kernel_wavefronts",
        *(table.stem for table in ROOT.glob("bench/kernel_phases_*")),
    }
    assert len(kept) >= 4
    data = {"edgeosr/py.typed", *(f"edgeosr/bench/{name}.json" for name in kept)}
    assert shipped == expected | data | {installed_name(path) for path in native}


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_the_wheel_is_pure_and_carries_licence_readme_and_command(wheel: Path) -> None:
    assert wheel.name == "edgeosr-0.1.0-py3-none-any.whl"
    archive = zipfile.ZipFile(wheel)
    information = "edgeosr-0.1.0.dist-info"
    assert "Apache License" in archive.read(f"{information}/licenses/LICENSE").decode()
    assert "class_splits.py" in archive.read(f"{information}/licenses/NOTICE").decode()
    assert "edgeosr = edgeosr.cli.app:main" in archive.read(f"{information}/entry_points.txt").decode()
    metadata = email.message_from_bytes(archive.read(f"{information}/METADATA"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert (ROOT / "README.md").read_text("utf-8")[:200] in str(metadata.get_payload())


def test_the_base_install_asks_for_no_training_package(wheel: Path) -> None:
    metadata = email.message_from_bytes(
        zipfile.ZipFile(wheel).read("edgeosr-0.1.0.dist-info/METADATA"),
    )
    base = {line.split(">")[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert base == {"numpy", "onnxruntime", "pillow", "rich", "typer"}


def test_the_rooms_of_the_wheel_import_under_edgeosr(wheel: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r})\n"
        "import edgeosr, edgeosr.export, edgeosr.scoring.scorer, edgeosr.bench, edgeosr.cli.app\n"
        "print(edgeosr.__file__, edgeosr.scoring.scorer.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(wheel.name in word for word in done.stdout.split())
