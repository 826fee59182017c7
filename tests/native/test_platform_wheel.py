"""A wheel with the library in it: the pure one's files, its own tag, and a record that installers take."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeosr.errors import MissingDependencyError, UsageError
from edgeosr.runtime.native import library
from edgeosr.runtime.native import platform_wheel as module
from edgeosr.runtime.native.platform_wheel import LIBRARY, MACHINES, cross_compiled, platform_wheel

WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def pure(tmp_path):
    path = tmp_path / "edgeosr-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("edgeosr/__init__.py", "NAME = 'x'\n")
        archive.writestr(
            "edgeosr-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: edgeosr\nVersion: 0.1.0\n"
        )
        archive.writestr("edgeosr-0.1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("edgeosr-0.1.0.dist-info/RECORD", "edgeosr-0.1.0.dist-info/RECORD,,\n")
    return path


@pytest.mark.parametrize("machine", MACHINES)
def test_the_wheel_holds_the_library_and_a_record_of_every_file(pure, tmp_path, machine):
    made = platform_wheel(pure, b"\x7fELF library", machine, tmp_path / "out")
    assert made.name == f"edgeosr-0.1.0-py3-none-manylinux_2_28_{machine}.whl"
    archive = zipfile.ZipFile(made)
    assert (
        archive.read(LIBRARY) == b"\x7fELF library" and archive.getinfo(LIBRARY).external_attr >> 16 == 0o755
    )
    information = archive.read("edgeosr-0.1.0.dist-info/WHEEL").decode()
    assert (
        "Root-Is-Purelib: false" in information and f"Tag: py3-none-manylinux_2_28_{machine}" in information
    )
    rows = [line.split(",") for line in archive.read("edgeosr-0.1.0.dist-info/RECORD").decode().splitlines()]
    assert {row[0] for row in rows} == set(archive.namelist())
    for name, digest, size in rows[:-1]:
        data = archive.read(name)
        expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={expected}", len(data))
    again = platform_wheel(pure, b"\x7fELF library", machine, tmp_path / "again")
    assert again.read_bytes() == made.read_bytes()


def test_pip_installs_it_and_python_finds_the_library_in_it(pure, built, tmp_path, monkeypatch):
    made = platform_wheel(pure, built.read_bytes(), MACHINES[0], tmp_path / "out")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    platform = ["--platform", "manylinux_2_28_x86_64", "--only-binary", ":all:"]
    subprocess.run([*command, str(tmp_path / "site"), *platform, str(made)], check=True, capture_output=True)
    # Where the module that looks for it would lie in that place.
    monkeypatch.delenv(library.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(library, "__file__", str((tmp_path / "site" / LIBRARY).with_name("library.py")))
    monkeypatch.setattr(library, "load_library", library.load_library.__wrapped__)
    assert Path(library.load_library()._name) == tmp_path / "site" / LIBRARY


def test_another_wheel_than_a_pure_one_is_refused(pure, tmp_path):
    made = platform_wheel(pure, b"library", MACHINES[0], tmp_path / "out")
    with pytest.raises(UsageError, match="a pure wheel"):
        platform_wheel(made, b"library", MACHINES[0], tmp_path)


def test_without_its_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeosr\[wheels\]'"):
        cross_compiled("aarch64", tmp_path / "lib.so", objects=tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(module, "build", lambda out, **_: out.write_bytes(bytes(1 + (1 << 20))))
    with pytest.raises(UsageError, match="must have at most 1048576 bytes; got 1048577"):
        cross_compiled("x86_64", tmp_path / "lib.so", objects=tmp_path)
