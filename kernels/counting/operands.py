"""Operands as printed, turned into functions that read or write the lanes' registers.

``[R2.64+0x4]``, ``-|R3|``, ``!P0``, ``c[0x0][0x210]``: what SASS writes. A register file is an array
``[register, lane]``; of uniform registers every lane keeps a copy. RZ, URZ, PT and UPT are rows of their own,
and what is written to them goes to a row that nobody reads.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Lanes = Any  # an index array, or a slice where the lanes lie together
Read = Callable[["Registers", Lanes], Any]
Write = Callable[["Registers", Lanes, Any], None]

ZERO, UNIFORM_ZERO, TRUE = 255, 63, 7
_TRASH, _UNIFORM_TRASH, _PREDICATE_TRASH = 256, 64, 8
# Names of registers for the timeline: one numbering for all files.
UNIFORM_AT, PREDICATE_AT, UNIFORM_PREDICATE_AT, NAMES = 257, 322, 331, 340
_REGISTER = re.compile(r"^(U?)R(\d+|Z)")
_PREDICATE = re.compile(r"^(!?)(U?)P(\d|T)$")
_CONSTANT = re.compile(r"^c\[0x(\w+)\]\[(?:(U?R\d+)\+?)?(?:(-?0x\w+))?\]$")
_SPECIAL = {"+INF": math.inf, "-INF": -math.inf, "+QNAN": math.nan, "-QNAN": math.nan}


class NotModelledError(Exception):
    """An instruction or a form of operand that the interpreter does not know."""


@dataclass
class Registers:
    """The register files of all lanes; ``constants``: bank to its bytes as 32-bit words."""

    lanes: int
    constants: dict[int, Array]
    general: Array = field(init=False)
    uniform: Array = field(init=False)
    predicate: Array = field(init=False)
    uniform_predicate: Array = field(init=False)

    def __post_init__(self) -> None:
        """Make the files, the constant rows set."""
        self.general = np.zeros((_TRASH + 1, self.lanes), np.uint32)
        self.uniform = np.zeros((_UNIFORM_TRASH + 1, self.lanes), np.uint32)
        self.predicate = np.zeros((_PREDICATE_TRASH + 1, self.lanes), bool)
        self.uniform_predicate = np.zeros((_PREDICATE_TRASH + 1, self.lanes), bool)
        self.predicate[TRUE] = self.uniform_predicate[TRUE] = True


def plain(text: str) -> str:
    """Return the operand without sign, inversion and bars."""
    return text.strip().lstrip("-~!").strip("|")


def is_predicate(text: str) -> bool:
    """Whether the operand is a predicate."""
    return _PREDICATE.match(text) is not None


def names(text: str, width: int = 1) -> list[int]:
    """Return the numbers of the registers that an operand names, ``width`` in a row; constants have none.

    An address names each register in it, two where it says ``.64``.
    """
    if match := _PREDICATE.match(text):
        if match[3] == "T":
            return []
        return [(UNIFORM_PREDICATE_AT if match[2] else PREDICATE_AT) + int(match[3])]
    found: list[int] = []
    inner = re.findall(r"U?R\d+(?:\.64)?", text)
    for word in inner:
        many = 2 if word.endswith(".64") else width
        number = int(re.sub(r"\D", "", word.split(".")[0]))
        found += [(UNIFORM_AT if word[0] == "U" else 0) + number + i for i in range(many)]
    return found


def word(text: str) -> Read:
    """Read 32 bits: register, immediate or constant, with its ``-`` or ``~``."""
    inner = plain(text)
    read = _raw(inner)
    if text.startswith("~"):
        return lambda s, ix: ~read(s, ix)
    if text.startswith("-") and not inner[0].isdigit():
        return lambda s, ix: (~read(s, ix)) + np.uint32(1)
    if text.startswith("-"):
        fixed = np.uint32(-int(inner, 0) & 0xFFFFFFFF)
        return lambda s, ix: fixed
    return read


def addend(text: str) -> Read:
    """Read 32 bits as int64 such that a sum's bits from 32 on are its carries (``-x`` is ``~x + 1``)."""
    read = word(plain(text)) if text.startswith("-") and not plain(text)[0].isdigit() else word(text)
    if text.startswith("-") and not plain(text)[0].isdigit():
        return lambda s, ix: np.int64(1 << 32) - _int64(read(s, ix))
    return lambda s, ix: _int64(read(s, ix))


