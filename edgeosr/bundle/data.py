"""The images behind a run or a bundle: the record, and its reader."""

from dataclasses import asdict, dataclass
from typing import Any

from edgeosr.bundle.checked_json import LARGEST, JsonNode
from edgeosr.bundle.groups import GroupsRecord, groups_from_json


@dataclass(frozen=True)
class DataRecord:
    """The images behind the bundle and how they were cut into parts.

    Attributes:
        source: path or name as the user gave it.
        title: what it is, for reports.
        known, unknown: class names trained on, and held out.
        split: number of the published or own split, None if classes were named.
        seed: of the cut into parts.
        fractions: shares of train, select, calibrate.
        per_group: most images kept of one group, None for all.
        test_fraction: share held out for test where there is no official test.
        digests: SHA-256 of each part's (name, label) list, by part.
        sizes: (images, groups) by part.
        groups: which images are near copies of each other; None in records from before groups were made.
    """

    source: str
    title: str
    known: tuple[str, ...]
    unknown: tuple[str, ...]
    split: int | None
    seed: int
    fractions: tuple[float, float, float]
    per_group: int | None
    test_fraction: float
    digests: dict[str, str]
    sizes: dict[str, tuple[int, int]]
    groups: GroupsRecord | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values, as ``data_from_json`` reads them."""
        values = asdict(self)
        del values["groups"]
        return values if self.groups is None else {**values, "groups": self.groups.as_json()}


@dataclass(frozen=True)
class OutliersRecord:
    """Real outliers used in training: ``source``, and images used in ``train`` and ``select``."""

    source: str
    train: int
    select: int


def data_from_json(node: JsonNode) -> DataRecord:
    """Check the object that records data and parts; raises the document's error."""
    # A record from before there were groups has none, and its parts are cut as they were then.
    names = DataRecord.__dataclass_fields__
    field = node.fields(name for name in names if name != "groups" or name in node.entries())
    shares = [item.number(0, 1) for item in field["fractions"].items(3, 3)]
    sizes = {name: item.items(2, 2) for name, item in field["sizes"].entries().items()}
    return DataRecord(
        source=field["source"].text(),
        title=field["title"].text(empty=True),
        known=field["known"].texts(),
        unknown=field["unknown"].texts(),
        split=None if field["split"].is_null else field["split"].integer(0, LARGEST),
        seed=field["seed"].integer(0, 2**64),
        fractions=(shares[0], shares[1], shares[2]),
        per_group=None if field["per_group"].is_null else field["per_group"].integer(1, LARGEST),
        test_fraction=field["test_fraction"].number(0, 1),
        digests={name: item.sha256() for name, item in field["digests"].entries().items()},
        sizes={
            name: (pair[0].integer(0, LARGEST), pair[1].integer(0, LARGEST)) for name, pair in sizes.items()
        },
        groups=groups_from_json(field["groups"]) if "groups" in field else None,
    )


def outliers_from_json(node: JsonNode) -> OutliersRecord:
    """Check the object that records real outliers."""
    field = node.fields(OutliersRecord.__dataclass_fields__)
    train, select = field["train"].integer(0, LARGEST), field["select"].integer(0, LARGEST)
    return OutliersRecord(field["source"].text(), train, select)
