"""Which images of a set are near copies of each other: the record, and its reader.

The group of every image is kept, so that neither an export nor an evaluation reads the pictures for it again.
"""

import base64
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.checked_json import LONGEST_TEXT, JsonNode

Groups = NDArray[np.int64]
# What made them: the pictures and their names, tracks that the set comes with, --groups, or nothing.
CONTENT, TRACKS, GIVEN, SINGLE = SOURCES = ("content", "tracks", "given", "single")
MOST_IMAGES = 2**26
# Characters of ``train_ids`` and ``test_ids`` together: the whole manifest may have 4 MiB.
LARGEST_IDS = 7 * 2**19


@dataclass(frozen=True, kw_only=True)
class GroupsRecord:
    """The groups of a whole set, before any class is left out.

    Attributes:
        source: one of ``SOURCES``.
        rule: ``--groups`` as it was given; empty without.
        images, groups: of the images that parts are cut from.
        copies, bursts: how many images pictures that are alike, and bursts on top of that, joined to a group
            of another one: images = groups + copies + bursts. 0 unless ``source`` is ``content``.
        unnamed: images that ``--groups`` says nothing of; each is a group of its own.
        mixed: groups that hold images of several classes.
        test_copies: official test images that are a copy of one that parts are cut from.
        train_ids, test_ids: the group of every image, packed (``packed_groups``); no ``test_ids`` without
            official test images.
    """

    source: str
    rule: str = ""
    images: int
    groups: int
    copies: int = 0
    bursts: int = 0
    unnamed: int = 0
    mixed: int = 0
    test_copies: int = 0
    train_ids: tuple[str, ...]
    test_ids: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain values, as ``groups_from_json`` reads them."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    def described(self) -> str:
        """Return how many groups there are and why, in a line."""
        images = f"{self.images:,} images"
        of = f"{images} in {self.groups:,} group{'s' * (self.groups != 1)}"
        if self.source == TRACKS:
            return f"{of}: the tracks that the set comes with"
        if self.source == SINGLE:
            return f"{images}, each a group of its own; nobody looked for copies"
        if self.source == GIVEN:
            rest = (
                f" ({self.unnamed:,} that it does not name are groups of their own)" if self.unnamed else ""
            )
            return f"{of}, as --groups {self.rule} says{rest}"
        joined = []
        if self.copies:
            joined.append(f"{self.copies:,} cop{'y' if self.copies == 1 else 'ies'}")
        if self.bursts:
            joined.append(f"{self.bursts:,} in bursts")
        said = f"{images}, each a group of its own: no copies, no bursts"
        if joined:
            said = f"{of}: {', '.join(joined)}"
        if self.mixed:
            said += f"; {self.mixed:,} of the groups hold{'s' * (self.mixed == 1)} images of several classes"
        if self.test_copies:
            said += f"; {self.test_copies:,} official test images are copies of these"
        return said


def packed_groups(groups: Groups) -> tuple[str, ...]:
    """Return the group of every image as text, in pieces that JSON readers here take.

    The text is base64 of zlib of little-endian int32: how far before each image its group's first one is.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    back = np.arange(len(groups), dtype=np.int64) - first[inverse.reshape(-1)]
    text = base64.b64encode(zlib.compress(back.astype("<i4").tobytes(), 9)).decode("ascii")
    return tuple(text[start : start + LONGEST_TEXT] for start in range(0, len(text), LONGEST_TEXT))


def unpacked_groups(pieces: tuple[str, ...], images: int | None = None) -> Groups:
    """Return the group of every image: the index of the group's first one.

    Raises:
        ValueError: it is no such text, or not of so many ``images``.
    """
    packed = base64.b64decode("".join(pieces), validate=True)
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, 4 * (MOST_IMAGES if images is None else images) + 1)
    except zlib.error as error:
        raise ValueError("no zlib data") from error
    if len(data) % 4 or not unpacker.eof or (images is not None and len(data) != 4 * images):
        raise ValueError("of another number of images")
    index = np.arange(len(data) // 4, dtype=np.int64)
    first = index - np.frombuffer(data, "<i4").astype(np.int64)
    if not ((first >= 0) & (first <= index)).all() or not (first[first] == first).all():
        raise ValueError("no groups")
    return first


def groups_from_json(node: JsonNode) -> GroupsRecord:
    """Check the object that records groups; raises the document's error."""
    field = node.fields(GroupsRecord.__dataclass_fields__)

    def number(name: str) -> int:
        return field[name].integer(0, MOST_IMAGES)

    def ids(name: str, images: int | None) -> tuple[str, ...]:
        pieces = tuple(item.text() for item in field[name].items())
        try:
            if pieces or images is not None:
                unpacked_groups(pieces, images)
        except ValueError:
            field[name].fail("the group of every image, as edgeosr writes it")
        return pieces

    return GroupsRecord(
        source=field["source"].choice(SOURCES),
        rule=field["rule"].text(empty=True),
        images=number("images"),
        groups=number("groups"),
        copies=number("copies"),
        bursts=number("bursts"),
        unnamed=number("unnamed"),
        mixed=number("mixed"),
        test_copies=number("test_copies"),
        train_ids=ids("train_ids", number("images")),
        test_ids=ids("test_ids", None),
    )
