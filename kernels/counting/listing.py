"""nvdisasm's listing of one kernel as instructions, each with the source lines that it came from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeosr.errors import KernelBuildError

_SECTION = re.compile(r"^\s*\.section\s+\.text\.(\w+)", re.MULTILINE)
_FRAME = re.compile(r'//## File "([^"]*)", line (\d+)( inlined at)?')
_INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z0-9_.]+)([^;]*);")
_LABEL = re.compile(r"^(\.?[\w$.]+):\s*$")
_COMMENT = re.compile(r"\(\*.*?\*\)")
BYTES = 16  # of an instruction


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        guard: its predicate, ``P0`` or ``!UP1``; empty if always.
        opcode: with its modifiers, ``LDG.E.128.CONSTANT``.
        operands: as printed, the destinations first.
        frames: (file name, line) of the source, the innermost inlined function first.
    """

    guard: str
    opcode: str
    operands: tuple[str, ...]
    frames: tuple[tuple[str, int], ...]

    @property
    def base(self) -> str:
        """The opcode without its modifiers."""
        return self.opcode.split(".", 1)[0]


@dataclass(frozen=True)
class Listing:
    """A kernel; ``labels``: name to index of the instruction that follows. Instruction i is at 16 i."""

    name: str
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]


def entries_of(text: str) -> list[str]:
    """Return the names of the kernels in the text that ``nvdisasm -c -gi`` prints."""
    return _SECTION.findall(text)


def listing_of(text: str, entry: str) -> Listing:
    """Return ``entry`` of the text that ``nvdisasm -c -gi`` prints.

    Raises:
        KernelBuildError: the text has no such kernel.
    """
    parts = _SECTION.split(text)
    names = parts[1::2]
    if entry not in names:
        raise KernelBuildError(
            f"the disassembly has no kernel {entry}; it has {', '.join(names) or 'none'}; "
            "pass the listing that nvdisasm -c -gi prints of the kernel's own cubin"
        )
    return parsed(entry, parts[2 * names.index(entry) + 2].splitlines())


def parsed(name: str, lines: Sequence[str]) -> Listing:
    """Return the kernel that ``lines`` hold."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    frames: tuple[tuple[str, int], ...] = ()
    opened = False  # the frames that are being read belong together
    for line in lines:
        if "//##" in line:
            if frame := _FRAME.search(line):
                frames = (*(frames if opened else ()), (frame[1].rsplit("/", 1)[-1], int(frame[2])))
                opened = True
        elif match := _INSTRUCTION.match(line):
            words = _COMMENT.sub("", match[4]).replace(".reuse", "")
            operands = tuple(word.strip() for word in words.split(",") if word.strip())
            instructions.append(Instruction(match[2] or "", match[3], operands, frames))
            opened = False
        elif label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
    return Listing(name, tuple(instructions), labels)