def signed(text: str) -> Read:
    """Read 32 bits as a signed int64."""
    read = word(text)
    return lambda s, ix: np.asarray(read(s, ix)).view(np.int32).astype(np.int64)


def unsigned(text: str) -> Read:
    """Read 32 bits as an unsigned int64."""
    read = word(text)
    return lambda s, ix: _int64(read(s, ix))


def pair(text: str) -> Read:
    """Read 64 bits, the register and the next, as int64 (bits, not value)."""
    inner = plain(text)
    match = _REGISTER.match(inner)
    if match and match[2] == "Z":
        return lambda s, ix: np.int64(0)
    if match:
        at, uniform = int(match[2]), bool(match[1])

        def both(s: Registers, ix: Lanes) -> Any:
            file = s.uniform if uniform else s.general
            return _int64(file[at][ix]) | (_int64(file[at + 1][ix]) << 32)

        return both
    constant = _CONSTANT.match(inner)
    if constant and not constant[2]:
        bank, at = int(constant[1], 16), int(constant[3] or "0", 16) >> 2
        return lambda s, ix: np.int64(s.constants[bank][at : at + 2].view(np.int64)[0])
    if constant:
        bank, words = int(constant[1], 16), _words_by_register(constant, 2)

        def two(s: Registers, ix: Lanes) -> Any:
            at = words(s, ix)
            return _int64(s.constants[bank][at]) | (_int64(s.constants[bank][at + 1]) << 32)

        return two
    raise NotModelledError(f"64 bits of {text}")


def real(text: str) -> Read:
    """Read a float32, with its bars and sign; ``.H0_H0`` and ``.H1_H1`` are halves of a register."""
    inner = plain(text)
    magnitude, negative = "|" in text, text.startswith("-")
    match = _REGISTER.match(inner)
    if match is None and not inner.startswith("c["):
        value = _literal(text)
        return lambda s, ix: value
    half = inner[-5:] if inner.endswith(("H0_H0", "H1_H1")) else ""
    read = _raw(inner.split(".")[0])

    def get(s: Registers, ix: Lanes) -> Any:
        bits = np.asarray(read(s, ix))
        if half:
            bits = (bits >> np.uint32(16 if half[1] == "1" else 0)).astype(np.uint16)
            found = bits.view(np.float16).astype(np.float32)
        else:
            found = bits.view(np.float32)
        found = np.abs(found) if magnitude else found
        return -found if negative else found

    return get


def predicate(text: str) -> Read:
    """Read a predicate, with its ``!``."""
    match = _PREDICATE.match(text)
    if match is None:
        raise NotModelledError(f"predicate {text}")
    at, uniform, inverted = TRUE if match[3] == "T" else int(match[3]), bool(match[2]), bool(match[1])

    def get(s: Registers, ix: Lanes) -> Any:
        found = (s.uniform_predicate if uniform else s.predicate)[at][ix]
        return ~found if inverted else found

    return get


def to_predicate(text: str) -> Write:
    """Write a predicate."""
    match = _PREDICATE.match(text)
    if match is None:
        raise NotModelledError(f"predicate {text} as a result")
    at, uniform = _PREDICATE_TRASH if match[3] == "T" else int(match[3]), bool(match[2])

    def put(s: Registers, ix: Lanes, value: Any) -> None:
        (s.uniform_predicate if uniform else s.predicate)[at][ix] = value

    return put


