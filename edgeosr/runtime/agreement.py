"""Does a backend say what it must? Expected verdicts against those that came, one by one.

A class or a decision that differs is a difference, whatever the score: only where the expected score is so
near to the threshold, or the second class so near to the first, that rounding decides, it cannot be told. A
score or a value may differ by what rounding can do, a ``Band``; it never comes from how far two graphs of
different precision are apart at most.

Frames that were judged alone and in a batch are counted apart: a fault of batches touches half of all
verdicts at most. So are batches of different sizes: an engine has buffers of its own for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeosr.runtime.bands import CEILING, MOST_OUTSIDE, Band
from edgeosr.runtime.golden import Expected
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.thresholds import Limit, limits_of, margins_of
from edgeosr.verdict import UNKNOWN, Verdict

# Verdicts that cannot be told, of all: with more, the frames prove too little.
MOST_TIES = 0.25


def cannot_be_told(expected: Expected, threshold: Limit, band: Band) -> NDArray[np.bool_]:
    """Tell which verdicts rounding decides, ``[n]``: the decision, or which of two classes it is."""
    near = np.abs(margins_of(expected.score, threshold, expected.label)) <= band.score
    return np.asarray(np.isfinite(expected.score) & (near | (expected.gap <= band.gap)))


class Found(NamedTuple):
    """A verdict that came.

    Attributes:
        frame: its number.
        color: its channel order.
        batch: how many frames were judged in one call, this one at ``place`` (from 0) of them; 0: it alone.
        verdict: of it.
    """

    frame: int
    color: str
    batch: int
    place: int
    verdict: Verdict

    @property
    def how(self) -> str:
        """How it was judged, in words."""
        return f"in a batch of {self.batch}, at place {self.place + 1}" if self.batch else "alone"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What came of it.

    Attributes:
        agreed: verdicts that are the expected ones.
        ties: verdicts that cannot be told, equal or not.
        distance: (median, largest) distance of the scores; of those that are finite on both sides.
        one_sided: verdicts that are finite on one side only; each is a difference.
        differences: the others, one line each; and what is wrong with many of them together.
        only_ties: of these, that too many cannot be told is the only one.
    """

    agreed: int
    ties: int
    distance: tuple[float, float]
    one_sided: int
    differences: tuple[str, ...]
    only_ties: bool


def agreement(
    expected: Expected,
    found: Sequence[Found],
    *,
    classes: Sequence[str],
    threshold: Limit,
    band: Band,
    fusion: Fusion,
) -> Agreement:
    """Compare.

    Args:
        expected: of every frame.
        found: what came.
        classes: names by index.
        threshold: of the expected scores; one number, or one a class.
        band: what rounding can do.
        fusion: of the expected scores.
    """
    finite = np.isfinite(expected.score) & np.isfinite(expected.values).all(axis=1)
    told = ~cannot_be_told(expected, threshold, band)
    limits = limits_of(threshold, expected.label)
    agreed, ties, one_sided, differences = 0, 0, 0, []
    for one in found:
        index, verdict = one.frame, one.verdict
        score, label = float(expected.score[index]), int(expected.label[index])
        accepted = bool(finite[index]) and score <= limits[index]
        if finite[index] != verdict.finite:
            one_sided += 1
        elif _as_expected(expected, index, verdict, bool(finite[index]), threshold, band):
            agreed += bool(told[index])
            ties += not told[index]
            continue
        differences.append(
            f"golden frame {index} ({one.color}) {one.how}: expected {_said(accepted, classes[label], score)}"
            f", got {_said(verdict.accepted, verdict.nearest, verdict.score)}; threshold "
            f"{limits[index]:.4f}"
        )
    both = [one for one in found if finite[one.frame] and one.verdict.finite]
    batched = [one for one in both if one.batch]
    differences += _far_away(expected, [one for one in both if not one.batch], "alone", band, fusion)
    differences += list(_far_away(expected, batched, "in a batch", band, fusion)) or [
        line
        for size in sorted({one.batch for one in batched})
        for line in _far_away(
            expected, [one for one in batched if one.batch == size], f"in a batch of {size}", band, fusion, 1
        )
    ]
    distances = np.array([abs(one.verdict.score - float(expected.score[one.frame])) for one in both])
    distance = (float(np.median(distances)), float(distances.max())) if both else (0.0, 0.0)
    too_many = ties > MOST_TIES * len(found)
    only_ties = too_many and not differences
    if too_many:
        differences.append(
            f"{ties} of {len(found)} verdicts are within rounding ({band.score:.3g}) of another one, more "
            f"than {MOST_TIES:.0%}: the golden frames prove too little; export the bundle again, with "
            "--frame for the frames that this engine takes, or in a wider precision"
        )
    return Agreement(
        agreed=agreed,
        ties=ties,
        distance=distance,
        one_sided=one_sided,
        differences=tuple(differences),
        only_ties=only_ties,
    )


