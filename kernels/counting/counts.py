"""What a run of the machine code comes to, by phase: numbers that a model of time can use."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeosr.kernels.counting.listing import Listing
from edgeosr.kernels.counting.operands import Array
from edgeosr.kernels.counting.phases import PHASES
from edgeosr.kernels.counting.record import Record
from edgeosr.kernels.counting.timeline import CLUSTERED, Wait

# Kinds of instructions, by opcode; the rest is integer arithmetic and moves.
KINDS = {
    "global memory": ("LDG", "STG", "LDGSTS", "CCTL", "LDGDEPBAR", "DEPBAR"),
    "shared memory": ("LDS", "STS"),
    "atomics, fences": ("ATOMG", "MEMBAR", "ERRBAR", "CGAERRBAR", "FENCE"),
    "clusters": ("STAS", "SYNCS", "UBLKCP", "ELECT", "UCGABAR_ARV", "UCGABAR_WAIT"),
    "between lanes": ("SHFL", "VOTE", "REDUX", "WARPSYNC"),
    "tensor cores": ("HMMA",),
    "float": ("FADD", "FMUL", "FFMA", "FSETP", "FSET", "FSEL", "FMNMX", "FCHK", "HADD2", "HFMA2", "F2FP"),
    "special": ("MUFU", "I2F", "F2I", "F2F", "I2FP", "POPC", "UPOPC", "FLO", "UFLO"),
    "control": (
        "BRA",
        "BRX",
        "BRXU",
        "CALL",
        "RET",
        "EXIT",
        "BSSY",
        "BSYNC",
        "BREAK",
        "BMOV",
        "BAR",
        "NOP",
        "YIELD",
    ),
}
_KIND_OF = {opcode: kind for kind, opcodes in KINDS.items() for opcode in opcodes}
INTEGER_KIND = "integer, moves"


@dataclass(frozen=True)
class PhaseCounts:
    """One phase.

    Attributes:
        phase: its name.
        instructions: that warps issued, over the grid, by kind.
        busiest: instructions of the block that issued most, from the launch's start to the phase's end.
        blocks: that took part.
        sectors: of 32 bytes of global memory asked for, over the grid.
        wavefronts: of shared memory, over the grid.
        barriers: that a block passed, at most: its own, those of groups of its warps and its cluster's.
        atomics: warps' requests, over the grid.
        waits: of the longest chain from the launch's start to the phase's end, by ``Wait``; those of clusters
            only if the launch has any.
        dependent_loads: global loads in that time of which each needed the value of the one before, handed on
            in registers: what goes through shared memory begins anew.
        words: of 32 bits sent to blocks of a cluster, each to one of them, over the grid.
        exchanges: mailboxes that a block waited for, at most. Each warp issues one try-wait for each of them:
            how often it asks until the mail is there, is a matter of time.
    """

    phase: str
    instructions: Mapping[str, int]
    busiest: int
    blocks: int
    sectors: int
    wavefronts: int
    barriers: int
    atomics: int
    waits: Mapping[str, int]
    dependent_loads: int
    words: int = 0
    exchanges: int = 0

    @property
    def warp_instructions(self) -> int:
        """All kinds."""
        return sum(self.instructions.values())


@dataclass(frozen=True)
class LaunchCounts:
    """A launch, phase by phase."""

    phases: tuple[PhaseCounts, ...]

    @property
    def warp_instructions(self) -> int:
        """Of the whole launch."""
        return sum(phase.warp_instructions for phase in self.phases)

    def as_record(self) -> list[dict[str, Any]]:
        """Return it for JSON; what only clusters have is there if the launch has some of it."""
        rows = [asdict(phase) for phase in self.phases]
        idle = [name for name in ("words", "exchanges") if not any(row[name] for row in rows)]
        return [{name: value for name, value in row.items() if name not in idle} for row in rows]


def counts_from_record(record: list[dict[str, Any]]) -> LaunchCounts:
    """Return what ``as_record`` gave."""
    return LaunchCounts(tuple(PhaseCounts(**phase) for phase in record))


def counted(record: Record, listing: Listing, weights: Array) -> LaunchCounts:
    """Return a run's counts; ``weights``: for how many blocks each block that was run stands."""
    listed = [wait for wait in Wait if wait not in CLUSTERED or record.paths[:, :, wait].any()]
    kinds = [_KIND_OF.get(one.base, INTEGER_KIND) for one in listing.instructions]
    phases = []
    for number, name in enumerate(PHASES[: len(record.ends)]):
        here = record.phases == number
        totals = (record.issued * weights).sum(axis=1)
        by_kind: dict[str, int] = {}
        for at in np.flatnonzero(here & (totals > 0)):
            by_kind[kinds[at]] = by_kind.get(kinds[at], 0) + int(totals[at])
        latest = int(np.argmax(record.ends[number]))
        waits = record.paths[number, latest]
        # A block that only looks in on a phase (it ends at once) has not taken part.
        mine = record.issued[here].sum(axis=0)
        took_part = mine > _LOOKED_IN * mine.max()
        phases.append(
            PhaseCounts(
                phase=name,
                instructions=dict(sorted(by_kind.items(), key=lambda item: -item[1])),
                busiest=int(record.issued[record.phases <= number].sum(axis=0).max()),
                blocks=int((took_part * weights).sum()),
                sectors=int((record.sectors[here] * weights).sum()),
                wavefronts=int((record.wavefronts[here] * weights).sum()),
                barriers=int(record.barriers[here].sum(axis=0).max()),
                atomics=int((record.atomics[here] * weights).sum()),
                waits={wait.name.lower(): int(waits[wait]) for wait in listed},
                dependent_loads=int(record.depths[number].max()),
                words=int((record.words[here] * weights).sum()),
                exchanges=int(record.exchanges[here].sum(axis=0).max()),
            )
        )
    return LaunchCounts(tuple(phases))


_LOOKED_IN = 0.1  # of what the busiest block issues
