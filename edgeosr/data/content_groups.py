"""Groups of pictures that are the same: equal pixels, or near copies by a perceptual hash.

Two pictures are near copies if

    their hashes (``imagehash.phash``) differ in at most 4 of 64 bits, and
    their 16 x 16 thumbnails are the same picture: the shapes in them correlated to at least 0.97, and apart
    by at most 8 of 255 levels in the root mean square once brightness and contrast are matched (3 levels
    between classes).

The hash alone says little of pictures that are coarse or nearly alike: of MNIST it would join a fifth, of the
8 x 8 digits one in twenty. The thumbnails tell those apart. A group grows from copy to copy, but only over
pictures whose hashes are within 8 bits of the group's first one, so that a chain of small steps does not join
a whole class. The hash of an empty picture is noise: where the thumbnail varies by less than one level, only
equal pixels make a copy.
"""

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.fingerprints import Fingerprints
from edgeosr.progress import progress

Groups = NDArray[np.int64]
LARGEST_DISTANCE = 4  # bits of 64
LARGEST_REACH = 2 * LARGEST_DISTANCE  # from a group's first picture
LEAST_CORRELATION = 0.97
LARGEST_RESIDUAL = 8.0  # of 255 levels
# Between two classes a near copy is said to be a wrong label, so it must be nearly the same file.
LARGEST_RESIDUAL_BETWEEN_CLASSES = 3.0
# Of red, green and blue, as Pillow and JPEG make grey of them.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
LEAST_SPREAD = 1.0  # of 255 levels, root mean square
# Hashes within 4 bits of each other agree wholly in one band out of five.
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
_BITS = np.array([number.bit_count() for number in range(2**16)], np.uint8)


def content_groups(prints: Fingerprints, labels: NDArray[np.int64]) -> Groups:
    """Return the group of every image, int64 ``[n]``: the index of the group's first one.

    Args:
        prints: of the images, in their order: the order decides which picture is a group's first.
        labels: their classes.
    """
    _, first, picture_of = np.unique(prints.digests, return_index=True, return_inverse=True)
    # Pictures in the order of their first images.
    pictures = np.sort(first)
    near = _near_groups(prints, pictures, labels)
    return pictures[near][np.searchsorted(pictures, first)][picture_of.reshape(-1)]


def _near_groups(prints: Fingerprints, pictures: Groups, labels: NDArray[np.int64]) -> Groups:
    """Return the group of every different picture: the position of the group's first one."""
    hashes, labels = prints.hashes[pictures], labels[pictures]
    thumbnails = _Thumbnails(prints.thumbnails[pictures])
    neighbours = _Neighbours(hashes, prints.readable[pictures] & (thumbnails.show_something))
    group = np.full(len(pictures), -1, np.int64)
    with progress("comparing the images", len(pictures)) as advance:
        for first in range(len(pictures)):
            advance()
            if group[first] >= 0:
                continue
            group[first] = first
            waiting = [first]
            while waiting:
                one = waiting.pop()
                near = neighbours.of(one)
                near = near[group[near] < 0]
                near = near[_distance(hashes[near], hashes[one]) <= LARGEST_DISTANCE]
                near = near[_distance(hashes[near], hashes[first]) <= LARGEST_REACH]
                near = near[thumbnails.alike(one, near, labels[near] == labels[one])]
                group[near] = first
                waiting += near.tolist()
    return group


def _distance(hashes: NDArray[np.uint64], other: np.uint64) -> NDArray[np.int64]:
    """Return in how many bits each hash differs from the other."""
    words = (hashes ^ other).reshape(-1, 1).view(np.uint16)
    return np.asarray(_BITS[words].sum(axis=1), np.int64)


class _Neighbours:
    """Finds the pictures whose hashes may be near, without comparing all pairs."""

    def __init__(self, hashes: NDArray[np.uint64], usable: NDArray[np.bool_]) -> None:
        self._bands = []
        self._alone = np.ones(len(hashes), np.bool_)
        places = np.flatnonzero(usable)
        for shift, width in _BANDS:
            keys = (hashes[places] >> np.uint64(shift)) & np.uint64(2**width - 1)
            order = np.argsort(keys, kind="stable")
            start = np.zeros(len(hashes), np.int64)
            stop = np.zeros(len(hashes), np.int64)
            start[places] = np.searchsorted(keys[order], keys, "left")
            stop[places] = np.searchsorted(keys[order], keys, "right")
            self._alone &= stop - start <= 1
            self._bands.append((places[order], start, stop))

    def of(self, one: int) -> Groups:
        """Return the pictures that share a band with ``one``, ascending, each once."""
        if self._alone[one]:
            return np.empty(0, np.int64)
        return np.unique(
            np.concatenate([order[start[one] : stop[one]] for order, start, stop in self._bands])
        )


class _Thumbnails:
    """Thumbnails, ready to be compared."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._grey = (pixels.max(axis=3) == pixels.min(axis=3)).all(axis=(1, 2))
        light = (pixels.astype(np.float32) @ LUMINANCE)[..., None]
        self._colour, self._light = _Rows(pixels.astype(np.float32)), _Rows(light)
        self.show_something = self._colour.spread >= LEAST_SPREAD

    def alike(self, one: int, others: Groups, same_class: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which of the others are the same picture."""
        found = np.zeros(len(others), np.bool_)
        # A picture without colours may be a copy of one with colours.
        grey = self._grey[others] | self._grey[one]
        largest = np.where(same_class, LARGEST_RESIDUAL, LARGEST_RESIDUAL_BETWEEN_CLASSES)
        for rows, chosen in ((self._colour, ~grey), (self._light, grey)):
            correlation, residual = rows.compared(one, others[chosen])
            found[chosen] = (correlation >= LEAST_CORRELATION) & (residual <= largest[chosen])
        return found


class _Rows:
    """Pictures as vectors: their shapes alone, and with their colours."""

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        shapes = pixels - pixels.mean(axis=(1, 2), keepdims=True)
        colours = pixels - pixels.mean(axis=(1, 2, 3), keepdims=True)
        self._shapes, self.spread = _unit(shapes)
        self._colours, self._colour_spread = _unit(colours)

    def compared(self, one: int, others: Groups) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the correlation with each of the others, and how far apart they are, in levels.

        The colour of a whole picture is no shape: two of one colour each have nothing in common. It counts in
        the distance, for which brightness and contrast of all channels together are matched.
        """
        correlation = self._shapes[others] @ self._shapes[one]
        match = self._colours[others] @ self._colours[one]
        spread = np.minimum(self._colour_spread[others], self._colour_spread[one])
        return correlation, spread * np.sqrt(np.maximum(0.0, 1.0 - match**2))


def _unit(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return every picture as a row of length 1, and its root mean square before."""
    rows = pixels.reshape(len(pixels), int(np.prod(pixels.shape[1:])))
    lengths = np.linalg.norm(rows, axis=1)
    spread = (lengths / np.sqrt(rows.shape[1])).astype(np.float32)
    return rows / np.maximum(lengths, 1e-6)[:, None], spread
