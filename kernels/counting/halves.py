"""Instructions of two halves a register: conversions, and the product of matrices on the tensor cores."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.operands import (
    Lanes,
    NotModelledError,
    Read,
    Registers,
    plain,
    real,
    to_predicate,
    to_word,
    word,
)
from edgeosr.kernels.counting.relations import RELATIONS
from edgeosr.kernels.counting.step import Made, ones

Operands = tuple[str, ...]


def pack_halves(operands: Operands, modifiers: list[str]) -> Made:
    """F2FP.PACK_AB: two float32 as halves, the first on top."""
    to, a, b = operands
    top, bottom, write = real(a), real(b), to_word(to)

    def run(s: Registers, ix: Lanes) -> None:
        high, low = (np.asarray(x(s, ix)).astype(np.float16).view(np.uint16) for x in (top, bottom))
        write(s, ix, high.astype(np.uint32) << np.uint32(16) | low.astype(np.uint32))

    return run, ones(to), ones(a, b)


def to_half(operands: Operands, modifiers: list[str]) -> Made:
    """F2F.F16.F32: a float32 as a half, below zeros."""
    to, a = operands
    if modifiers != ["F16", "F32"]:
        raise NotModelledError(f"F2F.{'.'.join(modifiers)}")
    read, write = real(a), to_word(to)

    def run(s: Registers, ix: Lanes) -> None:
        write(s, ix, np.asarray(read(s, ix)).astype(np.float16).view(np.uint16).astype(np.uint32))

    return run, ones(to), ones(a)


def half_add(operands: Operands, modifiers: list[str]) -> Made:
    """HADD2.F32: one half (the other operand is -RZ) as float32."""
    to, a, b = operands
    if "F32" not in modifiers or a not in ("-RZ", "RZ"):
        raise NotModelledError(f"HADD2 of {a}")
    read, write = real(b if b[-6:-1] == "H0_H" or "_H" in b else f"{b}.H0_H0"), to_word(to)
    return lambda s, ix: write(s, ix, np.asarray(read(s, ix), np.float32)), ones(to), ones(b)


def _couple(text: str) -> Read:
    """Read a register's two halves, ``[2, lane]`` float32, low first; ``.H0_H0``: that one twice."""
    sign, inner = -1.0 if text.startswith("-") else 1.0, plain(text)
    name, _, which = inner.partition(".")
    if "|" in text or which not in _COUPLES or not re.fullmatch(r"R(\d+|Z)", name):
        raise NotModelledError(f"two halves of {text}")
    read, shifts = word(name), _COUPLES[which]

    def get(s: Registers, ix: Lanes) -> Any:
        bits = np.atleast_1d(np.asarray(read(s, ix)))
        halves = np.stack([(bits >> np.uint32(shift)).astype(np.uint16) for shift in shifts])
        return halves.view(np.float16).astype(np.float32) * np.float32(sign)

    return get


_COUPLES = {"": (0, 16), "H0_H0": (0, 0), "H1_H1": (16, 16)}


def _packed(values: Any) -> Any:
    low, high = (one.astype(np.float16).view(np.uint16).astype(np.uint32) for one in values)
    return high << np.uint32(16) | low


def half_product(operands: Operands, modifiers: list[str]) -> Made:
    """HMUL2: two products of halves, each rounded once."""
    to, a, b = operands
    left, right, write = _couple(a), _couple(b), to_word(to)
    return lambda s, ix: write(s, ix, _packed(left(s, ix) * right(s, ix))), ones(to), ones(a, b)


def compare_couples(operands: Operands, modifiers: list[str]) -> Made:
    """HSET2.BF: 1.0 in each half for which the relation holds, else 0."""
    to, a, b, other = operands
    if modifiers[0] != "BF" or other != "PT" or modifiers[2:] != ["AND"]:
        raise NotModelledError(f"HSET2.{'.'.join(modifiers)} with {other}")
    left, right, relation, write = _couple(a), _couple(b), RELATIONS[modifiers[1]], to_word(to)

    def run(s: Registers, ix: Lanes) -> None:
        write(s, ix, _packed(relation(left(s, ix), right(s, ix)).astype(np.float32)))

    return run, ones(to), ones(a, b)


