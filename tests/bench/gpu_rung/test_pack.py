"""The archive: what is in it, what is refused, and that it starts where nothing of ours is installed."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeosr.bench.gpu_rung import pack as packing
from edgeosr.bench.gpu_rung import start_here
from edgeosr.bench.gpu_rung.pack import TESTS, pack, require_cubins, wanted_wheels
from edgeosr.bench.gpu_rung.wheels import CARDS, JETSON, Kind
from edgeosr.errors import BundleError, DataError, UsageError
from edgeosr.kernels.build.ahead import BUILDS
from edgeosr.kernels.build.phases import PHASES
from edgeosr.kernels.build.sources import device_source

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
TINY = replace(CARDS, wheels=("Some.Thing==1.0",), python=HERE)
# In the product's place: says what it was started with, and that the other wheel is there too.
PRODUCT = """
import some_thing, subprocess, sys
print(some_thing.__file__.rsplit("/", 2)[1], *sys.argv[1:])
subprocess.run([sys.executable, "-m", "edgeosr.bench.gpu_rung.card"], check=True)  # as a step is started
sys.exit(7)
"""


def zipped(path: Path, members: dict[str, str]) -> Path:
    """A wheel whose bytes do not depend on the time."""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in members.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return path


def product_wheel(folder: Path, digest: str) -> Path:
    room = "edgeosr/bench/gpu_rung"
    members = {f"{name}/__init__.py": "" for name in ("edgeosr", "edgeosr/bench", room)}
    members |= {
        f"{room}/card.py": "",
        f"{room}/__main__.py": PRODUCT,
        "edgeosr/kernels/cubins/source.sha256": digest + "\n",
    }
    return zipped(folder / "edgeosr-0.1.0-py3-none-any.whl", members)


def download(kind: Kind, folder: Path) -> None:
    there = {f"{name}/__init__.py": "" for name in ("numpy", "torch", "cuda", "cuda/bindings")}
    members = {"some_thing.py": "", "cuda/bindings/driver.py": "", **there}  # in the machine's own place
    zipped(folder / "some_thing-1.0-py3-none-any.whl", members)
    (folder / "left_over-2.0-py3-none-any.whl").write_bytes(b"of an older list")


def bundle(folder: Path) -> Path:
    path = folder / "tiny.edgeosr"
    path.mkdir(exist_ok=True)
    (path / "manifest.json").write_text("{}", "utf-8")
    return path


def build(kind: Kind, folder: Path) -> None:
    for stop in PHASES:
        (folder / f"stop{stop}").mkdir(parents=True, exist_ok=True)
        (folder / f"stop{stop}" / "a.cubin").write_bytes(b"cubin")


def packed(tmp_path: Path, kind: Kind = TINY) -> packing.Packed:
    wheel = product_wheel(tmp_path, device_source().digest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "require_typed", lambda bundle: None)
        places = (bundle(tmp_path), tmp_path / "dist", tmp_path / "work")
        return pack(kind, wheel, *places, download=download, build=build)


def test_the_archive_holds_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    made = packed(tmp_path)
    assert made.path.name == "edgeosr-gpu-cards.tar.gz" and made.bytes == made.path.stat().st_size
    with tarfile.open(made.path) as archive:
        names = {name.removeprefix("edgeosr-gpu/") for name in archive.getnames()}
    assert names == {
        "start_here.py",
        "about.json",
        "wheels/edgeosr-0.1.0-py3-none-any.whl",
        "wheels/some_thing-1.0-py3-none-any.whl",
        "bundles/small.edgeosr/manifest.json",
        *(f"tests/gpu/{name}" for name in TESTS),
        *(f"phases/stop{stop}/a.cubin" for stop in PHASES),
    }


def test_the_same_content_gives_the_same_archive(tmp_path: Path) -> None:
    first = packed(tmp_path).path.read_bytes()
    for path in (tmp_path / "work").rglob("*.cubin"):
        os.utime(path, (1, 1))
    assert packed(tmp_path).path.read_bytes() == first


def test_it_starts_where_nothing_of_ours_is_installed(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    with tarfile.open(packed(tmp_path).path) as archive:
        archive.extractall(there, filter="data")
    words = [sys.executable, "-S", "-E", str(there / "edgeosr-gpu" / "start_here.py"), "--only", "kernel"]
    for _ in range(2):  # a second time it need not unzip
        done = subprocess.run(words, capture_output=True, text=True, cwd=there)
        assert done.returncode == 7, done.stderr
        said = done.stdout.split()
        assert said[0] == "site" and said[1:3] == ["--folder", str(there / "edgeosr-gpu")]
        assert said[3] == "--out" and re.fullmatch(r"gpu-[a-z0-9-]+\.json", Path(said[4]).name)
        assert said[5:] == ["--only", "kernel"]
    about = json.loads((there / "edgeosr-gpu" / "about.json").read_text("utf-8"))
    assert about["source"] == device_source().digest
    (there / "edgeosr-gpu" / "about.json").write_text(json.dumps({**about, "python": "3.9"}), "utf-8")
    done = subprocess.run(words, capture_output=True, text=True, cwd=there)
    assert done.returncode == 2 and f"for Python 3.9 ({CARDS.title}); this is Python {HERE}" in done.stderr


def test_it_starts_from_a_clone_s_root_whose_folder_has_the_product_s_name(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("edgeosr", "kernels"):  # not installed: no edgeosr/bench there
        (clone / name).mkdir(parents=True)
        (clone / name / "__init__.py").write_text("raise ImportError('the clone, not the wheel')", "utf-8")
    with tarfile.open(packed(tmp_path).path) as archive:
        archive.extractall(clone, filter="data")
    words = [sys.executable, "-S", "-E", "edgeosr-gpu/start_here.py", "--out", "mine/gpu.json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=clone)
    assert done.returncode == 7, done.stderr
    # A path that the user gives is from where he is, not from where the rung runs.
    assert done.stdout.split()[-2:] == ["--out", str(clone / "mine" / "gpu.json")]


def test_an_nvidia_smi_that_hangs_or_fails_does_not_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    program = tmp_path / "nvidia-smi"
    for script, name in (("exec sleep 30", "card"), ("exit 9", "card"), ('echo "NVIDIA $3"', "nvidia-id-3")):
        program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", "utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(start_here, "smi_name", functools.partial(SMI_NAME, 0.3))
        assert start_here.machine_name() == name
    program.chmod(0o644)
    assert start_here.machine_name() == "card"


SMI_NAME = start_here.smi_name


def test_an_archive_that_is_not_whole_and_a_python_that_lacks_torch_are_told_in_words(tmp_path: Path) -> None:
    with tarfile.open(packed(tmp_path).path) as archive:
        archive.extractall(tmp_path, filter="data")
    here = tmp_path / "edgeosr-gpu"
    words = [sys.executable, "-S", "-E", str(here / "start_here.py")]

    def said() -> str:
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
        return done.stderr

    wheel = here / "wheels" / "some_thing-1.0-py3-none-any.whl"
    zipped(wheel, {"some_thing.py": "", "numpy/__init__.py": ""})
    assert "lacks torch, cuda-bindings, which the archive does not bring" in said()
    wheel.write_bytes(b"torn")
    (here / "site" / "unzipped.json").write_text("{", "utf-8")
    assert "cannot be unzipped" in said() and "Unpack it again" in said()
    shutil.rmtree(here / "wheels")
    assert "no wheel in wheels/" in said()
    (here / "about.json").write_text("{}", "utf-8")
    assert "about.json of this archive cannot be read" in said()


def test_an_archive_that_is_too_large_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_MIB", 0.001)
    with pytest.raises(DataError, match=r"MiB, more than 0\.001; take wheels off the list"):
        packed(tmp_path)
    assert list((tmp_path / "dist").iterdir()) == []


def test_a_wheel_without_builds_of_this_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must hold builds of the kernel source"):
        require_cubins(product_wheel(tmp_path, "0" * 64))
    for wrong in ("no zip", None):
        path = tmp_path / "other.whl"
        path.unlink(missing_ok=True)
        if wrong:
            path.write_text(wrong, "utf-8")
        with pytest.raises(
            UsageError, match="must be the product's wheel with its kernel builds; run: make wheel"
        ):
            require_cubins(path)


def test_a_wheel_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold a wheel of Some.Thing==1.0; delete the folder"):
        wanted_wheels(TINY, tmp_path)
    words = ["--wheel", str(tmp_path / "none.whl"), "--bundle", str(tmp_path), "--work", str(tmp_path)]
    assert packing.main(words) == 2


def test_a_bundle_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        packing.require_typed(bundle(tmp_path))


@pytest.mark.parametrize("kind", [CARDS, JETSON], ids=lambda kind: kind.name)
def test_every_wheel_is_pinned_once_and_no_machine_s_own_is_among_them(kind: Kind) -> None:
    pins = [re.fullmatch(r"([a-z0-9-]+)==(\d[\w.]*)", pin) for pin in kind.wheels]
    names = [pin[1] for pin in pins if pin]
    assert len(names) == len(kind.wheels) == len(set(names)) and names == sorted(names)
    assert not set(names) & {"torch", "numpy", "edgeosr"}
    assert not set(names) & set(re.findall(r"[\w-]+", kind.has))
    known = {build.architecture for build in BUILDS}
    assert set(kind.architectures) <= known


def test_the_archive_s_tests_are_those_that_lie_in_their_folder() -> None:
    folder = packing.ROOT / "tests" / "gpu"
    stay = {"dry_machine.py", "dry_run.py", "tool_double.py"}
    there = {path.name for path in folder.iterdir() if path.is_file()}
    assert there == set(TESTS) | stay
    used = "".join((folder / name).read_text("utf-8") for name in TESTS if name.endswith(".py"))
    assert not re.search(
        r"^\s*(import|from) (cuda_double|cuda_streams|simt_|fused_|dry_)", used, re.MULTILINE
    )


def test_pip_is_asked_only_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(words: list[str], **_: Any) -> Any:
        asked.append(words)
        return subprocess.CompletedProcess(words, 1, "", "no matching distribution")

    monkeypatch.setattr(packing.subprocess, "run", run)
    (tmp_path / "ImageHash-4.3.2-py2.py3-none-any.whl").write_bytes(b"")
    with pytest.raises(DataError, match=r"could not bring the wheels iniconfig.*no matching distribution"):
        packing.download_wheels(CARDS, tmp_path)
    (words,) = asked
    assert "imagehash==4.3.2" not in words and "kornia==0.9.0" in words
    assert {"--no-deps", "--only-binary", "3.12", "manylinux2014_x86_64"} <= set(words)