def _as_expected(
    expected: Expected,
    index: int,
    verdict: Verdict,
    finite: bool,
    threshold: Limit,
    band: Band,
) -> bool:
    """Tell whether class and decision are the expected ones, or rounding alone can have changed them."""
    if not finite:  # the class is then any
        return not verdict.accepted
    near_class = expected.gap[index] <= band.gap and verdict.index == expected.second[index]
    # A class that rounding brought to the front decides by its own threshold.
    label = expected.second[index] if near_class else expected.label[index]
    margin = float(expected.score[index]) - float(limits_of(threshold, label))
    accepted, near_threshold = margin <= 0, abs(margin) <= band.score
    right_class = verdict.index == expected.label[index] or near_class
    return bool((verdict.accepted == accepted or near_threshold) and right_class)


def _far_away(
    expected: Expected, group: Sequence[Found], how: str, band: Band, fusion: Fusion, least: int = 0
) -> Iterator[str]:
    """Yield a line for the scores, and one for each part, that rounding does not explain.

    Args:
        expected: of every frame.
        group: verdicts that were judged alike; finite, and expected to be.
        how: in words.
        band: what rounding can do.
        fusion: of the expected scores.
        least: so many may lie outside, by up to ``CEILING`` bands, of however few.
    """
    if not group:
        return
    frames = [one.frame for one in group]
    scores = np.array([one.verdict.score for one in group], np.float64)
    values = np.array([[one.verdict.parts[name] for name in fusion.parts] for one in group], np.float64)
    score, wanted = expected.score[frames].astype(np.float64), expected.values[frames].astype(np.float64)
    moved, off = values - wanted, scores - score
    apart = np.sign(moved) * np.maximum(np.abs(moved) - band.relative * np.abs(wanted), 0.0) / fusion.stds
    stepped = _stepped(off, apart, band, fusion) if any(band.steps) else np.zeros(len(group), np.bool_)
    off, apart = np.abs(off), np.abs(apart)
    if stepped.sum() <= max(least, MOST_OUTSIDE * len(group)):
        off, apart = np.where(stepped, 0.0, off), np.where(stepped[:, None], 0.0, apart)
    kinds = [("scores", off, band.score)]
    kinds += [(f"values of {name}", apart[:, i], band.values[i]) for i, name in enumerate(fusion.parts)]
    for kind, distance, allowed in kinds:
        outside, worst = int((distance > allowed).sum()), int(distance.argmax())
        if outside <= max(least, band.most_outside * len(group)) and distance[worst] <= CEILING * allowed:
            continue
        yield (
            f"{kind} {how}: {outside} of {len(group)} are more than {allowed:.3g} from the expected "
            f"ones, which rounding does not explain ({float(np.median(distance)):.3g} in the median, "
            f"{distance[worst]:.3g} at most, golden frame {frames[worst]}{_place(group[worst])})"
        )


def _stepped(
    off: NDArray[np.float64], apart: NDArray[np.float64], band: Band, fusion: Fusion
) -> NDArray[np.bool_]:
    """Tell in which frames a step of the Jacobian norm, and nothing else, is what lies outside, ``[n]``.

    Args:
        off: what the scores lie above the expected ones, ``[n]``.
        apart: likewise the values, ``[n, parts]``, in the fusion's ``stds``.
        band: with ``steps``.
        fusion: of the scores.
    """
    steps, allowed = np.array(band.steps), np.array(band.values)
    follows = apart[:, steps] @ np.array(fusion.weights)[steps]
    apart = np.abs(apart)
    outside = apart > allowed
    return np.asarray(
        outside.any(axis=1)
        & ~outside[:, ~steps].any(axis=1)
        & (apart <= CEILING * allowed).all(axis=1)
        & (np.abs(off - follows) <= band.score)
    )


def _place(one: Found) -> str:
    return f" {one.how}" if one.batch else ""


def _said(accepted: bool, nearest: str, score: float) -> str:
    return f"{nearest if accepted else f'{UNKNOWN} (nearest {nearest})'} (score {score:.4f})"
