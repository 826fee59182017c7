"""Arithmetic on short constants that comes out alike everywhere, however onnxruntime orders or joins it.

It makes ``y / x`` of ``1 / x * y``, keeps float16 in float32 in between, and adds up int64 in float64. So
whole numbers are known as long as nothing leaves their range on the way, and others where no order rounds
them: multiples of 1/256 up to 65536, all of which float32 holds.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
_GRID, _LARGEST_FLOAT = 256, 1 << 16
# onnxruntime adds up int64 in float64, and stops at the end of a range.
_LARGEST_SUM = 1 << 53
# Of a Range: its length is computed in float64 too.
_LONGEST_WAY = 1 << 31


def _fitting(made: Any, dtype: "np.dtype[Any]") -> Values | None:
    """Return whole numbers in their type; None if one of them is out of its range."""
    limits = np.iinfo(dtype)
    whole = np.asarray(made, object)
    if any(not limits.min <= each <= limits.max for each in whole.reshape(-1)):
        return None
    return whole.astype(dtype)


def _even(values: Values) -> bool:
    """Tell whether no order of a few sums or products rounds these floats."""
    steps = values.astype(np.float64) * _GRID
    return bool((np.abs(steps) <= _GRID * _LARGEST_FLOAT).all() and (steps == np.rint(steps)).all())


def _calculated(
    whole: Callable[[int, int], int], rule: Callable[[Values, Values], Values]
) -> Callable[[Values, Values], Values | None]:
    def made(left: Values, right: Values) -> Values | None:
        if left.dtype != right.dtype:
            return None
        if left.dtype.kind in "iu":
            return _fitting(np.frompyfunc(whole, 2, 1)(left.astype(object), right.astype(object)), left.dtype)
        if left.dtype.kind != "f" or left.dtype == np.float16 or not (_even(left) and _even(right)):
            return None
        # Of such numbers float64 makes the very sums and products, and then they must be such numbers again.
        result = np.asarray(rule(left.astype(np.float64), right.astype(np.float64)))
        return result.astype(left.dtype) if _even(result) else None

    return made


def _whole_quotient(left: int, right: int) -> int:
    if left == 1 and abs(right) != 1:
        raise ValueError("a reciprocal is joined with what is multiplied by it")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _float_quotient(left: Values, right: Values) -> Values:
    quotient = left / right
    if not (quotient * right == left).all():
        raise ValueError("a quotient that is rounded")
    return quotient


def _whole_remainder(left: int, right: int) -> int:
    return left % _divisor(right)


def _whole_remainder_of_c(left: int, right: int) -> int:
    return (-1 if left < 0 else 1) * (abs(left) % abs(_divisor(right)))


def _divisor(number: int) -> int:
    if number == -1:
        raise ValueError("by -1 the least number has no remainder on some processors")
    return number


added = _calculated(operator.add, operator.add)
subtracted = _calculated(operator.sub, operator.sub)
multiplied = _calculated(operator.mul, operator.mul)
divided = _calculated(_whole_quotient, _float_quotient)
remainder = _calculated(_whole_remainder, np.mod)
remainder_of_c = _calculated(_whole_remainder_of_c, np.fmod)


def negative(values: Values) -> Values | None:
    """Return ``-values``; None where that is no such number."""
    return -values if values.dtype.kind == "f" else _fitting(-values.astype(object), values.dtype)


def absolute(values: Values) -> Values | None:
    """Return ``|values|``; None where that is no such number."""
    return np.abs(values) if values.dtype.kind == "f" else _fitting(abs(values.astype(object)), values.dtype)


def cast(values: Values, dtype: "np.dtype[Any]") -> Values | None:
    """Return numbers of another type; None where they do not stay what they are, but for what is cut off."""
    if dtype.kind == "b" or dtype == values.dtype:
        return values.astype(dtype)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return None
    if dtype.kind in "iu":
        # Beyond the range of whole numbers every processor makes something else.
        cut = [int(each) for each in values.reshape(-1).tolist()]
        return _fitting(np.array(cut, object).reshape(values.shape), dtype)
    if dtype == np.float16:  # onnxruntime goes by way of float32, and rounds twice
        return None
    made = values.astype(dtype)
    return made if made.tolist() == values.tolist() else None


def summed(values: Values, axis: tuple[int, ...] | None, keepdims: bool) -> Values | None:
    """Return sums of whole numbers, if no part of them leaves the range."""
    whole = values.astype(object)
    most = abs(whole).sum()
    if most > _LARGEST_SUM or _fitting(most, values.dtype) is None:
        return None
    return np.asarray(whole.sum(axis=axis, keepdims=keepdims)).astype(values.dtype)


def multiplied_along(values: Values, axis: tuple[int, ...] | None, keepdims: bool) -> Values | None:
    """Return products of whole numbers, if no part of them leaves the range."""
    whole = values.astype(object)
    most = np.maximum(abs(whole), 1).prod()
    if most > _LARGEST_SUM or _fitting(most, values.dtype) is None:
        return None
    return np.asarray(whole.prod(axis=axis, keepdims=keepdims)).astype(values.dtype)


def ranged(start: int, limit: int, step: int) -> range | None:
    """Return the numbers of a Range; None where its length may come out otherwise."""
    return range(start, limit, step) if max(abs(limit - start), abs(step)) < _LONGEST_WAY else None
