"""Cold start and steady memory, each taken in a fresh Python process.

The module is also the program that those processes run: ``python -m edgeosr.bench.fresh_process``.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr.bench.samples import Samples, percentile
from edgeosr.bundle.tensors import feed_of
from edgeosr.errors import EdgeosrError

STEADY_CALLS = 50
STAGES = ("import_ms", "open_ms", "first_verdict_ms", "process_ms")


@dataclass(frozen=True)
class ColdStart:
    """From nothing to the first verdict, median over fresh processes (files in the page cache).

    Attributes:
        import_ms: ``import edgeosr``, numpy and onnxruntime.
        open_ms: reading and checking the bundle and building the session, without warm-up.
        first_verdict_ms: the first call.
        process_ms: from the start of the process to the first verdict, interpreter included.
        repeats: number of processes.
    """

    import_ms: float
    open_ms: float
    first_verdict_ms: float
    process_ms: float
    repeats: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Memory:
    """Resident memory after ``STEADY_CALLS`` calls, median over fresh processes, MiB.

    Attributes:
        runtime_mib: a process that runs ``edgeosr.Runtime``.
        session_mib: a process that runs a bare onnxruntime session on the same model.onnx.
        own_mib: their difference: what edgeosr adds.
        repeats: processes of each kind.
    """

    runtime_mib: float
    session_mib: float
    own_mib: float
    repeats: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(self.__dict__)


def measure_cold_start(
    bundle: Path, frame: tuple[int, int], *, threads: int | None, repeats: int
) -> ColdStart:
    """Start ``repeats`` processes that open ``bundle`` and judge one frame; return the medians."""
    results = []
    for _ in range(repeats):
        before = time.time()
        result = _run("cold", bundle, frame, threads)
        result["process_ms"] = 1e3 * (result.pop("ended") - before)
        results.append(result)
    medians = {stage: percentile([result[stage] for result in results], 50) for stage in STAGES}
    return ColdStart(**medians, repeats=repeats)


def measure_memory(bundle: Path, frame: tuple[int, int], *, threads: int | None, repeats: int) -> Memory:
    """Compare the memory of ``repeats`` Runtime processes with as many bare-session processes."""
    found: dict[str, list[float]] = {"runtime": [], "session": []}
    for _ in range(repeats):
        for kind in found:
            found[kind].append(_run(kind, bundle, frame, threads)["rss_mib"])
    runtime, session = (percentile(found[kind], 50) for kind in ("runtime", "session"))
    return Memory(runtime, session, runtime - session, repeats)


def time_program(arguments: Sequence[str], *, repeats: int) -> Samples:
    """Time ``edgeosr ARGUMENTS`` from start to end in fresh processes, after one that is not counted."""
    program = "import sys; sys.argv[0] = 'edgeosr'; from edgeosr.cli.app import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    wall, cpu = [], []
    for i in range(repeats + 1):
        cpu_before, before = _children_cpu(), time.perf_counter()
        _checked(command, "program")
        if i > 0:
            wall.append(1e3 * (time.perf_counter() - before))
            cpu.append(1e3 * (_children_cpu() - cpu_before))
    return Samples(tuple(wall), tuple(cpu))


def time_import(*, repeats: int) -> Samples:
    """Time the statement ``import edgeosr`` in fresh processes, after one that is not counted."""
    program = (
        "import time; c, w = time.process_time(), time.perf_counter(); import edgeosr; "
        "print(1e3 * (time.perf_counter() - w), 1e3 * (time.process_time() - c))"
    )
    found = [_checked([sys.executable, "-c", program], "import").split() for _ in range(repeats + 1)][1:]
    return Samples(tuple(float(wall) for wall, _ in found), tuple(float(cpu) for _, cpu in found))


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _run(kind: str, bundle: Path, frame: tuple[int, int], threads: int | None) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, kind, str(bundle), *map(str, frame), str(threads or 0)]
    result: dict[str, float] = json.loads(_checked(command, kind))
    return result


def _checked(command: Sequence[str], kind: str) -> str:
    # The safe path: a folder or file of the working directory must not stand in for a package.
    safe = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=safe)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise EdgeosrError(
            f"the fresh process for the {kind!r} measurement ended with code {done.returncode}: {last[0]}"
        )
    return done.stdout


def resident_mib() -> float:
    """Return this process's resident memory, MiB (Linux: now; elsewhere: its peak)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**20 if sys.platform == "darwin" else 1024
        )


def _child_cold(bundle: Path, frame: tuple[int, int], threads: int | None) -> dict[str, float]:
    started = time.perf_counter()
    import numpy as np

    from edgeosr import Runtime
    from edgeosr.runtime.sessions import load_onnxruntime

    load_onnxruntime()
    imported = time.perf_counter()
    runtime = Runtime(bundle, threads=threads, warmup=0)
    opened = time.perf_counter()
    runtime(np.full((*frame, 3), 127, np.uint8))
    ended = time.perf_counter()
    return {
        "import_ms": 1e3 * (imported - started),
        "open_ms": 1e3 * (opened - imported),
        "first_verdict_ms": 1e3 * (ended - opened),
        "ended": time.time(),
    }


def _child_runtime(bundle: Path, frame: tuple[int, int], threads: int | None) -> dict[str, float]:
    import numpy as np

    from edgeosr import Runtime

    runtime = Runtime(bundle, threads=threads)
    for i in range(STEADY_CALLS):
        runtime(np.full((*frame, 3), i, np.uint8))
    return {"rss_mib": resident_mib()}


def _child_session(bundle: Path, frame: tuple[int, int], threads: int | None) -> dict[str, float]:
    import numpy as np

    from edgeosr.bench.session import open_session

    session = open_session(bundle / "model.onnx", threads)
    for i in range(STEADY_CALLS):
        session.run(None, feed_of(np.full((1, *frame, 3), i, np.uint8)))
    return {"rss_mib": resident_mib()}


_CHILDREN: dict[str, Callable[[Path, tuple[int, int], int | None], dict[str, float]]] = {
    "cold": _child_cold,
    "runtime": _child_runtime,
    "session": _child_session,
}

if __name__ == "__main__":
    kind, bundle, height, width, threads = sys.argv[1:]
    print(json.dumps(_CHILDREN[kind](Path(bundle), (int(height), int(width)), int(threads) or None)))
