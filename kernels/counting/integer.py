"""Integer arithmetic, moves, comparisons and choices."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.operands import (
    Lanes,
    NotModelledError,
    Registers,
    addend,
    is_predicate,
    pair,
    predicate,
    signed,
    to_pair,
    to_predicate,
    to_word,
    unsigned,
    word,
)
from edgeosr.kernels.counting.relations import JOIN, RELATIONS
from edgeosr.kernels.counting.step import Made, ones

Operands = tuple[str, ...]
_LOW = np.int64(0xFFFFFFFF)


def move(operands: Operands, modifiers: list[str]) -> Made:
    """MOV, UMOV, ULDC, LDC (and R2UR): the value as it is; ``.64`` is two registers, LDCU's ``.128`` four."""
    to, source = operands[0], operands[-1]
    if "128" in modifiers:
        return _four_words(to, source)
    if "64" in modifiers:
        read64, write64 = pair(source), to_pair(to)
        return lambda s, ix: write64(s, ix, read64(s, ix)), [(to, 2)], ones(source)
    read, write = word(source), to_word(to)
    return lambda s, ix: write(s, ix, read(s, ix)), ones(to), ones(source)


def _four_words(to: str, source: str) -> Made:
    place, register = re.fullmatch(r"(c\[0x\w+\])\[0x(\w+)\]", source), re.fullmatch(r"(U?R)(\d+)", to)
    if place is None or register is None:
        raise NotModelledError(f"128 bits of {source}")
    upper = f"{register[1]}{int(register[2]) + 2}"
    reads = pair(source), pair(f"{place[1]}[{int(place[2], 16) + 8:#x}]")
    writes = to_pair(to), to_pair(upper)

    def run(s: Registers, ix: Lanes) -> None:
        for read, write in zip(reads, writes, strict=True):
            write(s, ix, read(s, ix))

    return run, [(to, 4)], ones(source)


def clear(operands: Operands, modifiers: list[str]) -> Made:
    """CS2R of SRZ: zero, two registers wide (``.32``: one)."""
    if operands[1] != "SRZ":
        raise NotModelledError(f"CS2R of {operands[1]}")
    write = to_pair(operands[0])
    if "32" in modifiers:
        return move((operands[0], "RZ"), [])
    return lambda s, ix: write(s, ix, np.int64(0)), [(operands[0], 2)], []


def add(operands: Operands, modifiers: list[str]) -> Made:
    """IADD3, VIADD and their kin: up to three addends, carries out, with ``.X`` carries in.

    ``.64``: pairs of registers, no carries.
    """
    if "64" in modifiers:
        pairs = [text for text in operands[1:] if text != "UPT"]
        whole, keep = [pair(text) for text in pairs], to_pair(operands[0])
        return (
            lambda s, ix: keep(s, ix, sum(read(s, ix) for read in whole)),
            [(operands[0], 2)],
            [(text, 2) for text in pairs],
        )
    to, rest = operands[0], list(operands[1:])
    outs: list[str] = []
    while is_predicate(rest[0]):
        outs.append(rest.pop(0))
    carries = [text for text in rest if is_predicate(text)]
    values = [text for text in rest if not is_predicate(text)]
    reads, flags = [addend(text) for text in values], [predicate(text) for text in carries]
    write, put = to_word(to), [to_predicate(text) for text in outs]

    def run(s: Registers, ix: Lanes) -> None:
        total: Any = sum(flag(s, ix).astype(np.int64) for flag in flags)
        total = total + reads[0](s, ix)
        for number, read in enumerate(reads[1:]):
            total = total + read(s, ix)
            if number < len(put) and len(put) > 1 and number + 2 < len(reads):
                put[1](s, ix, total >> 32 != 0)
                total = total & _LOW
        if put:
            put[0](s, ix, total >> 32 != 0)
        write(s, ix, total & _LOW)

    return run, ones(to, *outs), ones(*values, *carries)


def multiply(operands: Operands, modifiers: list[str]) -> Made:
    """IMAD in all its forms: a b + c, high part, 64 bits wide, or with a carry in."""
    to, a, b, c = operands[:4]
    wide, high, is_unsigned = "WIDE" in modifiers, "HI" in modifiers, "U32" in modifiers
    if not wide and not high:
        first, second, third = word(a), word(b), word(c)
        write = to_word(to)
        carries = [predicate(text) for text in operands[4:]] if "X" in modifiers else []

        def low(s: Registers, ix: Lanes) -> None:
            total = first(s, ix) * second(s, ix) + third(s, ix)
            for carry in carries:
                total = total + carry(s, ix).astype(np.uint32)
            write(s, ix, total)

        return low, ones(to), ones(a, b, c, *operands[4:])
    convert: Callable[[str], Any] = unsigned if is_unsigned else signed
    left, right, more = convert(a), convert(b), pair(c)
    if high:
        write = to_word(to)

        def upper(s: Registers, ix: Lanes) -> None:
            product = left(s, ix).astype(np.uint64) * right(s, ix).astype(np.uint64)
            write(s, ix, (product + np.asarray(more(s, ix)).astype(np.uint64)) >> np.uint64(32))

        if not is_unsigned:
            raise NotModelledError("IMAD.HI of signed numbers")
        return upper, ones(to), [*ones(a, b), (c, 2)]
    put = to_pair(to)

    def whole(s: Registers, ix: Lanes) -> None:
        with np.errstate(over="ignore"):
            product = left(s, ix).astype(np.uint64) * right(s, ix).astype(np.uint64)
            put(s, ix, (product + np.asarray(more(s, ix)).astype(np.uint64)).view(np.int64))

    return whole, [(to, 2)], [*ones(a, b), (c, 2)]


