"""The kernel's phases, as the builds that stop after one cut it; which one an instruction belongs to."""

from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.phases import NAMES as PHASES
from edgeosr.kernels.counting.listing import Instruction

__all__ = ["PHASES", "Begins", "phase_lines", "phases_of"]
# A phase begins where a build that stops before it returns: at the first such line of the function's body.
_BODIES = {"fused_score.cu": "void fused_score(", "verdict.cuh": "void finish_tile("}
_BEGINS = (
    (1, "fused_score.cu", "stops_after(1)"),
    (2, "fused_score.cu", "stops_after(2)"),
    (3, "fused_score.cu", "stops_after(3)"),
    (4, "verdict.cuh", "stops_after(4)"),
)
_FEW = 4
_IN_ORDER = ("BAR", "MEMBAR", "ATOMG", "STAS", "SYNCS", "UCGABAR_ARV", "UCGABAR_WAIT")
Begins = Sequence[tuple[int, str, int]]


def phase_lines(sources: Path) -> Begins:
    """Return (phase, file, first line) of each phase but the first.

    Raises:
        KernelBuildError: the source in the folder has no longer the line where a phase begins.
    """
    found = []
    for phase, name, words in _BEGINS:
        lines = (sources / name).read_text("utf-8").splitlines()
        body = next((i for i, line in enumerate(lines) if _BODIES[name] in line), len(lines))
        number = next((i + 1 for i in range(body, len(lines)) if words in lines[i]), None)
        if number is None:
            raise KernelBuildError(
                f"{name} has no line with {words!r} after {_BODIES[name]!r}, where the phase "
                f"{PHASES[phase]!r} begins; name the new line in kernels/counting/phases.py"
            )
        found.append((phase, name, number))
    return found


def phases_of(instructions: Sequence[Instruction], begins: Begins) -> list[int]:
    """Return each instruction's phase; one without a line of the kernel's body has that of the one before.

    A value that a phase computes again may keep the line where it was computed first: a few instructions of
    an earlier phase among those of a later one are the later one's. But a barrier, a fence, an atomic or mail
    stays where the source has it: what the compiler has put before one belongs to its phase.
    """
    found: list[int] = []
    last = 0
    bodies = {name for _, name, _ in begins}
    for instruction in instructions:
        mine = [
            phase
            for name, line in instruction.frames[:-1]
            if name in bodies
            for phase, file, first in begins
            if file == name and line >= first
        ]
        inside = any(name in bodies for name, _ in instruction.frames[:-1])
        last = max(mine) if mine else 0 if inside else last
        found.append(last)
    for at, instruction in enumerate(instructions):
        if instruction.base in _IN_ORDER:
            back = at - 1
            while back >= max(0, at - _FEW) and found[back] > found[at]:
                found[back] = found[at]
                back -= 1
    starts = [i for i in range(1, len(found)) if found[i] != found[i - 1]]
    ends = [*starts[1:], len(found)] if starts else []
    for start, end in zip(starts, ends, strict=True):
        if found[start] < found[start - 1] and end - start < _FEW:
            found[start:end] = [found[start - 1]] * (end - start)
    return found
