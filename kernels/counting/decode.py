"""From a listed instruction to a step that runs; what has no register is the machine's own affair."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeosr.kernels.counting.bits import BITS
from edgeosr.kernels.counting.clusters import CLUSTERS
from edgeosr.kernels.counting.floating import FLOATING
from edgeosr.kernels.counting.integer import INTEGER
from edgeosr.kernels.counting.lanes import LANES
from edgeosr.kernels.counting.listing import BYTES, Instruction, Listing
from edgeosr.kernels.counting.memory import MEMORY
from edgeosr.kernels.counting.modifiers import require_known
from edgeosr.kernels.counting.operands import Lanes, NotModelledError, Registers, plain
from edgeosr.kernels.counting.step import Step, step

NOTHING = ("NOP", "YIELD", "ERRBAR", "CGAERRBAR", "MEMBAR", "LDGDEPBAR", "DEPBAR", "FENCE")
_WAITING = ("BSYNC", "WARPSYNC", "BAR", "UCGABAR_WAIT")
CONTROL = (*_WAITING, "BRA", "BRX", "BRXU", "CALL", "RET", "EXIT", "BSSY", "BREAK", "BMOV")
_SPECIAL_REGISTERS = ("SR_TID.X", "SR_CTAID.X", "SR_LANEID", "SR_CgaCtaId")


@dataclass(frozen=True)
class Grid:
    """A launch: blocks (numbers of those that are run), and threads of each.

    Attributes:
        blocks, threads: see above.
        parameters_at: where the parameters begin in constant bank 0.
        system: what a kernel may read before them, see ``modifiers.SYSTEM``.
        cluster: blocks of a cluster, neighbours of which all are run; 1: launched without clusters.
    """

    blocks: tuple[int, ...]
    threads: int
    parameters_at: int = 0
    system: frozenset[int] = frozenset()
    cluster: int = 1


def controls(instruction: Instruction) -> bool:
    """Whether it decides where threads go on, or when: branches, barriers, the wait for a mailbox."""
    return instruction.base in CONTROL or "PHASECHK" in instruction.opcode


def ready(listing: Listing, at: int, grid: Grid) -> Step:
    """Return instruction ``at``, made ready.

    Raises:
        NotModelledError: the interpreter does not know it; the message names it and its place.
    """
    instruction = listing.instructions[at]
    try:
        return _made(instruction, grid)
    except (NotModelledError, ValueError, IndexError, KeyError) as error:
        raise NotModelledError(
            f"{listing.name} at {at * BYTES:#x}: {instruction.opcode} {', '.join(instruction.operands)}: "
            f"{error}"
        ) from error


def _made(instruction: Instruction, grid: Grid) -> Step:
    base, operands = instruction.base, instruction.operands
    require_known(instruction, grid.parameters_at, grid.system)
    if base in CONTROL or base in NOTHING:
        return step((_nothing, [], []), instruction.guard)
    if base in ("S2R", "S2UR"):
        return step((_special(operands, grid), [(operands[0], 1)], []), instruction.guard)
    for table in (INTEGER, BITS, FLOATING, MEMORY, LANES, CLUSTERS):
        if base in table:
            return step(table[base](operands, instruction.opcode.split(".")[1:]), instruction.guard)
    raise NotModelledError("an instruction that is not modelled")


def _special(operands: tuple[str, ...], grid: Grid) -> Callable[[Registers, Lanes], None]:
    to, name = operands
    if name not in _SPECIAL_REGISTERS:
        raise NotModelledError(f"special register {name}")
    threads = np.tile(np.arange(grid.threads, dtype=np.uint32), len(grid.blocks))
    blocks = np.repeat(np.array(grid.blocks, np.uint32), grid.threads)
    values = {
        "SR_TID.X": threads,
        "SR_CTAID.X": blocks,
        "SR_LANEID": threads & 31,
        "SR_CgaCtaId": blocks % np.uint32(grid.cluster),
    }
    value = values[name]
    uniform, number = to.startswith("U"), plain(to).lstrip("U")[1:]

    def run(s: Registers, ix: Lanes) -> None:
        (s.uniform if uniform else s.general)[int(number)][ix] = value[ix]

    return run


def _nothing(s: Registers, ix: Lanes) -> None:
    """Change no register."""
