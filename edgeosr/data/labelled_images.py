"""The shape every image set has inside edgeosr: labels at hand, pixels decoded on demand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.groups import GroupsRecord

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledImages:
    """n images of known class.

    Attributes:
        class_names: names by label.
        labels: int64 ``[n]``, indices into ``class_names``.
        groups: int64 ``[n]``; images of equal group are near copies of each other (frames of one track):
            they never straddle two parts and count as one in calibration. Unrelated images differ.
        read: ``read(i)`` decodes image i, 0 <= i < n, to uint8 RGB ``[height, width, 3]``; raises
            ``DataError`` if it cannot be decoded.
        name_of: ``name_of(i)``, what to call image i in a message: a path, or ``"cifar10 train[17]"``.
        encoded: ``encoded(i)``, the bytes of the file that image i is read from; raises ``DataError``. None
            where there are only pixels.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    read: Callable[[int], Image]
    name_of: Callable[[int], str]
    encoded: Callable[[int], bytes] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """Tell of every image whether its group holds images of several classes."""
        _, group = np.unique(self.groups, return_inverse=True)
        pairs = np.unique(np.stack([group.reshape(-1), self.labels]), axis=1)
        return np.bincount(pairs[0], minlength=1)[group.reshape(-1)] > 1

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "LabelledImages":
        """Return the images at ``indices``, in that order, with the same class names."""
        chosen = np.asarray(indices, np.int64)
        read, name_of, encoded = self.read, self.name_of, self.encoded
        return replace(
            self,
            labels=self.labels[chosen],
            groups=self.groups[chosen],
            read=lambda i: read(int(chosen[i])),
            name_of=lambda i: name_of(int(chosen[i])),
            encoded=None if encoded is None else lambda i: encoded(int(chosen[i])),
        )

    def evenly_spaced(self, most: int) -> "LabelledImages":
        """Return at most ``most`` images, spread evenly over these."""
        return self if len(self) <= most else self.subset(evenly_spaced(len(self), most))

    def of_classes(self, names: Sequence[str]) -> "LabelledImages":
        """Return the images of the named classes, relabelled by position in ``names``.

        Every name must be one of ``class_names`` (KeyError otherwise: callers check users' input first).
        """
        position = {self.class_names.index(name): new for new, name in enumerate(names)}
        chosen = np.flatnonzero(np.isin(self.labels, list(position)))
        part = self.subset(chosen)
        relabelled = np.array([position[int(label)] for label in part.labels], np.int64)
        return replace(part, class_names=tuple(names), labels=relabelled)


def evenly_spaced(count: int, wanted: int) -> NDArray[np.int64]:
    """Return at most ``wanted`` of the numbers 0 .. count - 1, evenly spaced, from the first to the last."""
    return np.floor(np.linspace(0, count - 1, min(wanted, count)) + 0.5).astype(np.int64)


@dataclass(frozen=True)
class ImageSet:
    """A whole data set as opened from a path or a name.

    Attributes:
        source: the path or name it was opened from, as the user gave it.
        title: what it is, for reports, lossy copies named: ``"CIFAR-10 (WebP q90)"``.
        train: the images parts are cut from.
        test: the official test images, or None if the set has none (a part of ``train`` is held out).
        flips: True if a horizontal flip keeps the meaning of every image.
        splits: known-class lists by number (``--split 0..4``); empty if none are published or ours.
        grouping: what made the groups of ``train`` and ``test``; None as long as nobody looked for copies.
    """

    source: str
    title: str
    train: LabelledImages
    test: LabelledImages | None
    flips: bool = False
    splits: tuple[tuple[str, ...], ...] = ()
    grouping: GroupsRecord | None = None
