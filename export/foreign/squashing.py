"""What squashes logits into probabilities, told from numbers alone: which kind it is, and of which tensor."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Kind = Literal["scores", "probabilities", "log-probabilities", "values from 0 to 1"]

# Exporters and back ends round; a sum of a thousand float32 probabilities is 1 to about 1e-5.
_SUM = 1e-3
_ABSOLUTE = 1e-4
_RELATIVE = 1e-3
# Below this a float32 probability has lost its last bits.
_TINY = 1e-30
# Top values from 0 to 1 this near to 1, in the median, are squashed ones.
_SATURATED = 0.999


def kind_of(rows: Rows) -> Kind:
    """Tell what the values of an output are.

    Args:
        rows: float64 ``[images, C]``; rows that are not finite are left out.

    Returns:
        ``probabilities``: from 0 to 1 (or to 100), each row with the sum 1 (or 100). ``log-probabilities``:
        their logarithms. ``values from 0 to 1``: all of them, with any sum, as of sigmoids. Else ``scores``.
    """
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not rows.size:
        return "scores"
    if rows.min() >= -1e-6:
        total = _total(rows)
        if total is not None and np.abs(rows.sum(axis=1) / total - 1).max() <= _SUM:
            return "probabilities"
    if rows.max() <= 1e-6 and np.abs(_log_sum(rows)).max() <= _SUM:
        return "log-probabilities"
    if rows.min() >= -1e-6 and rows.max() <= 1 + 1e-6:
        return "values from 0 to 1"
    return "scores"


def unsquashed(rows: Rows, kind: Kind, before: Mapping[str, Rows]) -> str | None:
    """Find the logits of an output.

    Args:
        rows: of the output.
        kind: what ``kind_of`` says of it.
        before: tensors on the way to it, the first ones first, by name.

    Returns:
        The first tensor whose softmax (or log-softmax, or sigmoid) is the output; for other values from 0 to
        1 the last one of which they are a rising function, the same for all classes. None if there is none:
        plain scores have none, and so have values from 0 to 1 that are not saturated, which then are scores.
    """
    if kind == "scores":
        return None
    pairs = {name: pair for name, values in before.items() if (pair := _usable(values, rows)) is not None}
    if kind == "values from 0 to 1":
        return _first(pairs, _is_sigmoid) or _last_rising(pairs)
    total = 1.0 if kind == "log-probabilities" else _total(rows) or 1.0

    def is_softmax(values: Rows, given: Rows, exact: bool) -> bool:
        with np.errstate(divide="ignore"):
            log = given if kind == "log-probabilities" else np.log(np.clip(given / total, 0, None))
        # A row less its maximum, as a softmax by hand makes it, has the same softmax, but no top score.
        return bool(np.abs(values.max(axis=1)).max() > 1e-6) and _is_softmax(values, log, exact=exact)

    exact = _first(pairs, lambda values, given: is_softmax(values, given, True))
    return exact or _first(pairs, lambda values, given: is_softmax(values, given, False))


def _usable(values: Rows, rows: Rows) -> tuple[Rows, Rows] | None:
    """Return the rows that are finite on both sides; None if these are less than half."""
    usable = np.isfinite(values).all(axis=1) & np.isfinite(rows).all(axis=1)
    return (values[usable], rows[usable]) if usable.mean() >= 0.5 else None


def is_saturated(rows: Rows) -> bool:
    """Tell whether values from 0 to 1 have top values that are nearly all 1."""
    usable = rows[np.isfinite(rows).all(axis=1)]
    return bool(usable.size) and float(np.median(usable.max(axis=1))) > _SATURATED


def _total(rows: Rows) -> float | None:
    """Return what the rows of probabilities sum to, 1 or 100; None if it is neither."""
    middle = float(np.median(rows.sum(axis=1)))
    return next((total for total in (1.0, 100.0) if abs(middle / total - 1) <= _SUM), None)


def _first(pairs: Mapping[str, tuple[Rows, Rows]], fits: Callable[[Rows, Rows], bool]) -> str | None:
    return next((name for name, (values, rows) in pairs.items() if fits(values, rows)), None)


def _log_sum(rows: Rows) -> Rows:
    top = rows.max(axis=1, keepdims=True)
    total: Rows = top + np.log(np.exp(rows - top).sum(axis=1, keepdims=True))
    return total


def _is_softmax(values: Rows, log: Rows, *, exact: bool) -> bool:
    """Tell whether ``log`` is the log-softmax of ``values``; not ``exact``: but for what is clipped away."""
    made = values - _log_sum(values)
    if np.abs(np.exp(made) - np.exp(log)).max() > _ABSOLUTE:
        return False
    if not exact:
        return True
    told = made > np.log(_TINY)
    with np.errstate(invalid="ignore"):
        distance = np.abs(made - log)[told]
    return bool((distance <= _RELATIVE * np.maximum(1.0, np.abs(made[told]))).all())


def _is_sigmoid(values: Rows, rows: Rows) -> bool:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        made = 1 / (1 + np.exp(-values))
        if np.abs(made - rows).max() > _ABSOLUTE:
            return False
        told = (made > _TINY) & (rows > 0)
        distance = np.abs(np.log(made[told]) - np.log(rows[told]))
        return bool((distance <= _RELATIVE * np.maximum(1.0, np.abs(np.log(made[told])))).all())


def _last_rising(pairs: Mapping[str, tuple[Rows, Rows]]) -> str | None:
    """Return the last tensor that leaves 0..1 and of which the values are one rising function."""
    for name in reversed(list(pairs)):
        values, rows = pairs[name]
        if (values.min() < 0 or values.max() > 1) and _rises(values.ravel(), rows.ravel()):
            return name
    return None


def _rises(values: Rows, squashed: Rows) -> bool:
    order = np.argsort(values, kind="stable")
    steps = np.diff(squashed[order])
    return bool((steps >= -1e-6).all() and (steps > 0).sum() > len(steps) // 20)
