"""What the compilers make of the kernel, measured without a GPU; run as a program it rewrites the budgets.

    python tests/kernels/compile_gate.py [BUILD ...]

Cubins are kept in build/gate by the digest of source, compiler and flags.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from kernel_entries import CLUSTER_ENTRIES, ENTRIES

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.ahead import BUILDS as AHEAD
from edgeosr.kernels.build.nvrtc import FLAGS as NVRTC_FLAGS
from edgeosr.kernels.build.nvrtc import newest_nvrtc
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.build.toolchain import FLAGS, PTXAS_FLAGS, find_nvcc, run_tool

ROOT = Path(__file__).resolve().parents[2]
BUDGETS = ROOT / "kernels" / "budgets"
CACHE = ROOT / "build" / "gate"
# (threads, shared memory, largest shared memory of a block) of a multiprocessor; CUDA C++ Programming Guide,
# table "Technical Specifications per Compute Capability".
MULTIPROCESSORS = {
    "sm_72": (2048, 98304, 98304),
    "sm_75": (1024, 65536, 65536),
    "sm_87": (1536, 167936, 166912),
    "sm_89": (1536, 102400, 101376),
    "sm_90": (2048, 233472, 232448),
    "sm_110": (2048, 233472, 232448),
    "sm_120": (1536, 102400, 101376),
}
# The cubins that are shipped; those whose drivers cannot load what nvcc 13 writes name their NVRTC.
BUILDS = tuple(
    build.target if build.toolkit >= (13, 0) else "{}-nvrtc{}.{}".format(build.target, *build.toolkit)
    for build in AHEAD
    if not build.ptx
)


@dataclass(frozen=True)
class Entry:
    """One entry's resources; instruction counts are None where nothing disassembles (sm_72)."""

    registers: int
    static_shared: int
    spills: int
    stack: int
    local_instructions: int | None
    tensor_instructions: int | None
    wide_loads: int | None  # LDG of 16 bytes and LDGSTS of 16 bytes


def measured(build: str) -> dict[str, Entry]:
    """Compile and read the resources of every entry that is there.

    Raises:
        KernelBuildError: it does not compile without a warning.
    """
    cubin, report = _compiled(build)
    sass = None if build.startswith("sm_72") else _functions(_disassembly(cubin))
    found = {}
    for name, words in _reports(report).items():
        code = None if sass is None else sass[name]
        found[name] = Entry(
            registers=_number(r"Used (\d+) registers", words),
            static_shared=_number(r"(\d+) bytes smem", words),
            spills=_number(r"(\d+) bytes spill stores", words) + _number(r"(\d+) bytes spill loads", words),
            stack=_number(r"(\d+) bytes stack frame", words),
            local_instructions=_count(r"\b(LDL|STL)\b", code),
            tensor_instructions=_count(r"\bHMMA\.", code),
            wide_loads=_count(r"\bLDG\.\S*128\b|\bLDGSTS\.\S*128\b", code),
        )
    known = (*ENTRIES, *CLUSTER_ENTRIES)
    assert set(found) <= set(known)
    return {name: found[name] for name in known if name in found}


def cubin_of(build: str) -> Path:
    """Return the cubin of a build, compiled if need be."""
    return _compiled(build)[0]


def blocks_per_multiprocessor(build: str, registers: int, threads: int, shared_bytes: int) -> int:
    """Return resident blocks by NVIDIA's own cuda_occupancy.h."""
    program = _occupancy_program()
    arch = build.split("-")[0]
    major, minor = arch[3:-1], arch[-1]
    words = (major, minor, *MULTIPROCESSORS[arch], threads, registers, shared_bytes)
    done = subprocess.run([program, *map(str, words)], check=True, capture_output=True, text=True)
    return int(done.stdout)


