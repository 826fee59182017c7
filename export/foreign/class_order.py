"""Whether the class names stand in the order of the model's outputs: read off its answers on known images.

The counts are ``[classes, outputs]``: how many images of class l the model put at output o. Names in the
right order put the large counts on the diagonal. The rules, all on at most one image a group:

- **Another order** is right where a cycle of classes is put right by it: at their new places its classes are
  found at least as often as at their own (in a long cycle ``SPOILT_SHARE`` of them may be an exception, none
  a clear one), and ``LEAST_EXPLAINED`` of all their images; and an order found on one half of the images is
  better on the other half, by a one-sided sign test at ``ORDER_LEVEL``.
- Names are **in doubt** where a cycle of classes is found more often at its new places than at its own, but
  that rule does not hold: the model does not tell these classes apart better than with their names moved.
  Both tests, on all images and on halves, at ``DOUBT_LEVEL``; it is ``open`` where the first one alone shows
  it, at ``OPEN_LEVEL`` (of more than two classes, where the halves at least do not deny it: a long cycle is
  easily found in noise). Simulated, of 200 weak classifiers of ten classes each (45 to 60 % right, 20 to 35 %
  to the other class of a pair, 5 to 50 images a class): right names refused 0 to 2 times, told 0 to 12 times.
- A class is **weak** where its own images get its name not clearly more often than any image does (a
  one-sided binomial test at ``CHANCE_LEVEL``), although a class half way between that and always right
  would, but for a chance of ``CHANCE_MISSED`` divided by the number of classes, have done better. Few
  images show nothing: fewer than ``FEWEST_IMAGES`` never make a class weak.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import import_extra

ORDER_LEVEL, SPOILT_LEVEL, SPOILT_SHARE, LEAST_EXPLAINED = 0.01, 0.05, 0.1, 1 / 3
DOUBT_LEVEL, OPEN_LEVEL = 0.1, 0.3
CHANCE_LEVEL, CHANCE_MISSED, FEWEST_IMAGES = 0.05, 0.01, 5
# A well-known order is taken where it explains nearly as many images as the best one.
_AS_GOOD = 0.95

Counts = NDArray[np.int64]
Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ClassOrder:
    """Another order of the class names that the model's answers ask for.

    Attributes:
        names: in the order of the outputs.
        called: what the order is, in words; empty if it is none that has a name.
        right: bool ``[n]``, which of the images it names correctly.
        moved: how many names change their place.
        imageless: those of them that have no images, so nothing but the others' answers places them.
    """

    names: tuple[str, ...]
    called: str
    right: NDArray[np.bool_]
    moved: int
    imageless: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Names whose order the answers speak against, without proving another.

    Attributes:
        classes: whose names, indices.
        names: of all outputs, with these moved.
        own, moved: how many of their images get the right name now, and with the names moved.
        right: bool ``[n]``, which of all images are named correctly with the names moved.
        open: True if that may well be chance.
    """

    classes: tuple[int, ...]
    names: tuple[str, ...]
    own: int
    moved: int
    right: NDArray[np.bool_]
    open: bool


