"""Floating-point and conversion instructions, with the rounding that each one names."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.halves import HALVES
from edgeosr.kernels.counting.operands import (
    Lanes,
    NotModelledError,
    Read,
    Registers,
    predicate,
    real,
    signed,
    to_predicate,
    to_word,
    unsigned,
)
from edgeosr.kernels.counting.relations import JOIN, RELATIONS
from edgeosr.kernels.counting.step import Made, ones

Operands = tuple[str, ...]
_SMALLEST = np.float32(2.0**-126)  # normal
_ROUNDINGS = ("RM", "RP", "RZ")


def arithmetic(count: int, function: Callable[..., Any]) -> Callable[[Operands, list[str]], Made]:
    """Return the maker of FADD, FMUL or FFMA: exact in float64 up to a sticky last bit, then rounded once."""

    def make(operands: Operands, modifiers: list[str]) -> Made:
        to, sources = operands[0], operands[1 : count + 1]
        reads, write = [real(text) for text in sources], to_word(to)
        mode = next((m for m in _ROUNDINGS if m in modifiers), "RN")
        flush, saturate = "FTZ" in modifiers, "SAT" in modifiers

        def run(s: Registers, ix: Lanes) -> None:
            values = [flushed(read(s, ix)) if flush else read(s, ix) for read in reads]
            found = _rounded(function(*(np.asarray(v, np.float64) for v in values)), mode)
            found = flushed(found) if flush else found
            write(s, ix, np.clip(np.nan_to_num(found, nan=0.0), 0, 1) if saturate else found)

        return run, ones(to), ones(*sources)

    return make


def _sum(a: Any, b: Any) -> Any:
    """Return a + b, the last bit odd if bits were lost: rounding that to float32 is rounding the sum."""
    total = np.asarray(a + b)
    shadow = total - a
    lost = (a - (total - shadow)) + (b - shadow)
    bits = total.view(np.int64)
    odd = np.isfinite(total) & (lost != 0) & (bits & 1 == 0)
    return np.where(odd, bits + np.where((lost > 0) == (total > 0), 1, -1), bits).view(np.float64)


def _rounded(exact: Any, mode: str) -> Any:
    nearest = np.asarray(exact).astype(np.float32)
    if mode == "RN":
        return nearest
    back = nearest.astype(np.float64)
    down = np.nextafter(nearest, np.float32(-np.inf))
    up = np.nextafter(nearest, np.float32(np.inf))
    below = (back > exact) & (mode == "RM" or (mode == "RZ") & (exact > 0))
    above = (back < exact) & (mode == "RP" or (mode == "RZ") & (exact < 0))
    return np.where(below, down, np.where(above, up, nearest))


def flushed(value: Any) -> Any:
    """Return the value with subnormal numbers as zeros of their sign."""
    return np.where(np.abs(value) < _SMALLEST, np.copysign(np.float32(0), value), value).astype(np.float32)


_UNARY: dict[str, Callable[[Any], Any]] = {
    "RCP": lambda x: 1.0 / x,
    "RSQ": lambda x: 1.0 / np.sqrt(x),
    "SQRT": np.sqrt,
    "EX2": np.exp2,
    "LG2": np.log2,
    "TANH": np.tanh,
}


def special(operands: Operands, modifiers: list[str]) -> Made:
    """MUFU: the special-function unit; here correctly rounded, on a device within an ulp or two."""
    to, a = operands
    read, write, function = real(a), to_word(to), _UNARY[modifiers[0]]

    def run(s: Registers, ix: Lanes) -> None:
        write(s, ix, np.asarray(function(np.asarray(read(s, ix), np.float64))).astype(np.float32))

    return run, ones(to), ones(a)


def _related(name: str, x: Any, y: Any) -> Any:
    """Whether the relation holds; one that ends in U holds for not-a-numbers too."""
    unordered = np.isnan(x) | np.isnan(y)
    if name in ("NAN", "NUM"):
        return unordered if name == "NAN" else ~unordered
    found = RELATIONS[name[:2]](x, y)
    return (found | unordered) if name.endswith("U") else (found & ~unordered)


def compare_to_number(operands: Operands, modifiers: list[str]) -> Made:
    """FSET.BF: 1.0 where the relation holds, else 0."""
    to, a, b, other = operands
    if modifiers[0] != "BF":
        raise NotModelledError(f"FSET.{'.'.join(modifiers)}")
    left, right, more, write = real(a), real(b), predicate(other), to_word(to)
    name, join = modifiers[1], JOIN[modifiers[-1]]

    def run(s: Registers, ix: Lanes) -> None:
        found = join(_related(name, left(s, ix), right(s, ix)), more(s, ix))
        write(s, ix, np.asarray(found).astype(np.float32))

    return run, ones(to), ones(a, b, other)


def compare(operands: Operands, modifiers: list[str]) -> Made:
    """FSETP."""
    first, second, a, b, other = operands[:5]
    left, right, more = real(a), real(b), predicate(other)
    name, join = modifiers[0], JOIN[modifiers[-1]]
    put, put_opposite = to_predicate(first), to_predicate(second)

    def run(s: Registers, ix: Lanes) -> None:
        found = _related(name, left(s, ix), right(s, ix))
        joined = more(s, ix)
        put(s, ix, join(found, joined))
        put_opposite(s, ix, join(~found, joined))

    return run, ones(first, second), ones(a, b, other)


def select(operands: Operands, modifiers: list[str]) -> Made:
    """FSEL."""
    to, a, b, p = operands
    left, right, which, write = real(a), real(b), predicate(p), to_word(to)

    def run(s: Registers, ix: Lanes) -> None:
        found: Any = np.where(which(s, ix), left(s, ix), right(s, ix))
        write(s, ix, found.astype(np.float32))

    return run, ones(to), ones(a, b, p)


def smaller_or_larger(operands: Operands, modifiers: list[str]) -> Made:
    """FMNMX: min (PT) or max (!PT); a not-a-number loses, with ``.NAN`` it wins."""
    to, a, b, p = operands
    left, right, which, write = real(a), real(b), predicate(p), to_word(to)
    least, most = (np.minimum, np.maximum) if "NAN" in modifiers else (np.fmin, np.fmax)

    def run(s: Registers, ix: Lanes) -> None:
        x, y = left(s, ix), right(s, ix)
        found: Any = np.where(which(s, ix), least(x, y), most(x, y))
        write(s, ix, found.astype(np.float32))

    return run, ones(to), ones(a, b, p)


def division_needs_care(operands: Operands, modifiers: list[str]) -> Made:
    """FCHK: whether a / b is out of the range of the fast sequence (the slow one is right everywhere)."""
    to, a, b = operands
    left, right, put = real(a), real(b), to_predicate(to)

    def run(s: Registers, ix: Lanes) -> None:
        over = (np.asarray(left(s, ix)).view(np.uint32) >> 23 & 0xFF).astype(np.int64)
        under = (np.asarray(right(s, ix)).view(np.uint32) >> 23 & 0xFF).astype(np.int64)
        put(s, ix, (under < 2) | (under > 252) | (over < 25) | (over > 252) | (abs(over - under) > 124))

    return run, ones(to), ones(a, b)


def to_float(operands: Operands, modifiers: list[str]) -> Made:
    """I2F and I2FP: an integer as float32; ``.U16`` and ``.S16`` take the low half of the register."""
    to, a = operands
    half = next((kind for kind in ("U16", "S16") if kind in modifiers), "")
    if half and "." in a:
        raise NotModelledError(f"half a register, {a}, is not modelled")
    read: Any = unsigned(a) if "U32" in modifiers else _half_of(a, half) if half else signed(a)
    write = to_word(to)
    mode = next((m for m in _ROUNDINGS if m in modifiers), "RN")
    return lambda s, ix: write(s, ix, _rounded(read(s, ix).astype(np.float64), mode)), ones(to), ones(a)


def _half_of(text: str, kind: str) -> Read:
    read = unsigned(text)

    def low(s: Registers, ix: Lanes) -> Any:
        bits = (np.asarray(read(s, ix)) & 0xFFFF).astype(np.uint16)
        return bits.view(np.int16) if kind == "S16" else bits

    return low


def to_integer(operands: Operands, modifiers: list[str]) -> Made:
    """F2I with TRUNC: toward zero, at the ends of the range beyond it."""
    if "TRUNC" not in modifiers:
        raise NotModelledError("F2I without TRUNC")
    to, a = operands
    read, write = real(a), to_word(to)
    low, high = (0, 2**32 - 1) if "U32" in modifiers else (-(2**31), 2**31 - 1)

    def run(s: Registers, ix: Lanes) -> None:
        value = np.nan_to_num(np.asarray(read(s, ix), np.float64), nan=0.0)
        write(s, ix, np.clip(np.trunc(value), low, high).astype(np.int64) & 0xFFFFFFFF)

    return run, ones(to), ones(a)


FLOATING: dict[str, Callable[[Operands, list[str]], Made]] = {
    "FADD": arithmetic(2, _sum),
    "FMUL": arithmetic(2, lambda a, b: a * b),
    "FFMA": arithmetic(3, lambda a, b, c: _sum(a * b, c)),
    "MUFU": special,
    "FSETP": compare,
    "FSET": compare_to_number,
    "FSEL": select,
    "FMNMX": smaller_or_larger,
    "FCHK": division_needs_care,
    **dict.fromkeys(("I2F", "I2FP"), to_float),
    "F2I": to_integer,
    **HALVES,
}
