"""One instruction made ready to run: what it does, what it reads and writes, and what kind of wait it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeosr.kernels.counting.operands import Lanes, Registers, names
from edgeosr.kernels.counting.timeline import Wait

Run = Callable[[Registers, Lanes], None]
Made = tuple[Run, Sequence[tuple[str, int]], Sequence[tuple[str, int]]]
# What a result is waited for, where it is not MATH and comes from no memory.
RESULT_WAITS = dict.fromkeys(
    (
        "MUFU",
        "I2F",
        "F2I",
        "F2F",
        "I2FP",
        "F2FP",
        "POPC",
        "UPOPC",
        "FLO",
        "UFLO",
        "HMMA",
        "VOTE",
        "REDUX",
        "LDC",
        "S2R",
        "S2UR",
        "R2UR",
        "ULDC",
        "LDCU",
    ),
    Wait.SLOW_MATH,
) | {"SHFL": Wait.SHARED}


@dataclass(frozen=True)
class Step:
    """A ready instruction.

    Attributes:
        run: what it does to the registers of the lanes that execute it.
        reads, writes: numbers of registers, see ``operands.names``.
    """

    run: Run
    reads: tuple[int, ...]
    writes: tuple[int, ...]


def step(made: Made, guard: str) -> Step:
    """Return the step of what a maker returned: (run, what it writes, what it reads), with widths."""
    run, writes, reads = made
    found = [number for text, width in reads for number in names(text, width)]
    if guard:
        found += names(guard.lstrip("!"))
    return Step(
        run,
        tuple(dict.fromkeys(found)),
        tuple(dict.fromkeys(number for text, width in writes for number in names(text, width))),
    )


def ones(*texts: str) -> list[tuple[str, int]]:
    """Return the operands, each one register wide."""
    return [(text, 1) for text in texts]
