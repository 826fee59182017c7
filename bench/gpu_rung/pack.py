"""``make gpu-pack``: one archive with all that the rung needs on a machine without internet. Needs no GPU.

    python -m edgeosr.bench.gpu_rung.pack [--jetson] --wheel dist/edgeosr-*.whl --bundle NAME.edgeosr

It holds ``start_here.py``, the wheels of wheels.py and the product's own with its cubins, the builds that
stop after a phase, a small bundle, and the tests marked gpu with their double of an engine.
"""

import argparse
import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeosr.bench.gpu_rung import start_here
from edgeosr.bench.gpu_rung.wheels import CARDS, JETSON, Kind
from edgeosr.bundle.directory import read_bundle
from edgeosr.errors import DataError, EdgeosrError, UsageError
from edgeosr.files import atomic_file
from edgeosr.kernels.build.ahead import BUILDS, SOURCE_FILE
from edgeosr.kernels.build.phases import PHASES, build_phases
from edgeosr.kernels.build.sources import device_source
from edgeosr.program.run import run_program

MOST_MIB = 55
TOP = "edgeosr-gpu"
ROOT = Path(__file__).resolve().parents[2]
# Of tests/gpu: what runs on a card. The doubles of a card stay at home.
TESTS = ("conftest.py", "lose_the_device.py", "stand_in.py", "test_engine_runner_on_a_card.py")
Download = Callable[[Kind, Path], None]
BuildPhases = Callable[[Kind, Path], None]


@dataclass(frozen=True)
class Packed:
    """The archive: where it is, its bytes, and how many files it has."""

    path: Path
    bytes: int
    files: int


def pack(
    kind: Kind,
    wheel: Path,
    bundle: Path,
    out: Path,
    work: Path,
    *,
    download: "Download | None" = None,
    build: "BuildPhases | None" = None,
    tests: Path = ROOT / "tests" / "gpu",
) -> Packed:
    """Write the archive.

    Args:
        kind: of machine.
        wheel: the product's, with its cubins.
        bundle: a small one with a typed backbone, for TensorRT where there is one.
        out: folder of the archive.
        work: folder for wheels and phase builds, which are kept from one time to the next.
        download: brings the kind's wheels into a folder; None: pip.
        build: makes the kind's phase builds in a folder; None: the compilers.
        tests: folder of the tests marked gpu.

    Raises:
        UsageError: the wheel is none, or was made of another kernel source.
        KernelBuildError: a compiler is missing or fails.
        DataError: a wheel cannot be had, or the archive would be too large; none is written.
        StorageError: it cannot be written.
    """
    require_cubins(wheel)
    require_typed(bundle)
    wheels, phases = work / f"wheels-{kind.name}", work / f"phases-{kind.name}"
    wheels.mkdir(parents=True, exist_ok=True)
    (download or download_wheels)(kind, wheels)
    (build or make_phases)(kind, phases)
    about = {"title": kind.title, "python": kind.python, "has": kind.has, "source": device_source().digest}
    members: dict[str, Path | bytes] = {
        "start_here.py": Path(start_here.__file__),
        "about.json": (json.dumps(about, indent=1) + "\n").encode(),
        f"wheels/{wheel.name}": wheel,
        **{f"wheels/{path.name}": path for path in wanted_wheels(kind, wheels)},
        **{f"tests/gpu/{name}": tests / name for name in TESTS},
    }
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        members[f"bundles/small.edgeosr/{path.relative_to(bundle).as_posix()}"] = path
    for stop in PHASES:
        for path in sorted((phases / f"stop{stop}").iterdir()):
            members[f"phases/stop{stop}/{path.name}"] = path
    target = out / f"{TOP}-{kind.name}.tar.gz"
    with atomic_file(target) as file:
        # Without a time: the same content gives the same archive.
        with (
            gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as squeezed,
            tarfile.open(fileobj=squeezed, mode="w") as archive,
        ):
            for name, content in members.items():
                _add(archive, f"{TOP}/{name}", content)
        size = file.tell()
        if size > MOST_MIB * 2**20:
            raise DataError(
                f"the archive would have {size / 2**20:.1f} MiB, more than {MOST_MIB}; take wheels off the "
                "list of edgeosr/bench/gpu_rung/wheels.py"
            )
    return Packed(target, size, len(members))


