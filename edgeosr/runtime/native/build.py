"""Builds ``libedgeosr`` with a C++17 compiler alone: ``python -m edgeosr.runtime.native.build``.

CMake (``CMakeLists.txt`` beside this) builds the same; this is for a checkout, for tests and for wheels.
Objects are kept by the content of what they are made of.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgeosr import __version__
from edgeosr.errors import EdgeosrError, MissingDependencyError, UsageError
from edgeosr.files import require_place
from edgeosr.kernels.build.images import cache_folder
from edgeosr.program.run import run_program
from edgeosr.runtime.native.library import ABI

HERE = Path(__file__).parent
LIBRARY = HERE / "libedgeosr.so"
CHECKOUT = HERE.parents[2]
# Of a checkout, from its root.
OBJECTS = Path("build") / "native-objects"
COMPILERS = ("c++", "g++", "clang++")
WARNINGS = ("-Wall", "-Wextra", "-Werror")
COMPILED = (
    *("-std=c++17", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-pthread"),
    f'-DEDGEOSR_VERSION="{__version__}"',
)
# What a program that was linked with the library looks for: another one where it must be compiled anew.
SONAME = f"libedgeosr.so.{ABI}"
LINKED = ("-shared", "-pthread", "-Wl,--as-needed", "-Wl,-z,relro", "-Wl,-z,now")
# Nothing but the functions of edgeosr.h is seen from outside, the C++ library's templates least of all.
NAMED = (f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={HERE / 'src' / 'libedgeosr.map'}")
PLAIN = ("-O2", "-g0")
HEADERS = (HERE / "include", HERE / "src")


def kept_objects() -> Path:
    """Return where objects are kept unless told: never in the folder that one happens to be in."""
    if (CHECKOUT / "pyproject.toml").is_file():
        return CHECKOUT / OBJECTS
    return cache_folder() / OBJECTS.name


def sources() -> list[Path]:
    """Return every source of the library."""
    return sorted((HERE / "src").rglob("*.cpp"))


def build(
    out: Path,
    *,
    objects: Path,
    more: Sequence[Path] = (),
    only: Sequence[Path] | None = None,
    folders: Sequence[Path] = (),
    extra: Sequence[str] = (),
    named: Sequence[str] = NAMED,
    compiler: Sequence[str] | None = None,
    flags: Sequence[str] = PLAIN,
    link: Sequence[str] = ("-ldl",),
) -> Path:
    """Compile what has changed, and link.

    Args:
        out: the library's file.
        objects: a folder for objects, which may be shared by builds with other flags.
        more: sources beside the library's.
        only: sources in place of the library's, for another library.
        folders: of ours where sources that are not the library's find headers too.
        extra: flags of those sources alone, so that the library's are not compiled twice.
        named: of the linker: its name and what is seen from outside.
        compiler: command and arguments; None: the variable ``CXX``, or the first of
            ``COMPILERS`` that is here.
        flags: of the compiler and the linker.
        link: of the linker alone.

    Returns:
        ``out``.

    Raises:
        MissingDependencyError: there is no compiler.
        UsageError: it refused a source; the message holds its words.
    """
    command = list(compiler or _compiler())
    version, own = _version(command), set(sources())
    objects.mkdir(parents=True, exist_ok=True)

    def compiled(source: Path) -> Path:
        more_flags, more_folders = ((), ()) if source in own else (tuple(extra), folders)
        given = (*COMPILED, *WARNINGS, *flags, *more_flags)
        name = hashlib.sha256(repr((command, version, given)).encode())
        for path in _included(source, more_folders):
            name.update(path.name.encode() + path.read_bytes())
        made = objects / f"{source.stem}-{name.hexdigest()[:24]}.o"
        if not made.exists():
            temporary = made.with_suffix(f".{os.getpid()}.tmp")
            seen = [f"-I{folder}" for folder in (*HEADERS, *more_folders)]
            _run([*command, *given, *seen, "-c", str(source), "-o", str(temporary)])
            temporary.replace(made)
        return made

    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        made = list(pool.map(compiled, (*(sources() if only is None else only), *more)))
    out.parent.mkdir(parents=True, exist_ok=True)
    place = Path(os.path.realpath(out))  # a link stays a link
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    _run([*command, *flags, *LINKED, *named, *map(str, made), *link, "-o", str(temporary)])
    temporary.replace(place)
    return out


def _included(source: Path, folders: Sequence[Path]) -> list[Path]:
    """Return a source and every file of ours that it includes, itself or through others."""
    found, left = [], [source]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.append(path)
        for name in re.findall(r'^#include ["<]([^">]+)[">]', path.read_text("utf-8"), re.MULTILINE):
            places = (path.parent / name, *(folder / name for folder in (*HEADERS, *folders)))
            left += [place for place in places if place.exists()][:1]
    return found


def _compiler() -> list[str]:
    named = os.environ.get("CXX")
    if named:
        return named.split()
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise MissingDependencyError(
        "building libedgeosr needs a C++17 compiler, and none was found; install one (apt install g++), or "
        "name it in the variable CXX"
    )


def _version(command: list[str]) -> str:
    """Return what a compiler says of itself: another one makes other objects."""
    try:
        return subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    except OSError as error:
        raise MissingDependencyError(
            f"the compiler {command[0]} cannot be started: {error}; install it, or name another in the "
            "variable CXX"
        ) from error


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise UsageError(f"{command[0]} could not build libedgeosr: {done.stderr.strip()[-4000:]}")


def main() -> int:
    """Build it beside this file, where Python finds it."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m edgeosr.runtime.native.build",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=LIBRARY, help="the library's file")
    parser.add_argument(
        "--objects",
        type=Path,
        default=kept_objects(),
        help="a folder where objects are kept for the next time",
    )
    arguments = parser.parse_args()
    try:
        require_place(arguments.out, folder=False)
        require_place(arguments.objects, folder=True)
        print(build(arguments.out, objects=arguments.objects))
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    run_program(main)
