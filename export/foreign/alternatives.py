"""The usual other preprocessings, tried on known images: is one clearly more accurate than the stated one?

An alternative is named where it is right clearly more often on the same images: a one-sided sign test of the
images on which the two differ, at ``LEVEL`` divided by the number of alternatives, and a gain of at least
``LEAST_GAIN`` of all images. With too few wrong answers none could pass, and none is tried. They are tried on
``SCREENED`` wrongly answered images first; only the ``FINALISTS`` best that mend ``LEAST_MENDED`` of those
are then run on all images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.export.foreign.class_order import better
from edgeosr.export.foreign.presets import MAIN, Triple
from edgeosr.export.foreign.stated import resized_side
from edgeosr.preprocessing import Color, Preprocessing

LEVEL, LEAST_GAIN, NEAR = 0.01, 0.02, 0.01
SCREENED, FINALISTS, LEAST_MENDED = 48, 3, 0.15
_SAME = 2e-3

Answers = Callable[[Preprocessing, NDArray[np.int64]], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """Another preprocessing, and what to type for it.

    Attributes:
        preprocessing: it.
        title: what it is, in words.
        options: what states it in a command that states nothing else; ``advice.py`` sees to the others.
    """

    preprocessing: Preprocessing
    title: str
    options: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A clearly better alternative.

    Attributes:
        alternative: it.
        answers: int64 ``[n]``, what the model answers with it.
        right: bool ``[n]``, which of the images are named correctly then.
        as_good: others that were as accurate.
    """

    alternative: Alternative
    answers: NDArray[np.int64]
    right: NDArray[np.bool_]
    as_good: tuple[Alternative, ...] = ()


def value_alternatives(stated: Preprocessing, *, grey: bool = False) -> list[Alternative]:
    """Return other normalisations and channel orders for the same cut, the likeliest first.

    Args:
        stated: what they are beside.
        grey: the model takes grey images: one mean and one std, and no order of colours.
    """
    mean, std = _model_order(stated.mean, stated.color), _model_order(stated.std, stated.color)
    turned = (_model_order(mean, "bgr"), _model_order(std, "bgr"))
    other: Color = "bgr" if stated.color == "rgb" else "rgb"
    title = f"{other.upper()} with --mean and --std"
    named = [_by_name(stated, name, swapped=swapped) for swapped in (False, True) for name in MAIN]
    plain, swapped = named[: len(MAIN)], named[len(MAIN) :]
    found = [
        _by_numbers(stated, *turned, other, f"{title} turned round"),
        *plain,
        _by_numbers(stated, mean, std, other, f"{title} as they are"),
        _by_numbers(stated, *turned, stated.color, "--mean and --std turned round"),
        *swapped,
    ]
    # What has a name goes by its name.
    found = [next((o for o in named if _alike(o, one)), one) for one in found]
    return _different([one for one in found if not grey or _for_grey(one.preprocessing)], stated)


def cut_alternatives(stated: Preprocessing) -> list[Alternative]:
    """Return other cuts of the frame for the same normalisation."""
    square = stated.height == stated.width
    plain = replace(stated, fit="crop", crop_fraction=1.0, resize_to=None)
    less = replace(plain, crop_fraction=0.875)
    if square:
        less = replace(plain, resize_to=resized_side(stated.height, 0.875))
    found = [
        Alternative(preprocessing=plain, title="nothing cut off but what does not fit", options="--fit crop"),
        Alternative(
            preprocessing=less,
            title="the middle 0.875 of the frame",
            options="--fit crop --crop-fraction 0.875",
        ),
        Alternative(
            preprocessing=replace(plain, fit="stretch"),
            title="the whole frame, stretched",
            options="--fit stretch",
        ),
    ]
    return _different(found, stated)


def best_alternative(
    stated: Preprocessing,
    labels: NDArray[np.int64],
    stated_answers: NDArray[np.int64],
    answers: Answers,
    *,
    grey: bool = False,
) -> Found | None:
    """Return the clearly better preprocessing, in one step or in two (values, then cut; or the other way).

    Args:
        stated: what is compared with.
        labels: int64 ``[n]`` of the images.
        stated_answers: int64 ``[n]``, what the model answers with ``stated``.
        answers: what the model answers for a preprocessing on the images at these places.
        grey: see ``value_alternatives``.
    """
    values, cuts = value_alternatives(stated, grey=grey), cut_alternatives(stated)
    found = _search([*values, *cuts], labels, stated_answers, answers)
    if found is None:
        return None
    base = found.alternative
    if same_cut(base.preprocessing, stated):
        rest = cut_alternatives(base.preprocessing)
    else:
        rest = value_alternatives(base.preprocessing, grey=grey)
    further = _search(rest, labels, found.answers, answers)
    if further is None:
        return found
    both = Alternative(
        preprocessing=further.alternative.preprocessing,
        title=f"{base.title}, and {further.alternative.title}",
        options=f"{base.options} {further.alternative.options}",
    )
    return replace(further, alternative=both)