def answer_counts(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> Counts:
    """Return ``[classes, classes]``: images by label and by answer."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, answers), 1)
    return counts


def other_order(
    names: Sequence[str], labels: NDArray[np.int64], answers: NDArray[np.int64]
) -> ClassOrder | None:
    """Return the order of the names that is clearly right where the given one is wrong; else None.

    Args:
        names: by output, as given.
        labels: int64 ``[n]``, the images' classes, indices into ``names``.
        answers: int64 ``[n]``, the outputs that the model chose.
    """
    classes = len(names)
    counts = answer_counts(labels, answers, classes)
    best, places = best_places(counts), np.arange(classes)
    for cycle, gained, lost in _cycles_on_halves(best, labels, answers):
        if _classes_gain(counts, best, cycle) and _sign_test(gained, lost, ORDER_LEVEL):
            places[cycle] = best[cycle]
    if (places == np.arange(classes)).all():
        return None
    called, own = "", np.arange(classes)
    for words, order in _known_orders(names).items():
        at = _places_of(names, order)
        differ = (at != own) | (places != own)
        explained = counts[own, places][differ].sum()
        if counts[own, at][differ].sum() >= _AS_GOOD * explained:
            places, called = at, words
            break
    ordered = [""] * classes
    for label, place in enumerate(places.tolist()):
        ordered[place] = names[label]
    moved = np.flatnonzero(places != own)
    return ClassOrder(
        names=tuple(ordered),
        called=called,
        right=answers == places[labels],
        moved=len(moved),
        imageless=tuple(names[label] for label in moved.tolist() if not counts[label].any()),
    )


def names_in_doubt(
    names: Sequence[str], labels: NDArray[np.int64], answers: NDArray[np.int64]
) -> Doubt | None:
    """Return the names whose order the answers speak against, those that are clearer first; None if none are.

    Args:
        names: by output, as given, which `other_order` found no better order for.
        labels: int64 ``[n]``, the images' classes, indices into ``names``.
        answers: int64 ``[n]``, the outputs that the model chose.
    """
    counts = answer_counts(labels, answers, len(names))
    best = best_places(counts)
    cycles = []
    for cycle, gained, lost in _cycles_on_halves(best, labels, answers):
        moved, own = int(counts[cycle, best[cycle]].sum()), int(counts[cycle, cycle].sum())
        # With few images anything may be so; and an output without images the model only prefers.
        shown = counts[cycle].sum(axis=1).min() >= FEWEST_IMAGES and not _gives_up(counts, best, cycle)
        if shown and (gained >= lost or len(cycle) == 2) and _sign_test(moved, own, OPEN_LEVEL):
            sure = _sign_test(moved, own, DOUBT_LEVEL) and _sign_test(gained, lost, DOUBT_LEVEL)
            cycles.append((cycle, own, moved, sure))
    clear = [one for one in cycles if one[-1]]
    told = clear or cycles
    if not told:
        return None
    ordered, classes = list(names), np.sort(np.concatenate([cycle for cycle, *_ in told])).tolist()
    places = np.arange(len(names))
    places[classes] = best[classes]
    for label in classes:
        ordered[int(best[label])] = names[label]
    return Doubt(
        classes=tuple(classes),
        names=tuple(ordered),
        own=sum(own for _, own, *_ in told),
        moved=sum(moved for _, _, moved, _ in told),
        right=answers == places[labels],
        open=not clear,
    )


def _cycles_on_halves(
    best: Places, labels: NDArray[np.int64], answers: NDArray[np.int64]
) -> Iterator[tuple[Places, int, int]]:
    """Yield (classes, gained, lost): of a cycle's images, by the order that the other half of them gives."""
    classes = len(best)
    # Every second image of each class: both halves see every class that has two images.
    half = _ranks(labels) % 2
    halves = [best_places(answer_counts(labels[half == h], answers[half == h], classes)) for h in (0, 1)]
    elsewhere = np.where(half == 0, halves[1][labels], halves[0][labels])
    gained = (answers == elsewhere) & (elsewhere != labels)
    lost = (answers == labels) & (elsewhere != labels)
    for cycle in _cycles(best):
        inside = np.isin(labels, cycle)
        yield cycle, int(gained[inside].sum()), int(lost[inside].sum())


def weak_classes(counts: Counts) -> list[int]:
    """Return the classes that the model does not name clearly more often than by chance."""
    binom = import_extra("scipy.stats", extra="export", purpose="checking a classifier").binom

    images = counts.sum(axis=1)
    # Every class weighs the same: with 300 images against 5, nearly any answer is the common class's name.
    shares = counts[images > 0] / images[images > 0, None]
    chance = shares.mean(axis=0) if len(shares) else np.zeros(len(counts))
    # Of many classes some would seem weak by chance alone.
    level = CHANCE_MISSED / max(len(shares), 1)
    weak = []
    for label in np.flatnonzero(images):
        right, n = int(counts[label, label]), int(images[label])
        above = float(binom.sf(right - 1, n, chance[label])) if right else 1.0
        missed = float(binom.cdf(right, n, (1 + chance[label]) / 2))
        shown = n >= FEWEST_IMAGES and (missed <= level or chance[label] == 1)
        if above > CHANCE_LEVEL and shown:
            weak.append(int(label))
    return weak


def above_chance(counts: Counts) -> bool:
    """Return True if the model is right more often than answers would be that do not look at the images."""
    binom = import_extra("scipy.stats", extra="export", purpose="checking a classifier").binom

    images, answers = counts.sum(axis=1), counts.sum(axis=0)
    total, right = int(images.sum()), int(np.trace(counts))
    chance = float((images * answers).sum()) / max(total, 1) ** 2
    return right > 0 and float(binom.sf(right - 1, total, chance)) <= CHANCE_LEVEL


def better(first: NDArray[np.bool_], second: NDArray[np.bool_], level: float) -> bool:
    """Return True if ``first`` is right clearly more often than ``second`` on these images: a sign test."""
    return _sign_test(int((first & ~second).sum()), int((second & ~first).sum()), level)


def _sign_test(gained: int, lost: int, level: float) -> bool:
    binom = import_extra("scipy.stats", extra="export", purpose="checking a classifier").binom

    return gained > lost and float(binom.sf(gained - 1, gained + lost, 0.5)) <= level


def best_places(counts: Counts) -> Places:
    """Return the output of each class that explains most images; its own where nothing speaks against it."""
    optimize = import_extra("scipy.optimize", extra="export", purpose="checking a classifier")

    # Half an image for staying: ties, and classes without images, keep their place.
    gain = counts + 0.5 / len(counts) * np.eye(len(counts))
    rows, places = optimize.linear_sum_assignment(gain, maximize=True)
    found = np.empty(len(counts), np.int64)
    found[rows] = places
    return found


def _ranks(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each image how many of its class come before it."""
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        ranks[mine] = np.arange(len(mine))
    return ranks


def _cycles(places: Places) -> list[Places]:
    """Return the cycles of two and more classes."""
    left, found = set(np.flatnonzero(places != np.arange(len(places))).tolist()), []
    while left:
        cycle = [left.pop()]
        while (following := int(places[cycle[-1]])) != cycle[0]:
            cycle.append(following)
            left.discard(following)
        found.append(np.array(cycle, np.int64))
    return found


def _classes_gain(counts: Counts, places: Places, cycle: Places) -> bool:
    """Tell a cycle that puts its classes right from one that gives up a class for another's sake."""
    moved, own = counts[cycle, places[cycle]], counts[cycle, cycle]
    few = len(cycle) * SPOILT_SHARE
    enough = moved.sum() >= LEAST_EXPLAINED * counts[cycle].sum()
    return (moved < own).sum() <= few and bool(enough) and not _gives_up(counts, places, cycle)


def _gives_up(counts: Counts, places: Places, cycle: Places) -> bool:
    """Return True if a class of the cycle is clearly found less often at its new place than at its own."""
    moved, own = counts[cycle, places[cycle]].tolist(), counts[cycle, cycle].tolist()
    return any(_sign_test(before, after, SPOILT_LEVEL) for before, after in zip(own, moved, strict=True))


def _known_orders(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the usual orders by what they are called."""
    return {
        "their natural order, numbers by value": sorted(names, key=_natural),
        "sorted as bytes, capitals first": sorted(names),
        "sorted without regard to capitals": sorted(names, key=lambda name: (name.casefold(), name)),
    }


def _natural(name: str) -> list[tuple[int, int, str]]:
    pieces = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]


def _places_of(names: Sequence[str], order: Sequence[str]) -> Places:
    return np.array([order.index(name) for name in names], np.int64)