def couples_to_predicates(operands: Operands, modifiers: list[str]) -> Made:
    """HSETP2: a predicate for the low halves and one for the high ones."""
    low, high, a, b, other = operands
    if other != "PT" or modifiers[1:] != ["AND"]:
        raise NotModelledError(f"HSETP2.{'.'.join(modifiers)} with {other}")
    left, right, relation = _couple(a), _couple(b), RELATIONS[modifiers[0]]
    put_low, put_high = to_predicate(low), to_predicate(high)

    def run(s: Registers, ix: Lanes) -> None:
        holds = relation(left(s, ix), right(s, ix))
        put_low(s, ix, holds[0])
        put_high(s, ix, holds[1])

    return run, ones(low, high), ones(a, b)


def half_multiply_add(operands: Operands, modifiers: list[str]) -> Made:
    """HFMA2: of zeros, two halves as a constant, the first on top; else a b + c of both halves, rounded once.

    Halves 2^40 apart and more would be rounded twice here; ours are whole numbers up to 513.
    """
    to, a, b, *rest = operands
    write = to_word(to)
    if plainly_zero(a) and plainly_zero(b) and len(rest) == 2:
        value = _literals(rest[0], rest[1])
        return lambda s, ix: write(s, ix, value), ones(to), []
    left, last = _couple(a), _couple(rest[-1])
    fixed = np.array([float(rest[0]), float(b)], np.float64)[:, None] if len(rest) == 2 else None
    right = _couple(b) if fixed is None else None

    def run(s: Registers, ix: Lanes) -> None:
        factor = fixed if right is None else right(s, ix)
        write(s, ix, _packed(left(s, ix) * np.asarray(factor, np.float64) + last(s, ix)))

    return run, ones(to), ones(a, *([b] if fixed is None else []), rest[-1])


def _literals(top: str, bottom: str) -> np.uint32:
    return np.uint32(np.array([float(bottom), float(top)], np.float16).view(np.uint32)[0])


def plainly_zero(text: str) -> bool:
    """Whether the operand is RZ or -RZ."""
    return text in ("RZ", "-RZ")


def tensor(operands: Operands, modifiers: list[str]) -> Made:
    """HMMA.16816 or .1688 with halves in and float32 out (fragments of the PTX ISA)."""
    if modifiers[-1] != "F32" or modifiers[0] not in ("16816", "1688"):
        raise NotModelledError(f"HMMA.{'.'.join(modifiers)}")
    deep = 16 if modifiers[0] == "16816" else 8
    d, a, b, c = operands

    def numbered(text: str, count: int) -> list[str]:
        return [text if text == "RZ" else f"R{int(text[1:]) + i}" for i in range(count)]

    in_a = [word(text) for text in numbered(a, deep // 4)]
    in_b = [word(text) for text in numbered(b, deep // 8)]
    in_c, out = [real(text) for text in numbered(c, 4)], [to_word(text) for text in numbered(d, 4)]
    lane = np.arange(32)
    group, couple = lane >> 2, (lane & 3) * 2

    def run(s: Registers, ix: Lanes) -> None:
        first = np.asarray(in_a[0](s, ix))
        warps = first.size // 32
        if first.size % 32:
            raise NotModelledError("HMMA by a part of a warp")
        left, right = np.zeros((warps, 16, deep), np.float32), np.zeros((warps, deep, 8), np.float32)
        sums = np.zeros((warps, 16, 8), np.float64)
        for r, read in enumerate(in_a):
            halves = _halves(read(s, ix), warps)
            for i in range(2):
                left[:, group + 8 * (r & 1), couple + 8 * (r >> 1) + i] = halves[:, :, i]
        for r, read in enumerate(in_b):
            halves = _halves(read(s, ix), warps)
            for i in range(2):
                right[:, couple + 8 * r + i, group] = halves[:, :, i]
        for r, value in enumerate(in_c):
            found = np.broadcast_to(value(s, ix), first.shape).reshape(warps, 32)
            sums[:, group + 8 * (r >> 1), couple + (r & 1)] = found
        sums += left.astype(np.float64) @ right.astype(np.float64)
        for r, write in enumerate(out):
            write(s, ix, sums[:, group + 8 * (r >> 1), couple + (r & 1)].astype(np.float32).ravel())

    return run, [(d, 4)], [(a, deep // 4), (b, deep // 8), (c, 4)]


def _halves(bits: Any, warps: int) -> Any:
    return np.ascontiguousarray(bits).view(np.float16).reshape(warps, 32, 2).astype(np.float32)


HALVES: dict[str, Callable[[Operands, list[str]], Made]] = {
    "F2F": to_half,
    "F2FP": pack_halves,
    "HADD2": half_add,
    "HMUL2": half_product,
    "HSET2": compare_couples,
    "HSETP2": couples_to_predicates,
    "HFMA2": half_multiply_add,
    "HMMA": tensor,
}
