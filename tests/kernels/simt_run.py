"""Run a CUDA kernel's own source on the CPU: ctypes over kernels/simt/harness.h."""

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEDULES = {"forward": 0, "reverse": 1, "shuffled": 2}
ScheduleName = Literal["forward", "reverse", "shuffled"]
Array = NDArray[Any]


class SimtError(AssertionError):
    """The kernel misused the machine: block, thread, file:line, what."""


class _Run(ctypes.Structure):
    _fields_ = [
        ("blocks", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("dynamic_shared_bytes", ctypes.c_uint64),
        ("schedule", ctypes.c_int32),
        ("cluster", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_uint64),
    ]


class _Counts(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("switches", "barriers", "warp_operations", "multiplications")]


class _CountedArray(ctypes.Structure):
    _fields_ = [
        ("begin", ctypes.c_void_p),
        *(
            (n, ctypes.c_uint64)
            for n in ("bytes", "load_requests", "load_sectors", "store_requests", "store_sectors")
        ),
    ]


class _Shared(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("requests", "wavefronts", "compulsory")]


class _Conflict(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("offset", "requests", "excess")]


@dataclass(frozen=True)
class Shape:
    """A launch: blocks, threads of a block, bytes of its dynamic shared memory, and blocks of a cluster."""

    blocks: int
    threads: int
    shared_bytes: int = 0
    cluster: int = 1


@dataclass(frozen=True)
class Traffic:
    """Counts of one array: warps' requests, and 32-byte sectors of them."""

    load_requests: int
    load_sectors: int
    store_requests: int
    store_sectors: int


@dataclass(frozen=True)
class Report:
    """What a counted launch asked of the memories; ``conflicts``: excess wavefronts by file:line."""

    arrays: dict[str, Traffic]
    shared_requests: int
    shared_wavefronts: int
    shared_compulsory: int
    conflicts: dict[str, int]


class Library:
    """Kernels built by ``simt_build.built`` as a shared library."""

    def __init__(self, path: Path):
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._run = self._library.edgeosr_simt_run
        self._run.restype = ctypes.c_char_p
        self._run.argtypes = [
            ctypes.c_char_p,
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.POINTER(_Run),
            ctypes.POINTER(_Counts),
        ]

    def run(
        self,
        entry: str,
        parameters: bytes | ctypes.Structure,
        shape: Shape,
        *,
        schedule: ScheduleName = "forward",
        seed: int = 1,
        workspace: Array | None = None,
    ) -> dict[str, int]:
        """Launch; return the machine's counts.

        Args:
            entry: the kernel's name.
            parameters: the bytes of its struct; pointers are addresses of arrays that the caller keeps.
            shape: blocks, threads, shared bytes, blocks of a cluster.
            schedule: order of threads and blocks.
            seed: of ``shuffled``.
            workspace: the array through which blocks talk, see workspace.cpp.

        Raises:
            SimtError: the kernel's misuse.
        """
        run = _run_struct(shape, schedule, seed)
        if workspace is not None:
            run.workspace, run.workspace_bytes = workspace.ctypes.data, workspace.nbytes
        raw = bytes(parameters)
        counts = _Counts()
        buffer = ctypes.create_string_buffer(raw, len(raw))
        error = self._run(entry.encode(), buffer, len(raw), ctypes.byref(run), ctypes.byref(counts))
        if error is not None:
            raise SimtError(error.decode())
        return {name: getattr(counts, name) for name, _ in _Counts._fields_}

    def counted(
        self,
        entry: str,
        parameters: bytes | ctypes.Structure,
        shape: Shape,
        arrays: Mapping[str, Array],
        *,
        workspace: Array | None = None,
    ) -> Report:
        """Launch a library of the counting build; return the traffic of ``arrays`` and of shared memory."""
        table = (_CountedArray * len(arrays))()
        for row, array in zip(table, arrays.values(), strict=True):
            row.begin, row.bytes = array.ctypes.data, array.nbytes
        self._library.edgeosr_simt_begin_counting(table, ctypes.c_uint64(len(arrays)))
        shared, conflicts = _Shared(), (_Conflict * 64)()
        try:
            self.run(entry, parameters, shape, workspace=workspace)
        finally:
            found = self._library.edgeosr_simt_end_counting(
                ctypes.byref(shared), conflicts, ctypes.c_uint64(len(conflicts))
            )
        return Report(
            arrays={
                name: Traffic(row.load_requests, row.load_sectors, row.store_requests, row.store_sectors)
                for name, row in zip(arrays, table, strict=True)
            },
            shared_requests=shared.requests,
            shared_wavefronts=shared.wavefronts,
            shared_compulsory=shared.compulsory,
            conflicts=self._places(conflicts[:found]),
        )

    def _places(self, conflicts: Sequence[_Conflict]) -> dict[str, int]:
        if not conflicts:
            return {}
        addresses = [hex(conflict.offset) for conflict in conflicts]
        frames = subprocess.run(
            ["addr2line", "-a", "-i", "-e", str(self.path), *addresses],
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        ).stdout.split("\n0x")
        places: dict[str, int] = {}
        for lines, conflict in zip(frames, conflicts, strict=True):
            # The kernel's own line: inlined calls come first, and those of simt.h are not wanted.
            files = [line.rsplit("/", 1)[-1] for line in lines.split("\n")[1:] if "/" in line]
            place = next((file for file in files if not file.startswith("simt.h")), "?")
            places[place] = places.get(place, 0) + conflict.excess
        return places


@dataclass(frozen=True)
class Pointer:
    """An array of a case file: offset of its pointer in the parameter struct, data, and role."""

    offset: int
    data: Array
    role: Literal["input", "workspace", "output"] = "input"
    alignment: int = 16


def write_case(
    path: Path,
    entry: str,
    parameters: bytes,
    shape: Shape,
    pointers: Sequence[Pointer],
    *,
    schedule: ScheduleName = "shuffled",
    seed: int = 1,
) -> None:
    """Write the case file that a program built with case_main.cpp runs."""
    numbers = [len(parameters)]
    with path.open("wb") as file:
        file.write(f"{entry} {SCHEDULES[schedule]} {seed}\n".encode())
        file.write(bytes(_run_struct(shape, schedule, seed)))
        file.write(np.array(numbers, np.uint64).tobytes() + parameters)
        file.write(np.array([len(pointers)], np.uint64).tobytes())
        for pointer in pointers:
            role = {"input": 0, "workspace": 1, "output": 2}[pointer.role]
            head = [pointer.offset, pointer.data.nbytes, pointer.alignment, role]
            file.write(np.array(head, np.uint64).tobytes() + pointer.data.tobytes())


def run_case(program: Path, case: Path, *, seconds: float = 120) -> tuple[int, bytes, str]:
    """Run a case; return exit code, the bytes of its outputs, and what it said on stderr."""
    result = case.with_suffix(".result")
    result.unlink(missing_ok=True)
    done = subprocess.run(
        [str(program), str(case), str(result)],
        capture_output=True,
        timeout=seconds,
        env={
            "ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=0:exitcode=66",
            "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=66",
            "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
        },
    )
    return (
        done.returncode,
        result.read_bytes() if result.exists() else b"",
        done.stderr.decode(errors="replace"),
    )


def _run_struct(shape: Shape, schedule: ScheduleName, seed: int) -> _Run:
    run = _Run()
    run.blocks, run.threads, run.cluster = shape.blocks, shape.threads, shape.cluster
    run.dynamic_shared_bytes = shape.shared_bytes
    run.schedule = SCHEDULES[schedule]
    run.seed = seed
    return run