def require_typed(bundle: Path) -> None:
    """Raise unless ``bundle`` is one that can be read and has a typed backbone.

    Raises:
        BundleError: it cannot be read.
        UsageError: it has no backbone.
    """
    if read_bundle(bundle).manifest.backbone is None:
        raise UsageError(
            f"{bundle} must have a typed backbone; export one with: edgeosr export --engine fp32"
        )


def require_cubins(wheel: Path) -> None:
    """Raise UsageError unless ``wheel`` is the product's, with builds of the present kernel source."""
    try:
        with zipfile.ZipFile(wheel) as content:
            found = content.read(f"edgeosr/kernels/cubins/{SOURCE_FILE}").decode().strip()
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise UsageError(
            f"{wheel} must be the product's wheel with its kernel builds; run: make wheel"
        ) from error
    if found != device_source().digest:
        raise UsageError(
            f"{wheel} must hold builds of the kernel source {device_source().digest[:12]}; it has those of "
            f"{found[:12]}; run: make wheel"
        )


def download_wheels(kind: Kind, folder: Path) -> None:
    """Let pip bring what ``folder`` lacks of the kind's wheels.

    Raises:
        DataError: pip could not.
    """
    missing = [pin for pin in kind.wheels if not list(folder.glob(_pattern(pin)))]
    if not missing:
        return
    platforms = [word for tag in kind.platforms for word in ("--platform", tag)]
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", kind.python, *platforms]
    done = subprocess.run(
        [*words, "--dest", str(folder), *missing], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DataError(
            f"pip could not bring the wheels {', '.join(missing)} for Python {kind.python}: "
            f"{done.stderr.strip()[-300:]}; look at the list in edgeosr/bench/gpu_rung/wheels.py"
        )


def wanted_wheels(kind: Kind, folder: Path) -> list[Path]:
    """Return the kind's wheels in ``folder``, and no other that lies there.

    Raises:
        DataError: one is not there.
    """
    found = []
    for pin in kind.wheels:
        paths = sorted(folder.glob(_pattern(pin)))
        if not paths:
            raise DataError(
                f"{folder} must hold a wheel of {pin}; delete the folder, and make the archive again"
            )
        found.append(paths[0])
    return found


def make_phases(kind: Kind, folder: Path) -> None:
    """Build the kind's phase builds, unless ``folder`` has them of the present source."""
    digest = device_source().digest
    builds = [build for build in BUILDS if build.architecture in kind.architectures and not build.ptx]
    names = {build.file_name for build in builds} | {SOURCE_FILE}
    for stop in PHASES:
        place = folder / f"stop{stop}"
        have = {path.name for path in place.iterdir()} if place.is_dir() else set()
        if not names <= have or (place / SOURCE_FILE).read_text("utf-8").strip() != digest:
            for path in build_phases(folder, builds):
                print(f"built {path.parent.name}/{path.name}", file=sys.stderr, flush=True)
            return


def _pattern(pin: str) -> str:
    """Return what a pin's file is called; letters of a name may have either case."""
    name, _, version = pin.partition("==")
    letters = "".join(
        f"[{c.lower()}{c.upper()}]" if c.isalpha() else "[-_.]" if c in "-_." else c for c in name
    )
    return f"{letters}-{version}-*.whl"


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    """Add a file without owner and time."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description="Write the archive of the hardware rung."
    )
    parser.add_argument("--jetson", action="store_true", help=f"for {JETSON.title}, not {CARDS.title}")
    parser.add_argument("--wheel", type=Path, required=True, help="the product's, of make wheel")
    parser.add_argument("--bundle", type=Path, required=True, help="a small one with a typed backbone")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder of the archive")
    parser.add_argument("--work", type=Path, default=Path("build/gpu-pack"), help="kept between times")
    options = parser.parse_args(arguments)
    kind = JETSON if options.jetson else CARDS
    try:
        made = pack(kind, options.wheel, options.bundle, options.out, options.work)
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{made.path}: {made.bytes / 2**20:.1f} MiB, {made.files} files, for {kind.title}")
    print(f"it needs {kind.has}")
    print(f"there: tar xf {made.path.name} && python{kind.python} {TOP}/start_here.py")
    return 0


if __name__ == "__main__":
    run_program(main)
