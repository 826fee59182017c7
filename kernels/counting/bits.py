"""Shifts, logic of bits and predicates, permutations."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.operands import (
    Lanes,
    NotModelledError,
    Registers,
    is_predicate,
    predicate,
    to_predicate,
    to_word,
    unsigned,
    word,
)
from edgeosr.kernels.counting.step import Made, ones

Operands = tuple[str, ...]
_LOW = np.int64(0xFFFFFFFF)


def shift(operands: Operands, modifiers: list[str]) -> Made:
    """SHF: left, or right, of one word or of a pair; counts beyond the width give zeros (or signs).

    With ``.W`` they begin anew.
    """
    to, a, n, c = operands[:4]
    low, count, high = unsigned(a), unsigned(n), unsigned(c)
    write = to_word(to)
    left, wide, upper = modifiers[0] == "L", "64" in "".join(modifiers), "HI" in modifiers
    signs = "S32" in modifiers or "S64" in modifiers
    most = 63 if wide else 32
    wraps = (64 if wide else 32) if "W" in modifiers else 0

    def run(s: Registers, ix: Lanes) -> None:
        by = count(s, ix) % wraps if wraps else np.minimum(count(s, ix), most)
        if wide:
            whole = (np.asarray(high(s, ix)) << 32) | low(s, ix)
            bits = whole.astype(np.uint64)
            found = (bits << by.astype(np.uint64)) if left else (bits >> by.astype(np.uint64))
            found = (found >> np.uint64(32)) if upper else found
            write(s, ix, (found & np.uint64(0xFFFFFFFF)).astype(np.uint32))
        elif left:
            write(s, ix, (low(s, ix) << by) & _LOW)
        else:
            value = np.asarray(high(s, ix) if upper else low(s, ix)).astype(np.int64)
            if signs:
                value = value.astype(np.uint32).view(np.int32).astype(np.int64)
            write(s, ix, (value >> by) & _LOW)

    return run, ones(to), ones(a, n, c)


def logic(operands: Operands, modifiers: list[str]) -> Made:
    """LOP3.LUT: any function of three bits; a predicate out says whether a bit is set."""
    rest = list(operands)
    out = rest.pop(0) if is_predicate(rest[0]) else "PT"
    to, a, b, c, table = rest[0], word(rest[1]), word(rest[2]), word(rest[3]), int(rest[4], 0)
    if len(rest) > 5 and rest[5] not in ("!PT", "!UPT"):
        raise NotModelledError(f"LOP3 with {rest[5]}")
    write, put = to_word(to), to_predicate(out)

    def run(s: Registers, ix: Lanes) -> None:
        result = _three_bits(table, a(s, ix), b(s, ix), c(s, ix))
        write(s, ix, result)
        put(s, ix, result != 0)

    return run, ones(to, out), ones(*rest[1:4])


def _three_bits(table: int, a: Any, b: Any, c: Any) -> Any:
    result: Any = np.zeros(np.broadcast(a, b, c).shape, np.uint32)
    for row in range(8):
        if table >> row & 1:
            result = result | ((a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c))
    return result


def predicate_logic(operands: Operands, modifiers: list[str]) -> Made:
    """PLOP3.LUT: two functions of three predicates."""
    outs, ins = operands[:2], operands[2:5]
    tables = [int(text, 0) for text in operands[5:7]]
    put, read = [to_predicate(text) for text in outs], [predicate(text) for text in ins]

    def run(s: Registers, ix: Lanes) -> None:
        a, b, c = (one(s, ix) for one in read)
        index = 4 * a.astype(np.uint8) + 2 * b.astype(np.uint8) + c.astype(np.uint8)
        for one, table in zip(put, tables, strict=True):
            one(s, ix, (table >> index & 1) != 0)

    return run, ones(*outs), ones(*ins)


def population(operands: Operands, modifiers: list[str]) -> Made:
    """POPC: bits that are set."""
    to, a = operands
    read, write = word(a), to_word(to)

    def run(s: Registers, ix: Lanes) -> None:
        bits = np.ascontiguousarray(read(s, ix))
        write(s, ix, np.unpackbits(bits.view(np.uint8)).reshape(-1, 32).sum(axis=1).astype(np.uint32))

    return run, ones(to), ones(a)


def leading_one(operands: Operands, modifiers: list[str]) -> Made:
    """FLO.U32: the number of the highest bit that is set, from the low end; all ones if none is."""
    to, a = operands
    if modifiers != ["U32"]:
        raise NotModelledError(f"FLO.{'.'.join(modifiers)}")
    read, write = unsigned(a), to_word(to)

    def run(s: Registers, ix: Lanes) -> None:
        _, exponent = np.frexp(np.asarray(read(s, ix)).astype(np.float64))  # 0 for 0: the number is -1
        write(s, ix, exponent.astype(np.int64) - 1 & _LOW)

    return run, ones(to), ones(a)


def permute(operands: Operands, modifiers: list[str]) -> Made:
    """PRMT: four bytes out of the eight of (c:a); bit 3 of a selector copies the byte's sign."""
    to, a, selector, c = operands
    low, high, which, write = unsigned(a), unsigned(c), unsigned(selector), to_word(to)

    def run(s: Registers, ix: Lanes) -> None:
        first, second, chosen = low(s, ix), high(s, ix), which(s, ix)
        total: Any = np.int64(0)
        for i in range(4):
            number = chosen >> 4 * i
            byte = (np.where(number & 4, second, first) >> 8 * (number & 3)) & 0xFF
            byte = np.where(number & 8, np.where(byte & 0x80, 0xFF, 0), byte)
            total = total | (byte << 8 * i)
        write(s, ix, total)

    return run, ones(to), ones(a, selector, c)


