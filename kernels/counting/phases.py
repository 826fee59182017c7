"""The kernel's phases, as the builds that stop after one cut it; which one an instruction belongs to."""

from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.phases import NAMES as PHASES
from edgeosr.kernels.counting.listing import Instruction

__all__ = ["PHASES", "Begins", "phase_lines", "phases_of"]
# A phase begins where a build that stops before it returns: at such a line of the function's body, the first
# one after that of the begin above. Behind a cluster's way lies the other one, at its phase "fence, counter".
_BODIES = {
    "fused_score.cu": "void fused_score(",
    "verdict.cuh": "void finish_tile(",
    "together.cuh": "void finish_together(",
}
_BEGINS = (
    (1, "fused_score.cu", "stops_after(1)"),
    (2, "fused_score.cu", "stops_after(2)"),
    (3, "fused_score.cu", "stops_after(3)"),
    (2, "fused_score.cu", "block_sync();"),
    (3, "fused_score.cu", "stops_after(3)"),
    (4, "verdict.cuh", "stops_after(4)"),
    (4, "together.cuh", "stops_after(4)"),
)
_FEW = 4
_IN_ORDER = ("BAR", "MEMBAR", "ATOMG", "STAS", "UBLKCP", "SYNCS", "UCGABAR_ARV", "UCGABAR_WAIT")
Begins = Sequence[tuple[int, str, int]]


def phase_lines(sources: Path) -> Begins:
    """Return (phase, file, first line) wherever a phase but the first begins; it ends at the file's next one.

    Raises:
        KernelBuildError: the source in the folder has no longer the line where a phase begins.
    """
    found: list[tuple[int, str, int]] = []
    for phase, name, words in _BEGINS:
        lines = (sources / name).read_text("utf-8").splitlines()
        body = next((i for i, line in enumerate(lines) if _BODIES[name] in line), len(lines))
        after = max([body, *(line for _, file, line in found if file == name)])
        number = next((i + 1 for i in range(after, len(lines)) if words in lines[i]), None)
        if number is None:
            raise KernelBuildError(
                f"{name} has no line with {words!r} after line {after}, where the phase "
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
        places = [(name, line) for name, line in instruction.frames[:-1] if name in bodies]
        mine = [phase for place in places if (phase := _phase_at(place, begins)) is not None]
        last = max(mine) if mine else 0 if places else last
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


def _phase_at(place: tuple[str, int], begins: Begins) -> int | None:
    """Return the phase whose begin is the file's last one up to the line; None before the first."""
    name, line = place
    found = None
    for phase, file, first in begins:
        if file == name and line >= first:
            found = phase
    return found
