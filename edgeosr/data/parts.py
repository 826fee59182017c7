"""The four disjoint parts of the known data, and the images of the classes that are not known.

    train      the network and the discriminator
    select     epoch, discriminator, standardisation and weights of the score parts
    calibrate  the threshold alone
    test       figures only

Images of one group (copies of one picture, frames of one track: ``grouping.py``) always stay in one part. The
cut is stratified by class and depends only on the seed and on the names of the images: their order on disk,
and the other classes, change nothing (``cut.py``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeosr.bundle.data import DataRecord
from edgeosr.bundle.groups import GroupsRecord
from edgeosr.data.cut import Fractions, Indices, cut
from edgeosr.data.grouping import grouped
from edgeosr.data.labelled_images import ImageSet, LabelledImages, evenly_spaced
from edgeosr.data.spelling import as_spelled
from edgeosr.errors import DataError, UsageError, require_whole, suggestion
from edgeosr.printed import brief, printable
from edgeosr.verdict import UNKNOWN, reads_as_unknown


@dataclass(frozen=True)
class Parts:
    """Known parts, and unknown test images.

    Attributes:
        known, unknown: class names; labels of the known parts index ``known``, those of
            ``unknown_test`` index ``unknown``.
        train, select, calibrate, test: images of known classes; every class is in every part.
        unknown_test: test images of the other classes (all of their images if the set has no official
            test), or None if every class is known.
        seed, fractions, test_fraction, per_group: what the cut was made with.
        digests: SHA-256 of every part's list of (image name, label), by part name.
        grouping: what made the groups of the set.
    """

    known: tuple[str, ...]
    unknown: tuple[str, ...]
    train: LabelledImages
    select: LabelledImages
    calibrate: LabelledImages
    test: LabelledImages
    unknown_test: LabelledImages | None
    seed: int
    fractions: Fractions
    test_fraction: float
    per_group: int | None
    digests: dict[str, str]
    grouping: GroupsRecord

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (images, groups) of every part, by part name."""
        return {name: (len(part), len(np.unique(part.groups))) for name, part in self._by_name().items()}

    def record(self, source: str, title: str, split: int | None = None) -> DataRecord:
        """Return what a run or a bundle keeps of them, from which ``reopen_parts`` makes them again.

        Args:
            source: path or name of the image set, as the user gave it; kept fit to be printed.
            title: what it is, for reports.
            split: number of the split that named the known classes; None if they were named.
        """
        return DataRecord(
            source=printable(source),
            title=printable(title),
            known=self.known,
            unknown=self.unknown,
            split=split,
            seed=self.seed,
            fractions=self.fractions,
            per_group=self.per_group,
            test_fraction=self.test_fraction,
            digests=self.digests,
            sizes=self.sizes,
            groups=self.grouping,
        )

    def _by_name(self) -> dict[str, LabelledImages]:
        return _named(self.train, self.select, self.calibrate, self.test, self.unknown_test)


def four_parts(
    image_set: ImageSet,
    *,
    known: Sequence[str] | None = None,
    split: int | None = None,
    seed: int = 0,
    fractions: Fractions = (0.8, 0.1, 0.1),
    test_fraction: float = 0.2,
    per_group: int | None = None,
) -> Parts:
    """Cut an image set into train, select, calibrate, test and unknown test images.

    Args:
        image_set: what to cut. Where nobody has looked for copies yet (``ImageSet.grouping``), it is done
            here.
        known: names of the known classes, in the order of their labels; all classes if neither this nor
            ``split`` is given.
        split: number of one of the set's own lists of known classes, instead of ``known``.
        seed: of the cut; any whole number.
        fractions: of groups for train, select and calibrate, out of the known training images; sum 1.
        test_fraction: of groups held out as test if the set has no official test.
        per_group: keep at most this many images of a group and class (frames of a track), evenly spaced in
            the set's order; official test images are never thinned.

    Raises:
        UsageError: a value that cannot be used.
        DataError: a class that is not there or missing from train or test, fewer than two known classes,
            or a class with too few groups for the parts.
    """
    _require_settings(seed, fractions, test_fraction, per_group)
    names = _known_names(image_set, known, split)
    empty = _without_images(image_set)
    unknown = tuple(name for name in image_set.train.class_names if name not in {*names, *empty})
    _require_images(image_set.train, names, f"the training images of {image_set.title}")
    if image_set.grouping is None:
        image_set = grouped(image_set)
    assert image_set.grouping is not None
    pool = image_set.train.of_classes(names)
    if per_group is not None:
        pool = pool.subset(_spaced(pool, per_group))
    held_out = None if image_set.test is not None else test_fraction
    train, select, calibrate, test = (
        pool.subset(chosen) for chosen in cut(pool, image_set, seed, fractions, held_out)
    )
    if image_set.test is not None:
        _require_images(image_set.test, names, f"the test images of {image_set.title}")
        test = image_set.test.of_classes(names)
    unknown_test = evaluation_images(image_set).of_classes(unknown) if unknown else None
    if unknown_test is not None and image_set.test is None and per_group is not None:
        unknown_test = unknown_test.subset(_spaced(unknown_test, per_group))
    if unknown_test is not None and not len(unknown_test):
        unknown_test = None
    named = _named(train, select, calibrate, test, unknown_test)
    return Parts(
        known=names,
        unknown=unknown,
        train=train,
        select=select,
        calibrate=calibrate,
        test=test,
        unknown_test=unknown_test,
        seed=seed,
        fractions=fractions,
        test_fraction=test_fraction,
        per_group=per_group,
        digests={name: digest(part) for name, part in named.items()},
        grouping=image_set.grouping,
    )