def pack_predicates(operands: Operands, modifiers: list[str]) -> Made:
    """P2R: predicates as bits, where the mask has them; other bits from the register."""
    to, _, a, mask = operands
    read, write, kept = word(a), to_word(to), int(mask, 0)

    def run(s: Registers, ix: Lanes) -> None:
        bits = np.uint32(0)
        for number in range(7):
            bits = bits | (s.predicate[number][ix].astype(np.uint32) << np.uint32(number))
        write(s, ix, (bits & np.uint32(kept)) | (read(s, ix) & np.uint32(~kept & 0xFFFFFFFF)))

    return run, ones(to), ones(a, *(f"P{i}" for i in range(7) if kept >> i & 1))


def unpack_predicates(operands: Operands, modifiers: list[str]) -> Made:
    """R2P: predicates from a register's bits, where the mask has them."""
    to, a, mask = operands
    if to != "PR":
        raise NotModelledError(f"R2P to {to}")
    numbers = [number for number in range(7) if int(mask, 0) >> number & 1]
    read, puts = word(a), [to_predicate(f"P{number}") for number in numbers]

    def run(s: Registers, ix: Lanes) -> None:
        bits = np.asarray(read(s, ix))
        for number, put in zip(numbers, puts, strict=True):
            put(s, ix, (bits >> np.uint32(number) & np.uint32(1)) != 0)

    return run, ones(*(f"P{number}" for number in numbers)), ones(a)


BITS: dict[str, Callable[[Operands, list[str]], Made]] = {
    **dict.fromkeys(("SHF", "USHF"), shift),
    **dict.fromkeys(("LOP3", "ULOP3"), logic),
    **dict.fromkeys(("PLOP3", "UPLOP3"), predicate_logic),
    **dict.fromkeys(("POPC", "UPOPC"), population),
    **dict.fromkeys(("FLO", "UFLO"), leading_one),
    "PRMT": permute,
    "UPRMT": permute,
    "P2R": pack_predicates,
    "R2P": unpack_predicates,
}
