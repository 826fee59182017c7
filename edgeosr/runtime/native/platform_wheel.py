"""Wheels that carry ``libedgeosr``: ``python -m edgeosr.runtime.native.platform_wheel PURE.whl``.

The pure wheel stays as it is; beside it comes one for each machine, with the library in it and a tag that
says so. They are compiled with the compiler of the package ziglang (the extra ``wheels``), which brings the C
library of any glibc along: 2.28, so that the wheel runs on JetPack 5 and 6, Debian 10 and later.
"""

import argparse
import base64
import hashlib
import importlib.util
import os
import sys
import zipfile
from pathlib import Path

from edgeosr.errors import EdgeosrError, MissingDependencyError, UsageError
from edgeosr.files import require_place
from edgeosr.program.run import run_program
from edgeosr.runtime.native.build import build, kept_objects

GLIBC = (2, 28)
MACHINES = ("x86_64", "aarch64")
LIBRARY = "edgeosr/runtime/native/libedgeosr.so"
# Bytes of the library, at most.
LARGEST_LIBRARY = 1 << 20
# Of every file in a wheel: what a zip can hold at least, so that bytes depend on contents alone.
_TIME = (1980, 1, 1, 0, 0, 0)


def cross_compiled(machine: str, out: Path, *, objects: Path) -> Path:
    """Compile the library for a machine of ``MACHINES``; return ``out``.

    Raises:
        MissingDependencyError: the package ziglang is not installed.
        UsageError: a source was refused, or the library is larger than ``LARGEST_LIBRARY``.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise MissingDependencyError(
            "compiling libedgeosr for other machines needs the package ziglang, which is not installed; run: "
            "pip install 'edgeosr[wheels]'"
        )
    target = f"{machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
    compiler = (sys.executable, "-m", "ziglang", "c++", "-target", target)
    # The table of names that loaders of glibc have not read since 2006 is left out.
    link = ("-ldl", "-Wl,--hash-style=gnu")
    build(out, objects=objects, compiler=compiler, flags=("-O2", "-g0", "-s"), link=link)
    size = os.path.getsize(out)
    if size > LARGEST_LIBRARY:
        raise UsageError(f"libedgeosr for {machine} must have at most {LARGEST_LIBRARY} bytes; got {size}")
    return out


def platform_wheel(pure: Path, library: bytes, machine: str, out: Path) -> Path:
    """Write the wheel of a machine.

    Args:
        pure: the pure wheel, ``edgeosr-VERSION-py3-none-any.whl``.
        library: the bytes of ``libedgeosr.so`` for that machine.
        machine: of ``MACHINES``.
        out: the folder to write into.

    Returns:
        The wheel's path; the same bytes for the same contents.

    Raises:
        UsageError: ``pure`` is no pure wheel.
    """
    name, version, *tag = pure.name[: -len(".whl")].split("-")
    if tag != ["py3", "none", "any"]:
        raise UsageError(f"a pure wheel (NAME-VERSION-py3-none-any.whl) is needed; got {pure.name}")
    platform = f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{machine}"
    information = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(pure) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist() if not entry.endswith("/")}
    wheel = files[f"{information}/WHEEL"].decode("utf-8")
    wheel = wheel.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    files[f"{information}/WHEEL"] = wheel.replace("Tag: py3-none-any", f"Tag: py3-none-{platform}").encode()
    files[LIBRARY] = library
    record = f"{information}/RECORD"
    del files[record]
    lines = [f"{entry},sha256={_digest(data)},{len(data)}" for entry, data in files.items()]
    files[record] = ("\n".join([*lines, f"{record},,"]) + "\n").encode()
    made = out / f"{name}-{version}-py3-none-{platform}.whl"
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in files.items():
            written = zipfile.ZipInfo(entry, _TIME)
            written.external_attr = (0o755 if entry == LIBRARY else 0o644) << 16
            written.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(written, data)
    return made


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode("ascii").rstrip("=")


def main() -> int:
    """Compile for all machines, and write their wheels."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m edgeosr.runtime.native.platform_wheel", description=__doc__
    )
    parser.add_argument("pure", type=Path, help="the pure wheel")
    parser.add_argument("--machine", choices=MACHINES, action="append", help="this one only; default: all")
    parser.add_argument(
        "--objects", type=Path, default=kept_objects(), help="a folder for objects; default: %(default)s"
    )
    parser.add_argument("--out", type=Path, help="the folder for the wheels; default: beside the pure one")
    arguments = parser.parse_args()
    try:
        for folder in (arguments.objects, arguments.out or arguments.pure.parent):
            require_place(folder, folder=True)
        for machine in arguments.machine or MACHINES:
            library = arguments.objects / machine / "libedgeosr.so"
            data = cross_compiled(machine, library, objects=arguments.objects).read_bytes()
            print(platform_wheel(arguments.pure, data, machine, arguments.out or arguments.pure.parent))
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    run_program(main)