def evaluation_images(image_set: ImageSet) -> LabelledImages:
    """Return the official test images, or all images of a set that has none."""
    return image_set.train if image_set.test is None else image_set.test


def digest(images: LabelledImages) -> str:
    """Return the SHA-256 (hexadecimal) of the list of (image name, label), in its order."""
    lines = hashlib.sha256()
    for i, label in enumerate(images.labels.tolist()):
        lines.update(f"{images.name_of(i)}\t{label}\n".encode())
    return lines.hexdigest()


def _named(
    train: LabelledImages,
    select: LabelledImages,
    calibrate: LabelledImages,
    test: LabelledImages,
    unknown_test: LabelledImages | None,
) -> dict[str, LabelledImages]:
    parts = {"train": train, "select": select, "calibrate": calibrate, "test": test}
    return parts if unknown_test is None else {**parts, "unknown_test": unknown_test}


def _require_settings(seed: int, fractions: Fractions, test_fraction: float, per_group: int | None) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"seed must be a whole number; got {brief(seed)}")
    require_shares(fractions, test_fraction)
    if per_group is not None:
        require_whole("per_group", per_group, 1)


def require_shares(fractions: Sequence[float], test_fraction: float) -> None:
    """Refuse shares of the parts that no cut can be made with.

    Raises:
        UsageError: ``fractions`` are not three shares above 0 that sum to 1, or ``test_fraction`` is not
            above 0 and below 1.
    """
    if len(fractions) != 3 or not min(fractions) > 0 or not abs(sum(fractions) - 1) <= 1e-6:
        raise UsageError(
            "fractions must be three shares above 0 (train, select, calibrate) that sum to 1; "
            f"got {brief(tuple(fractions))}; 0.8 0.1 0.1 is the default"
        )
    if not 0 < test_fraction < 1:
        raise UsageError(f"test_fraction must be above 0 and below 1; got {brief(test_fraction)}")


def _known_names(image_set: ImageSet, known: Sequence[str] | None, split: int | None) -> tuple[str, ...]:
    classes = image_set.train.class_names
    if known is not None and split is not None:
        raise UsageError("give either a list of known classes or the number of a split, not both")
    if split is not None:
        if not image_set.splits:
            raise UsageError(f"{image_set.title} has no numbered splits; name the known classes instead")
        if not 0 <= split < len(image_set.splits):
            raise UsageError(f"split must lie in 0..{len(image_set.splits) - 1}; got {split}")
        known = image_set.splits[split]
    names = tuple(classes if known is None else (as_spelled(name, classes) for name in known))
    for name in names:
        require_class(name, classes, image_set.title)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"the known class {twice!r} is named twice")
    taken = next((name for name in names if reads_as_unknown(name)), None)
    if taken is not None:
        raise DataError(
            f"a known class cannot be called {taken!r}: {UNKNOWN!r} is the verdict on rejected "
            "frames; rename its folder, "
            "or name the known classes (--known A,B,...) so that this folder holds unknown images"
        )
    if len(names) < 2:
        raise DataError(
            f"a classifier needs at least 2 known classes; {image_set.title} gives {len(names)}"
            f"{': ' + repr(names[0]) if names else ''}; expected one folder a class, or more names"
        )
    return names


def require_class(name: str, classes: Sequence[str], title: str) -> None:
    """Raise DataError, with near names, if ``name`` is none of ``classes`` of the set called ``title``."""
    if name not in classes:
        shown = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
        raise DataError(
            f"{title} has no class {name!r}{suggestion(name, classes) or ';'} "
            f"its {len(classes)} classes: {shown}"
        )


def _require_images(images: LabelledImages, names: Sequence[str], where: str) -> None:
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    present = [name for name, count in zip(images.class_names, counts, strict=True) if count]
    for name in names:
        if not counts[images.class_names.index(name)]:
            raise DataError(
                f"the class {name!r} is missing from {where}{suggestion(name, present) or ';'} "
                "add images, make the folder names equal, or leave it out of the known classes"
            )


def _without_images(image_set: ImageSet) -> set[str]:
    """Return the classes without an image, such as empty folders."""
    names = image_set.train.class_names
    sides = [image_set.train] if image_set.test is None else [image_set.train, image_set.test]
    counts = sum(np.bincount(side.labels, minlength=len(names)) for side in sides)
    return {name for name, count in zip(names, np.atleast_1d(counts).tolist(), strict=True) if not count}


def _spaced(images: LabelledImages, per_group: int) -> Indices:
    """Return the indices, ascending, of at most ``per_group`` evenly spaced images of every group and class.

    Of every class by itself: which classes are known must not change what is kept of the others.
    """
    pairs = np.stack([images.groups, images.labels], axis=1)
    groups = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][:1] - 1)) if len(order) else order
    kept: list[Indices] = []
    for members in np.split(order, starts[1:]):
        kept.append(members[evenly_spaced(len(members), per_group)])
    return np.sort(np.concatenate(kept)) if kept else order
