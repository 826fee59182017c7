"""What squashes logits into probabilities, told from numbers alone: which kind it is, and of which tensor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Kind = Literal[
    "scores", "probabilities", "log-probabilities", "negative log-probabilities", "values from 0 to 1"
]

# Exporters and back ends round; a sum of a thousand float32 probabilities is 1 to about 1e-5.
_SUM = 1e-3
_ABSOLUTE = 1e-4
_RELATIVE = 1e-3
# Below this a float32 probability has lost its last bits.
_TINY = 1e-30
# Top values from 0 to 1 this near to 1, in the median, are squashed ones.
_SATURATED = 0.999
# Of the range of an output: how far it may be from a squashing function, if rounded to 256 steps too, and how
# far it must be from a straight line at least, that a function can be called squashing.
_EXACT, _ROUNDED, _BENT, _BENT_CLEARLY = 1e-4, 4e-3, 1e-3, 5e-2
# Of the range of an output: top values this near to its largest, in the median, no longer tell images apart;
# the top values of a good cosine head come near that, but are never the same.
_FLAT, _NOT_FLAT, _THE_SAME = 1e-3, 1e-2, 1e-6
_CAPPED = "values squashed by a tanh"
# ReLU6 ends a head for small devices; within 1e-3 of its range.
_RELU6 = 6.0
_PROBABILITIES = "probabilities times a constant"


@dataclass(frozen=True)
class Undone:
    """What an output holds, and the tensor before it of which it is that.

    Attributes:
        kind: in words.
        name: of the tensor.
        factor: what the tensor is to be multiplied by, to be the scores of small values: of a soft cap.
    """

    kind: str
    name: str
    factor: float = 1.0


def kind_of(rows: Rows) -> Kind:
    """Tell what the values of an output are, by themselves.

    Args:
        rows: float64 ``[images, C]``; rows that are not finite are left out.

    Returns:
        ``probabilities``: from 0 to 1 (or to 100), each row with the sum 1 (or 100). ``log-probabilities``:
        their logarithms, or those with the other sign. ``values from 0 to 1``: all of them, with any sum, as
        of sigmoids. Else ``scores``.
    """
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not rows.size:
        return "scores"
    if rows.min() >= -1e-6:
        total = _total(rows)
        if total is not None and np.abs(rows.sum(axis=1) / total - 1).max() <= _SUM:
            return "probabilities"
        if np.abs(_log_sum(-rows)).max() <= _SUM:
            return "negative log-probabilities"
    if rows.max() <= 1e-6 and np.abs(_log_sum(rows)).max() <= _SUM:
        return "log-probabilities"
    if rows.min() >= -1e-6 and rows.max() <= 1 + 1e-6:
        return "values from 0 to 1"
    return "scores"


def undone(rows: Rows, before: Mapping[str, Rows]) -> Undone | None:
    """Find the tensor of which an output is a squashed form; that may be squashed itself.

    Args:
        rows: of the output.
        before: tensors on the way to it, the first ones first, by name.

    Returns:
        The first tensor whose softmax (or log-softmax, or sigmoid) is the output; then one of which it is a
        multiple of such a function, plus a constant, if that is no straight line; for values that no longer
        rise with the score, the last one of which they are a rising function, the same for all classes, or
        the same but for a factor and a constant for each image. None if there is none: plain scores have
        none, and so have values from 0 to 1 that are not saturated, which then are scores.
    """
    kind = kind_of(rows)
    pairs = {name: pair for name, values in before.items() if (pair := _usable(values, rows)) is not None}
    name = None
    if kind == "values from 0 to 1":
        name = _first(pairs, _is_sigmoid)
    elif kind != "scores":
        name = _softmax_of(pairs, kind, _total(rows) or 1.0)
    if name is not None:
        return Undone(kind, name)
    found = _multiple(pairs) or _normalised(pairs)
    if found is None and kind == "values from 0 to 1":
        name = _last_rising(pairs)
        found = None if name is None else Undone(kind, name)
    return found or _no_longer_rising(pairs)


def is_squashed(rows: Rows, before: Mapping[str, Rows]) -> str:
    """Tell what an output holds that is no score and of which no tensor is known; empty if it may be one.

    Args:
        rows: of an output for which ``undone`` finds nothing.
        before: as there.
    """
    kind = kind_of(rows)
    if kind == "values from 0 to 1":
        return kind if is_saturated(rows) else ""
    if kind != "scores":
        return kind
    pairs = {name: pair for name, values in before.items() if (pair := _usable(values, rows)) is not None}
    alike = _first(pairs, lambda values, given: _as_before(values, given) or _as_before(values, given, 0))
    if alike is not None:  # but for a factor and a bias
        names = list(before)
        return is_squashed(before[alike], {name: before[name] for name in names[: names.index(alike)]})
    if not pairs:
        return ""  # straight from the last layer
    rows = next(iter(pairs.values()))[1]
    if rows.min() >= -1e-6 and _same_sum(rows):
        return _PROBABILITIES
    # Two scores may honestly be as far apart as they get, and some models say the same of any image.
    moving = rows.shape[1] > 2 and rows.std(axis=0).max() > _NOT_FLAT * np.ptp(rows)
    flat = moving and _is_flat(rows) and not _is_relu6(rows)
    return "values that no longer rise with the score" if flat else ""


def _softmax_of(pairs: Mapping[str, tuple[Rows, Rows]], kind: Kind, total: float) -> str | None:
    def is_softmax(values: Rows, given: Rows, exact: bool) -> bool:
        with np.errstate(divide="ignore"):
            log = np.log(np.clip(given / total, 0, None)) if kind == "probabilities" else given
        if kind == "negative log-probabilities":
            log = -given
        # A row less its maximum, as a softmax by hand makes it, has the same softmax, but no top score.
        return bool(np.abs(values.max(axis=1)).max() > 1e-6) and _is_softmax(values, log, exact=exact)

    exact = _first(pairs, lambda values, given: is_softmax(values, given, True))
    return exact or _first(pairs, lambda values, given: is_softmax(values, given, False))


def _squashing(values: Rows) -> list[tuple[str, Rows]]:
    """Return what a multiple of such a function is called, and the function of these values."""
    log = values - _log_sum(values)
    with np.errstate(over="ignore"):
        return [
            (_PROBABILITIES, np.exp(log)),
            ("log-probabilities times a constant", log),
            ("sigmoids times a constant", 1 / (1 + np.exp(-values))),
            (_CAPPED, np.tanh(values)),
            ("exponentials", np.exp(values)),
        ]


def _multiple(pairs: Mapping[str, tuple[Rows, Rows]]) -> Undone | None:
    """Return the first tensor of which the rows are a squashing function, times and plus a constant."""
    rounded = None
    for name, (values, rows) in pairs.items():
        straight = (values, values - values.mean(axis=1, keepdims=True))
        bent = min(_distance(each, rows)[0] for each in straight)
        for kind, made in _squashing(values):
            distance, factor = _distance(made, rows)
            words = kind if factor > 0 else f"negated {kind}"
            sure = kind == _PROBABILITIES and rows.min() >= -1e-6 and _same_sum(rows)
            if distance <= _EXACT and (sure or bent > max(_BENT, 10 * distance)):
                return Undone(words, name, _readable(abs(factor)) if kind == _CAPPED else 1.0)
            if kind.endswith("constant") and distance <= _ROUNDED and bent > _BENT_CLEARLY:
                rounded = rounded or Undone(words, name)
    return rounded


def _distance(made: Rows, rows: Rows) -> tuple[float, float]:
    """Return how far rows are from a multiple of ``made`` plus a constant, of their range; and the factor."""
    spread = float(np.ptp(rows))
    if not np.isfinite(made).all() or not np.ptp(made) or not spread:
        return np.inf, 1.0
    # In a range of 1: sums of squares of what is made may be beyond float64.
    unit = (made - made.mean()) / np.ptp(made)
    centred = rows - rows.mean()
    factor = float((unit * centred).sum() / np.square(unit).sum())
    distance = float(np.abs(centred - factor * unit).max()) / spread
    return distance, factor / float(np.ptp(made))


def _readable(factor: float) -> float:
    """Return a factor without its rounding: 30 for 29.9999."""
    short = float(f"{factor:.3g}")
    return short if abs(short - factor) <= _EXACT * factor else factor


def _normalised(pairs: Mapping[str, tuple[Rows, Rows]]) -> Undone | None:
    """Return the first tensor of which each row is the same but for a factor and a constant of its own."""
    for name, (values, rows) in pairs.items():
        flat = _is_flat(rows, _THE_SAME) and not _is_flat(values, _NOT_FLAT)
        if flat and _as_before(values, rows):
            return Undone("scores normalised for each image", name)
    return None


def _no_longer_rising(pairs: Mapping[str, tuple[Rows, Rows]]) -> Undone | None:
    """Return the last tensor of which the rows are one rising function that has ceased to rise at the top."""
    for name in reversed(list(pairs)):
        values, rows = pairs[name]
        if _is_relu6(rows):
            return None
        if _is_flat(rows) and not _is_flat(values, _NOT_FLAT) and _rises(values.ravel(), rows.ravel()):
            return Undone("values that no longer rise with the score", name)
    return None


def _is_flat(rows: Rows, share: float = _FLAT) -> bool:
    """Tell whether most images have nearly the largest top value of all."""
    top = rows.max(axis=1)
    return bool(np.median(top) >= top.max() - share * np.ptp(rows))


def _is_relu6(rows: Rows) -> bool:
    """Tell whether values are clipped to 0..6, and most images still have one class above all others."""
    if rows.shape[1] < 2 or abs(rows.min()) > _FLAT or abs(rows.max() - _RELU6) > _FLAT:
        return False
    second, first = np.sort(rows, axis=1)[:, -2:].T
    return bool(np.mean(first > second) > 0.5)


def _as_before(values: Rows, rows: Rows, axis: int = 1) -> bool:
    """Tell whether each row is the same multiple of its own values, plus a constant; axis 0: each class."""
    if rows.shape[axis] < 3:
        return False
    one, other = (each - each.mean(axis=axis, keepdims=True) for each in (values, rows))
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.square(one).sum(axis=axis) * np.square(other).sum(axis=axis))
        told = lengths > 0
        alike = (one * other).sum(axis=axis)[told] >= (1 - 1e-6) * lengths[told]
    return bool(told.any() and alike.all())


def _same_sum(rows: Rows) -> bool:
    sums = rows.sum(axis=1)
    return bool(np.ptp(sums) <= _SUM * rows.std(axis=0).mean())


def _usable(values: Rows, rows: Rows) -> tuple[Rows, Rows] | None:
    """Return the rows that are finite on both sides; None if these are less than half."""
    usable = np.isfinite(values).all(axis=1) & np.isfinite(rows).all(axis=1)
    return (values[usable], rows[usable]) if usable.mean() >= 0.5 else None


def is_saturated(rows: Rows) -> bool:
    """Tell whether values from 0 to 1 have top values that are nearly all 1."""
    usable = rows[np.isfinite(rows).all(axis=1)]
    return bool(usable.size) and float(np.median(usable.max(axis=1))) > _SATURATED


def _total(rows: Rows) -> float | None:
    """Return what rows of probabilities sum to, 1 or 100; None if it is neither."""
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
