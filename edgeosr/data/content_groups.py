"""Groups of pictures that are the same: equal pixels, or near copies by a perceptual hash.

Two pictures are near copies if

    their hashes (``imagehash.phash``, or ``dhash``) differ in at most 4 of 64 bits, and
    their 16 x 16 thumbnails are the same picture: the shapes in them correlated to at least 0.97 (0.985 if
    ``dhash`` alone says so), and apart by at most 8 of 255 levels in the root mean square once brightness and
    contrast are matched; by at most 3 levels between classes, and by less where a class is nearly alike;
    and, if both have the same size in pixels, their 48 x 48 grey views are apart by at most 8 levels

The hash alone says little of pictures that are coarse or nearly alike: of MNIST it would join a fifth, of the
8 x 8 digits one in twenty. The thumbnails tell those apart. A fixed camera that sees another object every
time makes pictures that are all nearly alike: a copy must be three times closer than most pictures of its
class are to each other. A group grows from copy to copy, but only over pictures whose hashes are within 8
bits of the group's first one, so that a chain of small steps does not join a whole class. The views tell
pictures of one size and one pattern (stripes in nearly the same place) from copies: each has a grain of its
own, which a thumbnail averages away, and saving a picture again changes it less (measured on noisy stripes:
copies as JPEG of quality 50 are 2 to 7.4 levels apart, lookalikes 9 to 15). The hash of an empty picture is
noise: where the thumbnail varies by less than one level, only equal pixels make a copy.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.fingerprints import Fingerprints
from edgeosr.data.labelled_images import evenly_spaced
from edgeosr.progress import progress

Groups = NDArray[np.int64]
LARGEST_DISTANCE = 4  # bits of 64
LARGEST_REACH = 2 * LARGEST_DISTANCE  # from a group's first picture
LEAST_CORRELATION, LEAST_CORRELATION_BY_SECOND = 0.97, 0.985
LARGEST_RESIDUAL = 8.0  # of 255 levels
# What saving a picture again does to it: a class that is one picture many times is one group.
SMALLEST_RESIDUAL = 1.5
# Between two classes a near copy is said to be a wrong label, so it must be nearly the same file.
LARGEST_RESIDUAL_BETWEEN_CLASSES = 3.0
# A copy is so many times closer than three pictures out of four of a class are to each other; fewer pictures
# than that tell nothing of it, and more than MOST_COMPARED nothing new.
CLOSER_THAN_MOST = 3.0
FEWEST_PICTURES, MOST_COMPARED = 20, 60
# No copy has so much more contrast than another: a faint mark is not a strong one.
LARGEST_CONTRAST = 1.6
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
    hashes, labels = prints.hashes[:, pictures], labels[pictures]
    thumbnails = _Thumbnails(prints.thumbnails[pictures], labels)
    views = _Views(prints.views[pictures], prints.sizes[pictures])
    neighbours = _Neighbours(hashes, prints.readable[pictures] & thumbnails.show_something)
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
                by_hash = _distances(hashes, one, near) <= LARGEST_DISTANCE
                reached = (_distances(hashes, first, near) <= LARGEST_REACH).any(axis=0)
                near, by_first = (
                    near[by_hash.any(axis=0) & reached],
                    by_hash[0, by_hash.any(axis=0) & reached],
                )
                near = near[thumbnails.alike(one, near, by_first)]
                near = near[views.alike(one, near)]
                group[near] = first
                waiting += near.tolist()
    return group


def _distances(hashes: NDArray[np.uint64], one: int, others: Groups) -> NDArray[np.int64]:
    """Return in how many bits the hashes of one and of each of the others differ, ``[2, n]``."""
    words = (hashes[:, others] ^ hashes[:, [one]])[..., None].view(np.uint16)
    return np.asarray(_BITS[words].sum(axis=2), np.int64)


class _Neighbours:
    """Finds the pictures whose hashes may be near, without comparing all pairs."""

    def __init__(self, hashes: NDArray[np.uint64], usable: NDArray[np.bool_]) -> None:
        self._bands = []
        count = hashes.shape[1]
        self._alone = np.ones(count, np.bool_)
        places = np.flatnonzero(usable)
        for row, (shift, width) in itertools.product(hashes, _BANDS):
            keys = (row[places] >> np.uint64(shift)) & np.uint64(2**width - 1)
            order = np.argsort(keys, kind="stable")
            start = np.zeros(count, np.int64)
            stop = np.zeros(count, np.int64)
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

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._grey = (pixels.max(axis=3) == pixels.min(axis=3)).all(axis=(1, 2))
        light = (pixels.astype(np.float32) @ LUMINANCE)[..., None]
        self._colour, self._light = _Rows(pixels.astype(np.float32)), _Rows(light)
        self._labels = labels
        self._largest = {int(label): self._largest_residual(label) for label in np.unique(labels)}
        self.show_something = self._colour.spread >= LEAST_SPREAD

    def _largest_residual(self, label: np.int64) -> float:
        """Return how far apart two pictures of a class may be and be one: less if all are nearly alike."""
        members = np.flatnonzero(self._labels == label)
        if len(members) < FEWEST_PICTURES:
            return LARGEST_RESIDUAL
        some = members[evenly_spaced(len(members), MOST_COMPARED)]
        apart = np.concatenate(
            [self._colour.compared(int(one), some[i + 1 :])[1] for i, one in enumerate(some)]
        )
        closer = float(np.quantile(apart, 0.75, method="lower")) / CLOSER_THAN_MOST
        return min(LARGEST_RESIDUAL, max(SMALLEST_RESIDUAL, closer))

    def alike(self, one: int, others: Groups, by_first_hash: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which of the others are the same picture; ``by_first_hash``: not by the second hash alone."""
        found = np.zeros(len(others), np.bool_)
        # A picture without colours may be a copy of one with colours.
        grey = self._grey[others] | self._grey[one]
        label = self._labels[one]
        of_class = self._largest[int(label)]
        largest = np.where(
            self._labels[others] == label, of_class, min(of_class, LARGEST_RESIDUAL_BETWEEN_CLASSES)
        )
        least = np.where(by_first_hash, LEAST_CORRELATION, LEAST_CORRELATION_BY_SECOND)
        for rows, chosen in ((self._colour, ~grey), (self._light, grey)):
            correlation, residual = rows.compared(one, others[chosen])
            found[chosen] = (correlation >= least[chosen]) & (residual <= largest[chosen])
        return found


