"""Instructions of two halves a register: conversions, and the product of matrices on the tensor cores."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.operands import Lanes, NotModelledError, Registers, real, to_word, word
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


def half_constant(operands: Operands, modifiers: list[str]) -> Made:
    """HFMA2 of zeros: two halves as a constant, the first on top; or a register as it is."""
    to, a, b, *rest = operands
    if plainly_zero(a) and plainly_zero(b) and len(rest) == 2:
        halves = np.array([float(rest[1]), float(rest[0])], np.float16)
        value, write = np.uint32(halves.view(np.uint32)[0]), to_word(to)
        return lambda s, ix: write(s, ix, value), ones(to), []
    raise NotModelledError(f"HFMA2 {', '.join(operands)}")


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
    "HFMA2": half_constant,
    "HMMA": tensor,
}