def scaled_add(operands: Operands, modifiers: list[str]) -> Made:
    """LEA: (a << n) + b; ``.HI``: the upper word of (c:a) << n, plus b; ``.SX32``: c is a's sign."""
    to, rest = operands[0], list(operands[1:])
    outs: list[str] = []
    while is_predicate(rest[0]):
        outs.append(rest.pop(0))
    carries = [text for text in rest if is_predicate(text)]
    values = [text for text in rest if not is_predicate(text)]
    shift = int(values[-1], 0)
    high, sign = "HI" in modifiers, "SX32" in modifiers
    upper = values[2] if high and not sign else "RZ"
    minus = values[0].startswith("-")
    a, b, c = (
        signed(values[0]) if sign or minus else unsigned(values[0]),
        unsigned(values[1]),
        unsigned(upper),
    )
    flags = [predicate(text) for text in carries]
    write, put = to_word(to), [to_predicate(text) for text in outs]

    def run(s: Registers, ix: Lanes) -> None:
        whole = (a(s, ix) << shift) if sign else ((c(s, ix) << 32 | a(s, ix)) << shift)
        total = ((whole >> 32) if high else whole) & _LOW
        total = total + b(s, ix)
        for flag in flags:
            total = total + flag(s, ix)
        for one in put:
            one(s, ix, total >> 32 != 0)
        write(s, ix, total & _LOW)

    return run, ones(to, *outs), ones(*values[:-1], *carries)


def compare(operands: Operands, modifiers: list[str]) -> Made:
    """ISETP: a relation joined with a predicate, and its opposite joined likewise.

    ``.EX`` compares the high words of 64 bits; the last operand is what the low words gave.
    """
    first, second, a, b, other = operands[:5]
    convert: Callable[[str], Any] = unsigned if "U32" in modifiers else signed
    left, right, more = convert(a), convert(b), predicate(other)
    relation = RELATIONS[modifiers[0]]
    join = JOIN[next(word for word in modifiers if word in JOIN)]
    low = predicate(operands[5]) if "EX" in modifiers else None
    put, put_opposite = to_predicate(first), to_predicate(second)

    def run(s: Registers, ix: Lanes) -> None:
        x, y, joined = left(s, ix), right(s, ix), more(s, ix)
        found = relation(x, y) if low is None else np.where(x == y, low(s, ix), relation(x, y))
        put(s, ix, join(found, joined))
        put_opposite(s, ix, join(~found, joined))

    return run, ones(first, second), ones(a, b, *operands[4:])


def select(operands: Operands, modifiers: list[str]) -> Made:
    """SEL: a where the predicate holds, else b."""
    to, a, b, p = operands
    left, right, which, write = word(a), word(b), predicate(p), to_word(to)
    return (
        lambda s, ix: write(s, ix, np.where(which(s, ix), left(s, ix), right(s, ix))),
        ones(to),
        ones(a, b, p),
    )


def smaller_or_larger(operands: Operands, modifiers: list[str]) -> Made:
    """IMNMX, VIMNMX, VIADDMNMX: min (PT) or max (!PT) of a (+ b) and the next; ``.RELU``: not below 0.

    The predicate results of VIMNMX.RELU are taken to say that the second value was chosen.
    """
    to, rest = operands[0], list(operands[1:])
    outs: list[str] = []
    while is_predicate(rest[0]):
        outs.append(rest.pop(0))
    which = predicate(rest[-1])
    convert: Callable[[str], Any] = unsigned if "U32" in modifiers else signed
    values = rest[:-1]
    left, right = convert(values[0]), convert(values[-1])
    more = convert(values[1]) if len(values) == 3 else None
    write, put = to_word(to), [to_predicate(text) for text in outs]

    def run(s: Registers, ix: Lanes) -> None:
        a, b = left(s, ix), right(s, ix)
        if more is not None:
            total = np.asarray(a + more(s, ix)) & _LOW  # the sum has 32 bits, then it is compared
            a = total if "U32" in modifiers else total.astype(np.uint32).view(np.int32).astype(np.int64)
        least = which(s, ix)
        found = np.where(least, np.minimum(a, b), np.maximum(a, b))
        if "RELU" in modifiers:
            found = np.maximum(found, 0)
        for one in put:
            one(s, ix, np.where(least, a >= b, a <= b))
        write(s, ix, found & _LOW)

    return run, ones(to, *outs), ones(*values, rest[-1])


def absolute(operands: Operands, modifiers: list[str]) -> Made:
    """IABS."""
    to, a = operands
    read, write = signed(a), to_word(to)
    return lambda s, ix: write(s, ix, np.abs(read(s, ix)) & _LOW), ones(to), ones(a)


INTEGER: dict[str, Callable[[Operands, list[str]], Made]] = {
    **dict.fromkeys(("MOV", "UMOV", "ULDC", "LDC", "LDCU"), move),
    "CS2R": clear,
    **dict.fromkeys(("IADD3", "UIADD3", "VIADD", "IADD"), add),
    **dict.fromkeys(("IMAD", "UIMAD"), multiply),
    **dict.fromkeys(("LEA", "ULEA"), scaled_add),
    **dict.fromkeys(("ISETP", "UISETP"), compare),
    **dict.fromkeys(("SEL", "USEL"), select),
    **dict.fromkeys(("IMNMX", "VIMNMX", "VIADDMNMX", "UIMNMX"), smaller_or_larger),
    "IABS": absolute,
}
