"""Which images of a set belong together, so that no part gets a copy of what another part has.

--groups                      what the user says, taken at its word
tracks of the set             GTSRB, and packs that hold tracks
otherwise                     content_groups.py and bursts.py together
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.groups import (
    CONTENT,
    GIVEN,
    LARGEST_IDS,
    SINGLE,
    TRACKS,
    GroupsRecord,
    packed_groups,
    unpacked_groups,
)
from edgeosr.data.bursts import burst_groups
from edgeosr.data.content_groups import content_groups
from edgeosr.data.fingerprints import Fingerprints, fingerprints
from edgeosr.data.given_groups import NONE, GivenGroups, group_numbers
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.errors import DataError, UsageError
from edgeosr.printed import say
from edgeosr.user_path import path_from_user

Groups = NDArray[np.int64]
# What was found in each source, with the state that it was in: a command opens its images more than once.
_SEEN: dict[str, tuple[str, GroupsRecord]] = {}
# The rule of parts that a record from before there were groups describes.
BEFORE = "recorded before there were groups"


def grouped(image_set: ImageSet, asked: str | None = None) -> ImageSet:
    """Return the set with groups, made as the page says; says on standard error what lies in several classes.

    Args:
        image_set: with nothing but the tracks that it comes with.
        asked: ``--groups``, or None.

    Raises:
        UsageError, DataError: ``--groups`` cannot be used.
        MissingDependencyError: the extra ``export`` is not installed.
    """
    if asked is not None and asked.casefold() == NONE:
        return _with(image_set, SINGLE, _singles(image_set.train), _singles(image_set.test), rule=NONE)
    if asked is not None:
        return _as_given(image_set, GivenGroups(asked))
    if _has_tracks(image_set):
        return as_it_comes(image_set)
    state, seen = _state(image_set), _SEEN.get(image_set.source)
    record = seen[1] if seen is not None and seen[0] == state else _by_content(image_set)
    _SEEN[image_set.source] = state, record
    return grouped_as_recorded(image_set, record)


def as_it_comes(image_set: ImageSet, rule: str = "") -> ImageSet:
    """Return the set with its own tracks as groups, or none: as every set was before there were groups."""
    test = image_set.test
    source = TRACKS if _has_tracks(image_set) else SINGLE
    return _with(image_set, source, image_set.train.groups, None if test is None else test.groups, rule=rule)


def grouped_as_recorded(image_set: ImageSet, record: GroupsRecord | None) -> ImageSet:
    """Return the set with the groups of a record; None is a record from before there were groups.

    Raises:
        DataError: the set has another number of images than it had then.
    """
    if record is None:
        return as_it_comes(image_set, BEFORE)
    train, test = image_set.train, image_set.test
    try:
        train = replace(train, groups=unpacked_groups(record.train_ids, len(train)))
        if test is not None:
            test = replace(test, groups=unpacked_groups(record.test_ids, len(test)))
    except ValueError as error:
        raise DataError(
            f"the images of {image_set.source} have changed since the run was trained: it was cut from "
            f"{record.images} images, and there are {len(train)} now, or other test images; bring the old "
            "images back, or train again"
        ) from error
    return replace(image_set, train=train, test=test, grouping=record)


def grouped_like(image_set: ImageSet, record: GroupsRecord, same: ImageSet | None) -> ImageSet:
    """Return a set of outliers with groups made as those of the known images were.

    Images of the very set that the record is of have its groups. Of another set a pattern of ``--groups``,
    or ``none``, says what it says of the known images; a file does not, nor does a pattern that none of the
    names fits: its groups are then made as without ``--groups``.

    Args:
        image_set: the outliers, with nothing but the tracks that they come with.
        record: of the known images' set.
        same: that set, if the outliers are classes of it.
    """
    # The halves of a run from before there were groups are those that it was trained with.
    if record.rule == BEFORE:
        return image_set
    if same is not None:
        found = _by_name(image_set, grouped_as_recorded(same, record))
        if found is not None:
            return found
    if record.rule == NONE:
        return grouped(image_set, NONE)
    if record.source == GIVEN:
        try:
            given = GivenGroups(record.rule)
            if given.is_pattern:
                return _as_given(image_set, given)
        except (UsageError, DataError):
            pass  # the file is gone or names other images; the pattern is for other names
    return grouped(image_set)


def _by_name(image_set: ImageSet, whole: ImageSet) -> ImageSet | None:
    """Return the images with the groups that those of the same names have; None if one is not there."""
    record = whole.grouping
    assert record is not None
    found: list[Groups | None] = []
    for side, other in ((image_set.train, whole.train), (image_set.test, whole.test)):
        if side is None:
            found.append(None)
            continue
        count = 0 if other is None else len(other)
        groups = {} if other is None else {other.name_of(i): int(other.groups[i]) for i in range(count)}
        names = [side.name_of(i) for i in range(len(side))]
        if not groups.keys() >= set(names):
            return None
        found.append(np.array([groups[name] for name in names], np.int64))
    return _with(image_set, record.source, *found, rule=record.rule)


def require_room(record: GroupsRecord, source: str) -> None:
    """Refuse groups that no bundle could keep: better now than when its manifest is written.

    Raises:
        DataError: they take more than ``LARGEST_IDS`` characters.
    """
    size = sum(len(piece) for piece in (*record.train_ids, *record.test_ids))
    if size > LARGEST_IDS:
        raise DataError(
            f"the groups of the {record.images:,} images of {source} take {size:,} characters to keep; at "
            f"most {LARGEST_IDS:,} fit into a bundle; name the files so that images of one group come one "
            "after another, or take fewer images, or --groups none"
        )


def _has_tracks(image_set: ImageSet) -> bool:
    return len(np.unique(image_set.train.groups)) < len(image_set.train)


def _singles(images: LabelledImages | None) -> Groups | None:
    return None if images is None else np.arange(len(images), dtype=np.int64)


def _with(
    image_set: ImageSet, source: str, train: Groups | None, test: Groups | None, **more: Any
) -> ImageSet:
    """Return the set with these groups, and a record of them."""
    assert train is not None
    of_train = replace(image_set.train, groups=train)
    record = GroupsRecord(
        source=source,
        images=len(train),
        groups=len(np.unique(train)),
        mixed=len(np.unique(train[of_train.mixed])),
        train_ids=packed_groups(train),
        test_ids=() if test is None else packed_groups(test),
        **more,
    )
    return grouped_as_recorded(image_set, record)


def _as_given(image_set: ImageSet, given: GivenGroups) -> ImageSet:
    """Make the groups that the user names, of train and of test images."""
    sides = [side for side in (image_set.train, image_set.test) if side is not None]
    names = [side.name_of(i) for side in sides for i in range(len(side))]
    groups = given.of(names)
    of_train, of_test = groups[: len(image_set.train)], groups[len(image_set.train) :]
    return _with(
        image_set, GIVEN, group_numbers(of_train), None if image_set.test is None else group_numbers(of_test),
        rule=given.asked, unnamed=of_train.count(None),
    )  # fmt: skip


def _by_content(image_set: ImageSet) -> GroupsRecord:
    """Look at every picture, at its name and at its time stamp."""
    train, test = image_set.train, image_set.test
    prints = fingerprints(train, "looking for copies among the images")
    content = content_groups(prints, train.labels)
    whole = _joined(content, _bursts(train, prints))
    copies = len(train) - len(np.unique(content))
    more = {"copies": copies, "bursts": len(np.unique(content)) - len(np.unique(whole))}
    test_groups = None
    if test is not None:
        test_prints = fingerprints(test, "looking for copies among the test images")
        test_groups = _joined(content_groups(test_prints, test.labels), _bursts(test, test_prints))
        # Groups of both sides together: a test image whose group begins in train is a copy of one there.
        both = content_groups(prints.followed_by(test_prints), np.concatenate([train.labels, test.labels]))
        more["test_copies"] = int(np.sum(both[len(train) :] < len(train)))
    found = _with(image_set, CONTENT, whole, test_groups, **more)
    assert found.grouping is not None
    if found.grouping.groups < found.grouping.images:
        say(f"{image_set.title}: {found.grouping.described()}")
    _tell_mixed(found.train)
    return found.grouping


def _bursts(images: LabelledImages, prints: Fingerprints) -> Groups:
    names = [images.name_of(i) for i in range(len(images))]
    return burst_groups(names, images.labels, prints.taken, prints.cameras)


def _joined(first: Groups, second: Groups) -> Groups:
    """Return the groups of images that are together in either, int64 ``[n]``: the index of the first one."""
    parent = list(range(len(first)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for groups in (first, second):
        for i, other in enumerate(groups.tolist()):
            one, two = sorted((root(i), root(other)))
            parent[two] = one
    return np.array([root(i) for i in range(len(first))], np.int64)


def _tell_mixed(images: LabelledImages) -> None:
    """Say which pictures lie in several classes: one of the labels is wrong, or they say too little."""
    mixed = np.flatnonzero(images.mixed)
    if not len(mixed):
        return
    members = np.flatnonzero(images.groups == images.groups[mixed[0]])
    other = next(i for i in members if images.labels[i] != images.labels[members[0]])
    say(
        f"note: {len(mixed):,} images are in groups that hold several classes, for example "
        f"{images.name_of(int(members[0]))} and {images.name_of(int(other))}, which look the same or belong "
        "together; a wrong label? Each such group stays in one part"
    )


def _state(image_set: ImageSet) -> str:
    """Return what changes if the images do: names, labels, sizes and times of the files."""
    root = path_from_user(image_set.source.rpartition(":")[0] or image_set.source)
    root = root if root.exists() else path_from_user(image_set.source)
    state = hashlib.sha256(repr((root.absolute(), _stamp(root), image_set.train.class_names)).encode())
    for side in (image_set.train, image_set.test):
        for i, label in enumerate([] if side is None else side.labels.tolist()):
            name = side.name_of(i) if side is not None else ""
            state.update(f"{name}\t{label}\t{_stamp(root / name)}\n".encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
