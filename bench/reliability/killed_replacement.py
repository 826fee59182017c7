"""A bundle is replaced while its writer is killed, at every step and at random moments: is one there?"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edgeosr import exchange as exchange_module
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.errors import EdgeosrError

# Python tells of these before they happen: a kill between two of them is a kill at each of their effects.
_STEPS = ("os.", "shutil.", "open", "tempfile.", "ctypes.call_function")
_MOST_STEPS = 10_000


@dataclass
class KilledCounts:
    """What was found after each kill.

    Attributes:
        kills: writers that were killed.
        old, new: bundles that read back whole as the one before or after.
        lost: no bundle at the path.
        damaged: one that does not read back, or is neither.
        leftovers: temporary names beside it after the next write.
    """

    kills: int = 0
    old: int = 0
    new: int = 0
    lost: int = 0
    damaged: int = 0
    leftovers: int = 0

    @property
    def passed(self) -> bool:
        """Nothing was lost, damaged or left."""
        return not (self.lost or self.damaged or self.leftovers)


def kill_at_every_step(bundle: Path, work: Path, *, exchange: bool = True) -> KilledCounts:
    """Replace a copy of ``bundle`` once for each step that a write takes, and kill the writer there.

    Args:
        bundle: any bundle.
        work: an empty folder.
        exchange: False: as on a system that cannot let two directories change places.
    """
    counts, trial = KilledCounts(), _Trial(bundle, work)
    for step in range(_MOST_STEPS):
        trial.start_over()
        if not trial.write_killed(partial(_kill_at, step), exchange=exchange):
            return counts
        trial.look(counts)
    raise AssertionError("a write takes fewer steps")


def kill_at_random(
    bundle: Path, work: Path, kills: int, *, exchange: bool = True, seed: int = 0
) -> KilledCounts:
    """Replace a copy of ``bundle`` until ``kills`` writers were killed, each at a random moment.

    Args:
        bundle: any bundle.
        work: an empty folder.
        kills: how many.
        exchange: False: as on a system that cannot let two directories change places.
        seed: of the moments.
    """
    counts, trial, random = KilledCounts(), _Trial(bundle, work), np.random.default_rng(seed)
    trial.start_over()
    started = time.perf_counter()
    trial.write()
    longest = 1.2 * (time.perf_counter() - started)
    while counts.kills < kills:
        trial.start_over()
        delay = float(random.uniform(0, longest))
        if trial.write_killed(partial(_kill_after, delay), exchange=exchange):
            trial.look(counts)
    return counts


class _Trial:
    """Two bundles that differ, and a path at which one takes the other's place."""

    def __init__(self, bundle: Path, work: Path) -> None:
        source = read_bundle(bundle)
        self._manifest, self._files = source.manifest, source.files
        self._names = ("before", "after")
        self._path = work / "killed.edgeosr"

    def start_over(self) -> None:
        self._write(0)

    def write(self) -> None:
        self._write(1)

    def _write(self, which: int) -> None:
        write_bundle(self._path, replace(self._manifest, name=self._names[which], engines=()), self._files)

    def write_killed(self, arm: Callable[[], None], *, exchange: bool) -> bool:
        """Write in a process that is killed; False if it finished first."""
        child = os.fork()
        if child == 0:
            try:
                if not exchange:
                    exchange_module._renameat2 = lambda: None
                arm()
                self.write()
            finally:
                os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def look(self, counts: KilledCounts) -> None:
        counts.kills += 1
        try:
            name = read_bundle(self._path).manifest.name
        except EdgeosrError:
            counts.lost += not self._path.exists()
            counts.damaged += self._path.exists()
        else:
            counts.old += name == self._names[0]
            counts.new += name == self._names[1]
        self.start_over()
        counts.leftovers += len(os.listdir(self._path.parent)) - 1


def _kill_at(step: int) -> None:
    """Kill this process before the step of that number, from 0."""
    left = step

    def count(event: str, arguments: object) -> None:
        nonlocal left
        if event.startswith(_STEPS):
            left -= 1  # before the kill, which is a step itself
            if left == -1:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def _kill_after(seconds: float) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # its default ends the process as bluntly
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
