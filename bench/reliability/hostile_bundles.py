"""Hostile and damaged bundles by the thousand: each is opened, run and verified in a process."""

import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from edgeosr.bench.reliability.fork_server import Ended, in_a_child
from edgeosr.bench.reliability.spoil import Files, spoilt
from edgeosr.bundle.directory import MANIFEST_NAME, read_bundle
from edgeosr.errors import EdgeosrError

MEMORY = 1 << 30  # bytes
SECONDS = 2.0  # of processor time
# What reading a bundle has to open beside it: Python's own files, and what libraries ask the system.
_MAY_OPEN = (sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/dev/", "/usr/", "/etc/ld.so", "/lib")
_SOURCE = (".py", ".pyc")


@dataclass
class HostileCounts:
    """What came of the bundles.

    Attributes:
        bundles: tried.
        done: opened and run although they were changed, by what was done to them.
        refused: with an error that says why.
        failures: tracebacks, hangs, crashes, files opened outside, too much memory or time; each a line.
        most_seconds, most_bytes: of one bundle.
    """

    bundles: int = 0
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    most_seconds: float = 0.0
    most_bytes: int = 0


def try_hostile_bundles(bundle: Path, count: int, *, seed: int = 0, first: int = 0) -> HostileCounts:
    """Try ``count`` spoilt copies of a bundle.

    Args:
        bundle: a good one.
        count: how many.
        seed: of all of them.
        first: number of the first one; a number is the same bundle each time.
    """
    good = read_bundle(bundle)
    files = {MANIFEST_NAME: (bundle / MANIFEST_NAME).read_bytes(), **good.files}
    counts = HostileCounts()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        _warm(bundle, cache)
        # Whoever opens it for reading waits for ever, and is found.
        os.mkfifo(Path(folder) / "canary")
        path = Path(folder) / "in" / "spoilt.edgeosr"
        for number in range(first, first + count):
            kind, made = spoilt(files, number, seed)
            _write(path, made)
            ended = in_a_child(
                partial(
                    _used,
                    path,
                    cache,
                    with_golden=made["golden.npz"] != files["golden.npz"] or number % 10 == 0,
                ),
                memory=2 * MEMORY,
                may_open=lambda name: (
                    name.startswith((*_MAY_OPEN, str(path), str(cache))) or name.endswith((".pyc", ".py"))
                ),
            )
            _count(counts, number, kind, ended)
    return counts


def _warm(bundle: Path, cache: Path) -> None:
    """Import what a child needs, in a child as well: onnxruntime's threads do not outlive a fork."""
    from edgeosr.runtime.sessions import load_onnxruntime

    load_onnxruntime()
    ended = in_a_child(partial(_used, bundle, cache), memory=4 * MEMORY, may_open=lambda name: True)
    if ended.how != "done":
        raise AssertionError(f"the good bundle fails: {ended}")


def _used(path: Path, cache: Path, *, with_golden: bool = True) -> str:
    """Do with a bundle what users do; the first refusal ends it. The golden frames take most of the time.

    Args:
        path: the bundle; nobody made it here, so its graph is tried in a process of its own first.
        cache: folder for what that notes.
        with_golden: verify it as well.
    """
    os.environ["EDGEOSR_CACHE"] = str(cache)  # of this child alone
    from edgeosr.runtime.runtime import Runtime
    from edgeosr.runtime.verify import verify_bundle

    with Runtime(path, threads=1) as runtime:
        height, width = runtime.frame or (24, 32)
        frames = np.zeros((3, height, width, 3), np.uint8)
        frames[1] = 200
        verdicts = runtime(list(frames))
        if len(verdicts) != 3:
            raise AssertionError(f"{len(verdicts)} verdicts of 3 frames")
    if not with_golden:
        return "runs"
    try:
        report = verify_bundle(path, backends=("onnxruntime",), threads=1)
    except EdgeosrError as error:
        return f"runs; verify refuses: {error}"
    return "runs and verifies" if report.passed else "runs; verify finds differences"


def _write(path: Path, files: Files) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    for name, data in files.items():
        (path / name).write_bytes(data)


def _count(counts: HostileCounts, number: int, kind: str, ended: Ended) -> None:
    counts.bundles += 1
    counts.most_seconds = max(counts.most_seconds, ended.cpu_seconds)
    counts.most_bytes = max(counts.most_bytes, ended.largest_bytes)
    if ended.how == "done":
        counts.done[kind] += 1
    elif ended.how == "refused":
        counts.refused[kind] += 1
    else:
        counts.failures.append(f"{number} {kind}: {ended.how}: {ended.detail}")
    for what, bad in {
        f"opened {', '.join(ended.opened)}": bool(ended.opened),
        f"{ended.cpu_seconds:.1f} s of processor time": ended.cpu_seconds > SECONDS,
        f"{ended.largest_bytes / 2**20:.0f} MiB": ended.largest_bytes > MEMORY,
    }.items():
        if bad:
            counts.failures.append(f"{number} {kind}: {what}")
