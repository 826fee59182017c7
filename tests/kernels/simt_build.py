"""Compile CUDA sources for the CPU with the SIMT shim, and keep the results in build/simt by content."""

import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "kernels" / "simt"
DEVICE = ROOT / "kernels" / "src"
CACHE = ROOT / "build" / "simt"
RUNTIME = (
    "machine.cpp",
    "warp.cpp",
    "memory.cpp",
    "workspace.cpp",
    "cluster.cpp",
    "mail.cpp",
    "fiber.cpp",
    "harness.cpp",
)
WARNINGS = ("-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Werror")


@dataclass(frozen=True)
class Build:
    """How to compile: flags of the kernel, of the runtime, of the link; extra sources; library or program.

    The runtime is never instrumented: only the kernel's own accesses are to be judged.
    """

    kernel: tuple[str, ...]
    runtime: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    program: bool = False


PLAIN = Build(kernel=("-O2",))
COUNTING = Build(
    kernel=("-O2", "-g", "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"),
    runtime=("-DEDGEOSR_SIMT_COUNT",),
    extra=("counters.cpp",),
)
_ADDRESS = "-fsanitize=address,undefined,float-cast-overflow"
ADDRESS = Build(
    kernel=("-O1", "-g", _ADDRESS, "-fno-sanitize-recover=all"),
    runtime=("-DEDGEOSR_SIMT_ASAN",),
    link=(_ADDRESS,),
    extra=("case_main.cpp",),
    program=True,
)
THREAD = Build(
    kernel=("-O1", "-g", "-fsanitize=thread"),
    runtime=("-DEDGEOSR_SIMT_TSAN",),
    link=("-fsanitize=thread",),
    extra=("case_main.cpp",),
    program=True,
)


def built(
    source: Path,
    build: Build = PLAIN,
    *,
    device: Path = DEVICE,
    defines: Sequence[str] = (),
    headers: Sequence[Path] = (),
) -> Path:
    """Compile ``source`` with the shim; return the shared library or the program.

    Args:
        source: a .cpp or .cu file that includes kernels and defines ``simt::entries``.
        build: one of the builds above.
        device: the folder of the device sources (mutants have their own).
        defines: NAME=VALUE macros.
        headers: files from elsewhere that they name.
    """
    folders = sorted({f"-I{header.parent}" for header in headers})
    flags = (*_machine_flags(), *(f"-D{define}" for define in defines), *folders, *build.kernel)
    sources = (source, *sorted(SHIM.glob("*.h")), *sorted(device.glob("*.cu*")), *headers)
    parts = [_runtime_object(SHIM / name, build.runtime) for name in (*RUNTIME, *build.extra)]
    parts.append(_object(source, (*flags, "-DEDGEOSR_SIMT", *build.runtime, f"-I{device}"), sources))
    target = CACHE / (_digest([str(parts), str(build.link)], ()) + (".run" if build.program else ".so"))
    if not target.exists():
        shape = () if build.program else ("-shared",)
        _compile(target, (*shape, *map(str, parts), *build.link, "-ldl"))
    return target


def compiled_in_parallel(jobs: Sequence[functools.partial[Path]]) -> list[Path | AssertionError]:
    """Run several ``partial(built, ...)``, two at a time, for g++ takes seconds; failures are returned."""

    def attempt(job: functools.partial[Path]) -> Path | AssertionError:
        try:
            return job()
        except AssertionError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(attempt, jobs))


def _runtime_object(source: Path, flags: tuple[str, ...]) -> Path:
    return _object(source, (*_machine_flags(), "-O2", *flags), (source, *sorted(SHIM.glob("*.h"))))


def _object(source: Path, flags: tuple[str, ...], inputs: Sequence[Path]) -> Path:
    target = CACHE / (_digest(list(flags), inputs) + f"-{source.stem}.o")
    if not target.exists():
        language = ("-x", "c++") if source.suffix == ".cu" else ()
        common = ("-std=c++17", "-fPIC", "-ffp-contract=off", *WARNINGS, f"-I{SHIM}")
        _compile(target, (*common, *flags, "-c", *language, str(source)))
    return target


@functools.cache
def _machine_flags() -> tuple[str, ...]:
    """Hardware fmaf, where there is one: the same bits as the library's, ten times as fast."""
    if platform.machine() != "x86_64":
        return ()
    words = Path("/proc/cpuinfo").read_text("utf-8").split() if Path("/proc/cpuinfo").exists() else []
    return ("-mfma",) if "fma" in words else ()


@functools.cache
def _compiler() -> str:
    name = os.environ.get("CXX", "g++")
    return name


@functools.cache
def _compiler_version() -> str:
    return subprocess.run([_compiler(), "--version"], check=True, capture_output=True, text=True).stdout


def _digest(words: Sequence[str], inputs: Sequence[Path]) -> str:
    digest = hashlib.sha256(_compiler_version().encode())
    for word in words:
        digest.update(word.encode() + b"\0")
    for path in inputs:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


def _compile(target: Path, arguments: Sequence[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    done = subprocess.run(
        [_compiler(), *arguments, "-o", str(partial)], capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        raise AssertionError(f"{_compiler()} failed for {target.name}:\n{done.stderr[:6000]}")
    partial.replace(target)