def _search(
    tried: Sequence[Alternative],
    labels: NDArray[np.int64],
    before: NDArray[np.int64],
    answers: Answers,
) -> Found | None:
    level = LEVEL / max(len(tried), 1)
    right = before == labels
    wrong = np.flatnonzero(~right)
    fewest = math.ceil(-math.log2(level))  # so many mended and none spoilt would just do
    if not tried or len(wrong) < max(fewest, LEAST_GAIN * len(labels)):
        return None
    screen = wrong[np.linspace(0, len(wrong) - 1, min(SCREENED, len(wrong))).round().astype(np.int64)]
    mended = [float((answers(one.preprocessing, screen) == labels[screen]).mean()) for one in tried]
    ranked = np.argsort([-share for share in mended], kind="stable").tolist()
    finalists = [i for i in ranked if mended[i] >= LEAST_MENDED][:FINALISTS]
    everywhere = np.arange(len(labels))
    passed: list[Found] = []
    for i in sorted(finalists):
        given = answers(tried[i].preprocessing, everywhere)
        found = Found(alternative=tried[i], answers=given, right=given == labels)
        gain = int(found.right.sum()) - int(right.sum())
        if gain >= LEAST_GAIN * len(labels) and better(found.right, right, level):
            passed.append(found)
    if not passed:
        return None
    most = max(int(found.right.sum()) for found in passed)
    # Of those that are about as good, the likeliest; the others are told.
    first, *others = [found for found in passed if found.right.sum() >= most - NEAR * len(labels)]
    return replace(first, as_good=tuple(found.alternative for found in others))


def _by_name(stated: Preprocessing, name: str, *, swapped: bool) -> Alternative:
    preset = MAIN[name]
    color: Color = preset.color
    if swapped:
        color = "rgb" if preset.color == "bgr" else "bgr"
    return Alternative(
        preprocessing=replace(stated, mean=preset.mean, std=preset.std, color=color),
        title=f"the values of {name}{f' in {color.upper()}' if swapped else ''}",
        options=f"--preprocessing {name}{f' --color {color}' if swapped else ''}",
    )


def _by_numbers(stated: Preprocessing, mean: Triple, std: Triple, color: Color, title: str) -> Alternative:
    """``mean`` and ``std`` in the model's order, as they are typed."""
    options = " ".join(
        f"{option} {' '.join(f'{value:.6g}' for value in values)}"
        for option, values in (("--mean", mean), ("--std", std))
    )
    preprocessing = replace(stated, mean=_model_order(mean, color), std=_model_order(std, color), color=color)
    return Alternative(preprocessing=preprocessing, title=title, options=f"--color {color} {options}")


def _for_grey(one: Preprocessing) -> bool:
    return one.color == "rgb" and len(set(one.mean)) == len(set(one.std)) == 1


def _model_order(values: Triple, color: Color) -> Triple:
    return values if color == "rgb" else (values[2], values[1], values[0])


def same_cut(one: Preprocessing, other: Preprocessing) -> bool:
    """Tell whether two show the same part of a frame."""
    return _cut(one) == _cut(other)


def _cut(one: Preprocessing) -> tuple[str, float, int | None]:
    # A square that is resized to its own side loses nothing.
    whole = one.height == one.width == one.resize_to
    return one.fit, one.crop_fraction, None if whole else one.resize_to


def _different(found: Sequence[Alternative], stated: Preprocessing) -> list[Alternative]:
    """Leave out what is the stated preprocessing, or another of the list, but for rounding."""
    kept: list[Alternative] = []
    for one in found:
        others = [Alternative(preprocessing=stated, title="", options=""), *kept]
        if not any(_alike(one, other) for other in others):
            kept.append(one)
    return kept


def _alike(one: Alternative, other: Alternative) -> bool:
    """Tell whether two are the same but for rounding."""
    first, second = one.preprocessing, other.preprocessing
    return same_cut(first, second) and same_values(first, second)


def same_values(one: Preprocessing, other: Preprocessing) -> bool:
    """Tell whether two turn a pixel into the same values, but for rounding."""
    # Of a full step of 0..1: how far apart the inputs of black and of white are.
    mine, its = (
        np.array([_ends(mean, std) for mean, std in zip(p.mean, p.std, strict=True)]) for p in (one, other)
    )
    return one.color == other.color and bool(
        np.all(np.abs(mine - its) <= _SAME * np.ptp(its, axis=1, keepdims=True))
    )


def _ends(mean: float, std: float) -> tuple[float, float]:
    return -mean / std, (1 - mean) / std
