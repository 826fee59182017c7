"""Each warp's chain of waits: which results an instruction had to wait for, issued in order.

A warp issues one instruction after another, each when its registers are there. What it waits for along its
longest chain is kept as counts by ``Wait``; a barrier passes the block's latest warp on to all. Which of two
chains is the longer is judged with ``NOMINAL`` cycles, which are assumed; times come later, from the counts
and an architecture's own table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from edgeosr.kernels.counting.operands import NAMES, Array


class Wait(IntEnum):
    """What a warp waited for."""

    ISSUE = 0  # its own turn: one instruction after another
    MATH = 1  # a result of the arithmetic pipes
    SLOW_MATH = 2  # special functions, conversions, votes, popcounts, tensor cores, constants by address
    SHARED = 3  # a load from shared memory, or a shuffle
    NEAR = 4  # a global load that the multiprocessor's cache holds
    FAR = 5  # a global load from L2
    COLD = 6  # one that is the launch's first of these bytes: from DRAM, unless an earlier launch left them
    BARRIER = 7
    ATOMIC = 8
    FENCE = 9
    CLUSTER = 10  # the cluster's barrier, from the last block's arrival
    MAIL = 11  # words from a block of the cluster, from when they were sent


CLUSTERED = (Wait.CLUSTER, Wait.MAIL)  # what no launch without clusters waits for

# Assumed: of the order of what micro-benchmarks publish, and no architecture's (table 3 of PMC10448217 has 20
# cycles of shared memory and 200 of L2 where these are 28 and 260). The model of time fits a factor on those
# on the chip and takes none of the others; here they only say which chain is the longer.
# Those of clusters are measured ones, see bench/latency_table.py.
NOMINAL = {
    Wait.ISSUE: 1,
    Wait.MATH: 4,
    Wait.SLOW_MATH: 20,
    Wait.SHARED: 28,
    Wait.NEAR: 36,
    Wait.FAR: 260,
    Wait.COLD: 260,
    Wait.BARRIER: 20,
    Wait.ATOMIC: 600,
    Wait.FENCE: 600,
    Wait.CLUSTER: 147,
    Wait.MAIL: 532,
}
_CYCLES = np.array([NOMINAL[wait] for wait in Wait], np.float64)


@dataclass
class Meeting:
    """Where chains of several blocks come together: the latest one, and the most loads in a row."""

    now: float = 0.0
    path: Array = field(default_factory=lambda: np.zeros(len(Wait), np.int64))
    depth: int = 0


class Timeline:
    """The chains of all warps. ``paths`` is ``[warp, wait]``, ``now`` the same in nominal cycles."""

    def __init__(self, warps: int):
        """Start all chains empty."""
        self.now = np.zeros(warps)
        self.paths = np.zeros((warps, len(Wait)), np.int64)
        self._ready = np.zeros((NAMES, warps))
        self._ready_paths = np.zeros((NAMES, warps, len(Wait)), np.int64)
        self._depth = np.zeros((NAMES, warps), np.int64)
        self.depth = np.zeros(warps, np.int64)  # global loads of which each needs the one before
        self._copies = np.zeros((3, warps))  # arrival of those not committed, and of two groups
        self._copy_paths = np.zeros((3, warps, len(Wait)), np.int64)

    def issue(self, warps: Array, times: Array, reads: Sequence[int]) -> Array:
        """Issue an instruction in each warp, once for each of its sides; return its operands' data depth."""
        self.now[warps] += _CYCLES[Wait.ISSUE] * times
        self.paths[warps, Wait.ISSUE] += times
        depth = np.zeros(len(warps), np.int64)
        for name in reads:
            ready = self._ready[name, warps]
            late = ready > self.now[warps]
            if late.any():
                who = warps[late]
                self.now[who] = ready[late]
                self.paths[who] = self._ready_paths[name, who]
            np.maximum(depth, self._depth[name, warps], out=depth)
        return depth

    def produce(
        self, warps: Array, writes: Sequence[int], waits: Array, more: Array | int, depth: Array
    ) -> None:
        """Say when results are there: ``waits`` (a Wait of each warp) from now, ``more`` cycles later."""
        ready = self.now[warps] + _CYCLES[waits] + more
        paths = self.paths[warps]
        paths[np.arange(len(warps)), waits] += 1
        np.maximum.at(self.depth, warps, depth)
        for name in writes:
            self._ready[name, warps] = ready
            self._ready_paths[name, warps] = paths
            self._depth[name, warps] = depth

    def copy(self, warps: Array, waits: Array) -> None:
        """Start asynchronous copies from global memory."""
        arrival = self.now[warps] + _CYCLES[waits]
        later = arrival >= self._copies[0, warps]
        who = warps[later]
        self._copies[0, who] = arrival[later]
        paths = self.paths[who]
        paths[np.arange(len(who)), waits[later]] += 1
        self._copy_paths[0, who] = paths

    def commit(self, warps: Array) -> None:
        """Close a group of copies."""
        self._later(2, 1, warps)
        self._copies[1, warps], self._copy_paths[1, warps] = (
            self._copies[0, warps],
            self._copy_paths[0, warps],
        )
        self._copies[0, warps] = 0

    def wait_for_copies(self, warps: Array, pending: int) -> None:
        """Wait until at most ``pending`` (0 or 1) groups are under way."""
        for group in (2,) if pending else (2, 1):
            late = self._copies[group, warps] > self.now[warps]
            who = warps[late]
            self.now[who] = self._copies[group, who]
            self.paths[who] = self._copy_paths[group, who]

    def pause(self, warps: Array, wait: Wait) -> None:
        """Let the warps wait for something that has no register, such as a fence."""
        self.now[warps] += _CYCLES[wait]
        self.paths[warps, wait] += 1

    def meet(self, warps: Array) -> None:
        """A barrier: the warps go on from the latest one's chain."""
        latest = int(warps[np.argmax(self.now[warps])])
        self.now[warps] = self.now[latest] + _CYCLES[Wait.BARRIER]
        self.paths[warps] = self.paths[latest]
        self.paths[warps, Wait.BARRIER] += 1
        self.depth[warps] = self.depth[warps].max()

    def bring(self, meeting: Meeting, warps: Array, wait: Wait = Wait.ISSUE) -> None:
        """Bring the warps' chains to a meeting, which takes a ``wait`` (ISSUE: nothing); the latest stays."""
        latest = int(warps[np.argmax(self.now[warps])])
        takes = wait != Wait.ISSUE
        now = self.now[latest] + takes * _CYCLES[wait]
        if now > meeting.now:
            meeting.now, meeting.path = now, self.paths[latest].copy()
            meeting.path[wait] += takes
        meeting.depth = max(meeting.depth, int(self.depth[warps].max()))

    def take(self, meeting: Meeting, warps: Array) -> None:
        """Let the warps go on, not before the meeting's latest chain."""
        who = warps[self.now[warps] < meeting.now]
        self.now[who], self.paths[who] = meeting.now, meeting.path
        self.depth[warps] = np.maximum(self.depth[warps], meeting.depth)

    def answer(self, meeting: Meeting, warps: Array, writes: Sequence[int]) -> None:
        """Answer as a load from shared memory would, but not before the meeting's latest chain."""
        self.produce(warps, writes, np.full(len(warps), Wait.SHARED), 0, np.zeros(len(warps), np.int64))
        for name in writes:
            who = warps[self._ready[name, warps] < meeting.now]
            self._ready[name, who], self._ready_paths[name, who] = meeting.now, meeting.path
        self.depth[warps] = np.maximum(self.depth[warps], meeting.depth)

    def _later(self, to: int, other: int, warps: Array) -> None:
        late = self._copies[other, warps] > self._copies[to, warps]
        who = warps[late]
        self._copies[to, who] = self._copies[other, who]
        self._copy_paths[to, who] = self._copy_paths[other, who]
