"""What a run counts while it goes: executions, requests and barriers, by instruction and block."""

from collections.abc import Sequence

import numpy as np

from edgeosr.kernels.counting.operands import Array
from edgeosr.kernels.counting.timeline import Timeline, Wait


class Record:
    """Counts of one run; arrays are ``[instruction, block]``.

    Attributes:
        issued: times that a warp issued it.
        sectors: 32-byte sectors of global memory that it asked for.
        wavefronts: of shared memory.
        barriers: times that the block, or a group of its warps, went on from it; the cluster's too.
        atomics: warps' requests.
        words: sent to blocks of the cluster, the own one too.
        exchanges: mailboxes that the block went on from.
        ends: ``[phase, warp]``, nominal cycles at which the warp issued its last instruction of the phase.
        paths: ``[phase, warp, wait]``, its chain until then.
        depths: ``[phase, warp]``, global loads until then of which each needed the one before, handed on in
            registers.
    """

    def __init__(self, phases: Sequence[int], blocks: int, warps_of_block: int):
        """Start at zero; ``phases``: of each instruction."""
        self.phases = np.array(phases, np.int64)
        self.warps_of_block = warps_of_block
        shape = (len(self.phases), blocks)
        self.issued, self.sectors, self.wavefronts = (np.zeros(shape, np.int64) for _ in range(3))
        self.barriers, self.atomics = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.words, self.exchanges = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        many = int(self.phases.max()) + 1
        self.ends = np.zeros((many, blocks * warps_of_block))
        self.paths = np.zeros((*self.ends.shape, len(Wait)), np.int64)
        self.depths = np.zeros(self.ends.shape, np.int64)

    def executed(self, at: int, warps: Array, times: Array) -> None:
        """Count an instruction that these warps issued, each so many times."""
        self._add(self.issued, at, warps, times)

    def global_memory(self, at: int, warps: Array, sectors: Array) -> None:
        """Count a request to global memory."""
        self._add(self.sectors, at, warps, sectors)

    def shared(self, at: int, warps: Array, wavefronts: Array) -> None:
        """Count a request to shared memory."""
        self._add(self.wavefronts, at, warps, wavefronts)

    def atomic(self, at: int, warps: Array) -> None:
        """Count an atomic."""
        self._add(self.atomics, at, warps, 1)

    def sent(self, at: int, warps: Array, words: Array) -> None:
        """Count words sent to blocks of the cluster."""
        self._add(self.words, at, warps, words)

    def exchange(self, at: int, block: int) -> None:
        """Count a mailbox whose mail the block has waited for."""
        self.exchanges[at, block] += 1

    def barrier(self, at: int, block: int) -> None:
        """Count a barrier that the block has passed."""
        self.barriers[at, block] += 1

    def mark(self, at: int, warps: Array, timeline: Timeline) -> None:
        """Remember where the warps' chains are after instruction ``at``, of its phase."""
        phase = self.phases[at]
        self.ends[phase, warps] = timeline.now[warps]
        self.paths[phase, warps] = timeline.paths[warps]
        self.depths[phase, warps] = timeline.depth[warps]

    def _add(self, counts: Array, at: int, warps: Array, many: Array | int) -> None:
        blocks = warps // self.warps_of_block
        if isinstance(many, int):
            counts[at] += np.bincount(blocks, minlength=counts.shape[1]) * many
        else:
            np.add.at(counts[at], blocks, many)