class _Views:
    """Grey views: the second look at pictures whose thumbnails are alike."""

    def __init__(self, pixels: NDArray[np.uint8], sizes: NDArray[np.int64]) -> None:
        self._pixels, self._sizes = pixels, sizes

    def alike(self, one: int, others: Groups) -> NDArray[np.bool_]:
        """Tell which of the others may be the same picture; one of another size may: its grain is another."""
        found = np.ones(len(others), np.bool_)
        same = np.flatnonzero((self._sizes[others] == self._sizes[one]).all(axis=1))
        if len(same):
            pixels = self._pixels[[one, *others[same].tolist()]].astype(np.float32)[..., None]
            found[same] = _Rows(pixels).compared(0, np.arange(1, len(pixels)))[1] <= LARGEST_RESIDUAL
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
        the distance, for which brightness and contrast of all channels together are matched; infinite where
        the contrasts are too far apart for that.
        """
        correlation = self._shapes[others] @ self._shapes[one]
        match = self._colours[others] @ self._colours[one]
        low, high = (
            pick(self._colour_spread[others], self._colour_spread[one]) for pick in (np.minimum, np.maximum)
        )
        apart = low * np.sqrt(np.maximum(0.0, 1.0 - match**2))
        return correlation, np.where(high <= LARGEST_CONTRAST * low, apart, np.float32(np.inf))


def _unit(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return every picture as a row of length 1, and its root mean square before."""
    rows = pixels.reshape(len(pixels), int(np.prod(pixels.shape[1:])))
    lengths = np.linalg.norm(rows, axis=1)
    spread = (lengths / np.sqrt(rows.shape[1])).astype(np.float32)
    return rows / np.maximum(lengths, 1e-6)[:, None], spread
