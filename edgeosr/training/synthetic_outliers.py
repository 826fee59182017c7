"""Images that are nothing in particular, made from known ones: for choosing the discriminator's epoch.

Without the user's own outliers, OpenGAN's open validation set must come from somewhere, and it must never be
the test unknowns. These images keep the statistics of known ones (camera, lighting, texture) and lose what
makes them a class. They are a stand-in, weaker than real outliers (Kong and Ramanan 2021 say so too): they
may choose an epoch, never a fusion weight.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, UsageError, require_choice

Pixels = NDArray[np.uint8]
OutlierKind = Literal["mixup", "cutmix", "shuffle2", "shuffle4", "rotated", "inverted"]
OUTLIER_KINDS: tuple[OutlierKind, ...] = ("mixup", "cutmix", "shuffle2", "shuffle4", "rotated", "inverted")
# Neither of the two images of a mixture may dominate, or the mixture is simply a known image.
MIXUP_SHARES = (0.35, 0.65)
CUTMIX_SHARES = (0.3, 0.6)


def make_synthetic_outliers(
    pixels: Pixels,
    seed: int,
    per_kind: int,
    *,
    labels: NDArray[np.integer[Any]] | None = None,
    kinds: Sequence[OutlierKind] = OUTLIER_KINDS,
) -> Pixels:
    """Make ``per_kind`` images of every kind.

    - ``mixup``: a weighted mean of two images, shares 0.35 to 0.65 (Zhang et al. 2018).
    - ``cutmix``: a rectangle of 0.3 to 0.6 of the area is replaced by another image's (Yun et al. 2019).
    - ``shuffle2``, ``shuffle4``: tiles of a 2x2 or 4x4 grid in another order.
    - ``rotated``: by 90 or 270 degrees (180 if the image is not square). Leave it out for images that mean
      the same when turned (textures, parts on a belt) and where training made turned images known.
    - ``inverted``: 255 - value.

    Args:
        pixels: known images, uint8 RGB ``[n, height, width, 3]``, n >= 2, sides >= 4.
        seed: the same seed and images give the same result.
        per_kind: images of every kind, >= 1.
        labels: ``[n]``; if given, mixup and cutmix join images of different classes.
        kinds: which kinds, in which order.

    Returns:
        uint8 ``[len(kinds) * per_kind, height, width, 3]``, kind after kind.

    Raises:
        DataError: fewer than two images, images too small, labels of another length, or all of one class.
        UsageError: an unknown kind, none, or ``per_kind`` below 1.
    """
    if pixels.ndim != 4 or pixels.shape[3] != 3 or len(pixels) < 2 or min(pixels.shape[1:3]) < 4:
        raise DataError(
            "synthetic outliers are made from at least 2 images of at least 4 x 4 pixels, "
            f"[n, height, width, 3]; got {pixels.shape}"
        )
    if per_kind < 1 or not kinds:
        raise UsageError(f"ask for at least 1 image of at least 1 kind; got {per_kind} of {list(kinds)}")
    if labels is not None and (len(labels) != len(pixels) or len(np.unique(labels)) < 2):
        raise DataError(f"labels must be {len(pixels)}, of at least two classes; got {len(labels)}")
    made = []
    for kind in kinds:
        require_choice("a kind of synthetic outlier", kind, OUTLIER_KINDS)
        # A stream of its own for every kind: leaving one out does not change the others.
        random = np.random.default_rng((seed, OUTLIER_KINDS.index(kind)))
        chosen = _draw(random, len(pixels), per_kind)
        if kind in ("mixup", "cutmix"):
            others = np.array([_partner(random, int(index), len(pixels), labels) for index in chosen])
            mix = _mixup if kind == "mixup" else _cutmix
            made.append(mix(random, pixels[chosen], pixels[others]))
        elif kind == "rotated":
            made.append(_rotated(random, pixels[chosen]))
        elif kind == "inverted":
            made.append(255 - pixels[chosen])
        else:
            made.append(_shuffled(random, pixels[chosen], int(kind[-1])))
    return np.concatenate(made)


def _draw(random: np.random.Generator, available: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` indices; none comes twice before all came once."""
    rounds = [random.permutation(available) for _ in range(-(-count // available))]
    return np.concatenate(rounds)[:count]


def _partner(
    random: np.random.Generator, index: int, available: int, labels: NDArray[np.integer[Any]] | None
) -> int:
    """Return another image's index, of another class if labels are known."""
    if labels is None:
        return int((index + random.integers(1, available)) % available)
    return int(random.choice(np.flatnonzero(labels != labels[index])))


def _mixup(random: np.random.Generator, first: Pixels, second: Pixels) -> Pixels:
    shares = random.uniform(*MIXUP_SHARES, size=(len(first), 1, 1, 1)).astype(np.float32)
    return np.rint(shares * first + (1 - shares) * second).astype(np.uint8)


def _cutmix(random: np.random.Generator, first: Pixels, second: Pixels) -> Pixels:
    mixed = first.copy()
    height, width = first.shape[1:3]
    for image, other in zip(mixed, second, strict=True):
        side = np.sqrt(random.uniform(*CUTMIX_SHARES))
        tall, wide = max(1, round(side * height)), max(1, round(side * width))
        top, left = random.integers(0, height - tall + 1), random.integers(0, width - wide + 1)
        area = np.s_[top : top + tall, left : left + wide]
        image[area] = other[area]
    return mixed


def _shuffled(random: np.random.Generator, images: Pixels, grid: int) -> Pixels:
    """Reorder the tiles; pixels beyond the last whole tile (at most ``grid - 1`` rows) stay."""
    shuffled = images.copy()
    tall, wide = images.shape[1] // grid, images.shape[2] // grid
    tiles = [
        np.s_[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        for row in range(grid)
        for column in range(grid)
    ]
    for target, source in zip(shuffled, images, strict=True):
        order = random.permutation(len(tiles))
        if (order == np.arange(len(tiles))).all():
            order = np.roll(order, 1)
        for tile, origin in zip(tiles, order, strict=True):
            target[tile] = source[tiles[origin]]
    return shuffled


def _rotated(random: np.random.Generator, images: Pixels) -> Pixels:
    if images.shape[1] != images.shape[2]:
        return np.ascontiguousarray(images[:, ::-1, ::-1])
    turns = random.choice([1, 3], size=len(images))
    return np.stack([np.rot90(image, turn) for image, turn in zip(images, turns, strict=True)])