def budget(build: str) -> dict[str, dict[str, int]]:
    """Return the committed budget: per entry, the most registers and the fewest wide loads."""
    content = json.loads((BUDGETS / f"{build}.json").read_text("utf-8"))
    return {name: dict(entry) for name, entry in content["entries"].items()}


def measured_in_parallel() -> dict[str, "dict[str, Entry] | KernelBuildError"]:
    """Measure all builds, two at a time; a failure is a value."""

    def attempt(build: str) -> "dict[str, Entry] | KernelBuildError":
        try:
            return measured(build)
        except KernelBuildError as error:
            return error

    # NVRTC compiles inside this process without the interpreter's lock, nvcc in its own.
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(BUILDS, pool.map(attempt, BUILDS), strict=True))


def _compiled(build: str) -> tuple[Path, str]:
    arch, _, nvrtc = build.partition("-nvrtc")
    source = device_source()
    if nvrtc:
        flags, version = NVRTC_FLAGS, nvrtc
    else:
        flags, version = (*FLAGS, *PTXAS_FLAGS), find_nvcc().version
    key = hashlib.sha256(repr((source.digest, build, version, flags)).encode()).hexdigest()[:24]
    cubin, report = CACHE / f"{key}-{build}.cubin", CACHE / f"{key}-{build}.txt"
    if not report.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        if nvrtc:
            major, minor = map(int, nvrtc.split("."))
            library = newest_nvrtc((major, minor))
            assert library.version == (major, minor), f"NVRTC {nvrtc} is not installed: {library.version}"
            done = library.compile(source, arch)
            cubin.write_bytes(done.image)
            text = done.log
        else:
            text = find_nvcc().cubin(arch, cubin)
        report.write_text(text)
    return cubin, report.read_text("utf-8")


def _disassembly(cubin: Path) -> str:
    wheels = (Path(root) / "nvidia" / "cu13" / "bin" / "nvdisasm" for root in sys.path)
    tool = next((path for path in wheels if path.is_file()), shutil.which("nvdisasm"))
    assert tool, "nvdisasm was not found; run: pip install 'edgeosr[dev]'"
    done = run_tool([tool, "-c", cubin])
    assert not done.returncode, f"nvdisasm refuses {cubin.name}:\n{done.stderr}"
    return done.stdout


def _reports(text: str) -> dict[str, str]:
    """Split ptxas's report by entry."""
    parts = re.split(r"Compiling entry function '(\w+)' for '\w+'", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _functions(sass: str) -> dict[str, str]:
    """Split nvdisasm's listing by function."""
    parts = re.split(r"^\s*\.section\s+\.text\.(\w+)", sass, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match[1]) if match else 0


def _count(pattern: str, text: str | None) -> int | None:
    return None if text is None else len(re.findall(pattern, text))


def _occupancy_program() -> Path:
    source = Path(__file__).with_name("occupancy.cpp")
    target = CACHE / f"occupancy-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["g++", "-std=c++17", "-O1", f"-isystem{find_nvcc().include}", source, "-o", target],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        assert done.returncode == 0, done.stderr
    return target


def _write_budget(build: str) -> int:
    """Write one budget; return the bytes that were spilled, 1 if it does not compile."""
    try:
        entries = measured(build)
    except KernelBuildError as error:
        print(f"{build}: {error}", flush=True)
        return 1
    kept = {
        name: {"registers": entry.registers, **({"wide_loads": entry.wide_loads} if entry.wide_loads else {})}
        for name, entry in entries.items()
    }
    (BUDGETS / f"{build}.json").write_text(json.dumps({"build": build, "entries": kept}, indent=2) + "\n")
    for name, entry in entries.items():
        print(build, name, asdict(entry), flush=True)
    return sum(entry.spills for entry in entries.values())


def _write_budgets(builds: list[str]) -> int:
    BUDGETS.mkdir(exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        return min(1, sum(pool.map(_write_budget, builds)))


if __name__ == "__main__":
    sys.exit(_write_budgets(sys.argv[1:] or list(BUILDS)))
