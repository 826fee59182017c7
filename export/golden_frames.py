"""Pictures for ``golden.npz``: known images, open ones, and unknown-looking ones made of the known."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.preprocessing import Preprocessing
from edgeosr.runtime.golden import LARGEST_GOLDEN, LEAST_FRAMES

Frames = NDArray[np.uint8]
# What the other arrays of the file may take.
_RESERVE = 500_000
# A share a channel. Grey images say nothing of the order of the channels: these do.
_TINTS = ((1.0, 0.5, 0.25), (0.25, 1.0, 0.5), (0.5, 0.25, 1.0), (1.0, 1.0, 1.0))
_BANDS = 4


def stored_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) to store frames at, so that ``LEAST_FRAMES`` of them fit into the file.

    Args:
        size: that they are judged at; divided by the smallest whole number that will do, rounded up.
    """
    factor = 1
    while True:
        height, width = (-(-side // factor) for side in size)
        if LEAST_FRAMES * height * width * 3 <= LARGEST_GOLDEN - _RESERVE:
            return height, width
        factor += 1


def pictures(images: LabelledImages, most: int, size: tuple[int, int]) -> Frames:
    """Return at most ``most`` of the images, evenly spread, stretched to (height, width) ``size``, RGB.

    What cannot be read is left out: it was counted and reported when the part was measured.
    """
    resizer = Preprocessing(height=size[0], width=size[1], fit="stretch")
    some = images.evenly_spaced(most)
    found = []
    for index in range(len(some)):
        try:
            found.append(resizer.resize(some.read(index)))
        except DataError:
            continue
    return np.stack(found) if found else np.empty((0, *size, 3), np.uint8)


def varied(frames: Frames, count: int) -> Frames:
    """Return ``count`` frames: these, then flipped, shifted and brighter or darker copies of them.

    The same for the same frames; ``frames`` holds at least one.
    """
    copies = list(frames[:count])
    round_ = 0
    while len(copies) < count:
        round_ += 1
        for frame in frames[: count - len(copies)]:
            copy = frame[:, ::-1] if round_ % 2 else frame
            copy = np.roll(copy, (round_, -round_), axis=(0, 1))
            brightness = 1.0 + 0.1 * (round_ % 4) * (-1) ** round_
            copies.append(np.clip(copy * brightness, 0, 255).astype(np.uint8))
    return np.stack(copies)


def unknown_looking(frames: Frames, count: int) -> Frames:
    """Return ``count`` frames that look like none of the known: mixed, cut up, coarse, inverted, noisy.

    The same for the same frames; ``frames`` holds at least one.
    """
    random = np.random.default_rng(0)
    made = []
    for number, kind in zip(range(count), _kinds(), strict=False):
        # One further in every round, so that a kind meets other frames.
        index = number + number // len(frames)
        one, other = frames[index % len(frames)], frames[(index + len(frames) // 2) % len(frames)]
        picture = kind(one.astype(np.float64), other.astype(np.float64), random)
        tint = _TINTS[number // len(_KINDS) % len(_TINTS)]
        made.append(np.clip(picture * tint, 0, 255).astype(np.uint8))
    return np.stack(made) if made else frames[:0]


def unlike_known(number: int, one: Frames, other: Frames) -> Frames:
    """Return a frame that looks like none of the known, made of two of one size; the same for the same.

    Args:
        number: the kind in turn, and the seed of what is drawn.
        one: uint8 ``[height, width, 3]``.
        other: likewise.
    """
    random = np.random.default_rng(number)
    picture = _KINDS[number % len(_KINDS)](one.astype(np.float64), other.astype(np.float64), random)
    return np.clip(picture, 0, 255).astype(np.uint8)


_Picture = NDArray[np.float64]
_Kind = Callable[[_Picture, _Picture, np.random.Generator], _Picture]


def _mixed(one: _Picture, other: _Picture, random: np.random.Generator) -> _Picture:
    share = random.uniform(0.3, 0.7)
    return share * one + (1 - share) * other


def _cut_up(one: _Picture, other: _Picture, random: np.random.Generator) -> _Picture:
    rows, columns = (_shuffled(side, random) for side in one.shape[:2])
    return one[rows][:, columns]


def _coarse(one: _Picture, other: _Picture, random: np.random.Generator) -> _Picture:
    rows, columns = (_first_of_band(side) for side in one.shape[:2])
    return one[rows][:, columns]


def _inverted(one: _Picture, other: _Picture, random: np.random.Generator) -> _Picture:
    return 255.0 - one


def _noisy(one: _Picture, other: _Picture, random: np.random.Generator) -> _Picture:
    share = random.uniform(0.2, 0.8)
    return (1 - share) * one + share * random.uniform(0, 255, one.shape)


def _first_of_band(side: int) -> NDArray[np.int64]:
    bands: NDArray[np.int64] = np.arange(side, dtype=np.int64) * _BANDS // side
    return bands * side // _BANDS


def _shuffled(side: int, random: np.random.Generator) -> NDArray[np.int64]:
    bands = np.array_split(np.arange(side, dtype=np.int64), _BANDS)
    return np.concatenate([bands[i] for i in random.permutation(_BANDS).tolist()])


_KINDS: tuple[_Kind, ...] = (_mixed, _cut_up, _coarse, _inverted, _noisy)


def _kinds() -> Iterator[_Kind]:
    while True:
        yield from _KINDS