def to_word(text: str, next_by: int = 0) -> Write:
    """Write 32 bits (of float32 or integers, the low ones) to the register, or ``next_by`` after it."""
    match = _REGISTER.match(text)
    if match is None:
        raise NotModelledError(f"{text} as a result")
    uniform = bool(match[1])
    trash = _UNIFORM_TRASH if uniform else _TRASH
    at = trash if match[2] == "Z" else int(match[2]) + next_by

    def put(s: Registers, ix: Lanes, value: Any) -> None:
        found = np.asarray(value)
        if found.dtype == np.float32 or found.dtype == np.int32:
            found = found.view(np.uint32)
        elif found.dtype != np.uint32:
            found = found.astype(np.uint32)
        (s.uniform if uniform else s.general)[at][ix] = found

    return put


def to_pair(text: str) -> Write:
    """Write the 64 bits of an int64."""
    low, high = to_word(text), to_word(text, 1)

    def put(s: Registers, ix: Lanes, value: Any) -> None:
        found = np.asarray(value, np.int64)
        low(s, ix, found & 0xFFFFFFFF)
        high(s, ix, (found >> 32) & 0xFFFFFFFF)

    return put


def address(text: str) -> Read:
    """Read the address in the last brackets, as int64."""
    inner = text[text.rindex("[") + 1 : text.rindex("]")]
    terms: list[Read] = []
    for part in re.sub(r"\+-", "+~", inner).split("+"):
        if re.match(r"~?(0x)?[0-9a-f]+$", part):
            value = np.int64(int(part.lstrip("~"), 0) * (-1 if part.startswith("~") else 1))
            terms.append(_fixed(value))
        else:
            terms.append(_address_register(part))

    def get(s: Registers, ix: Lanes) -> Any:
        total: Any = terms[0](s, ix)
        for term in terms[1:]:
            total = total + term(s, ix)
        return total

    return get


def _address_register(part: str) -> Read:
    name, _, suffix = part.partition(".")
    if suffix == "64":
        return pair(name)
    scale = {"": 1, "U32": 1, "X4": 4, "X8": 8, "X16": 16}.get(suffix)
    if scale is None:
        raise NotModelledError(f"address register {part}")
    read = signed(name)
    return lambda s, ix: read(s, ix) * scale


def _fixed(value: Any) -> Read:
    return lambda s, ix: value


def _int64(value: Any) -> Any:
    return np.asarray(value).astype(np.int64)


def _raw(inner: str) -> Read:
    if match := _REGISTER.match(inner):
        uniform = bool(match[1])
        zero = UNIFORM_ZERO if uniform else ZERO
        at = zero if match[2] == "Z" else int(match[2])
        if uniform:
            return lambda s, ix: s.uniform[at][ix]
        return lambda s, ix: s.general[at][ix]
    if match := _CONSTANT.match(inner):
        bank, offset = int(match[1], 16), int(match[3] or "0", 16)
        if match[2]:
            words = _words_by_register(match, 1)
            return lambda s, ix: s.constants[bank][words(s, ix)]
        return lambda s, ix: s.constants[bank][offset >> 2]
    try:
        value = np.uint32(int(inner, 0) & 0xFFFFFFFF)
    except ValueError:
        value = np.uint32(np.float32(_literal(inner)).view(np.uint32))
    return lambda s, ix: value


def _words_by_register(constant: "re.Match[str]", many: int) -> Read:
    """Find the word, the first of ``many``, of a constant whose place a register says."""
    bank, offset, index = int(constant[1], 16), int(constant[3] or "0", 16), word(constant[2])

    def find(s: Registers, ix: Lanes) -> Any:
        at = (np.asarray(index(s, ix)).view(np.int32).astype(np.int64) + offset) >> 2
        if (at < 0).any() or (at > len(s.constants[bank]) - many).any():
            raise NotModelledError(
                f"{constant[0]} lies outside its bank of {4 * len(s.constants[bank])} bytes"
            )
        return at

    return find


def _literal(text: str) -> np.float32:
    if text.strip() in _SPECIAL:
        return np.float32(_SPECIAL[text.strip()])
    try:
        return np.float32(float(text))
    except ValueError:
        raise NotModelledError(f"operand {text}") from None
