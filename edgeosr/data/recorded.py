"""Open the images of a run or a bundle again, and make sure that they are still the same."""

import json
from pathlib import Path
from typing import Any

from edgeosr.bundle.checked_json import parse_json
from edgeosr.bundle.data import DataRecord, data_from_json
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.grouping import grouped_as_recorded
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Parts, four_parts
from edgeosr.errors import DataError, UsageError


def data_record(values: dict[str, Any], document: str) -> DataRecord:
    """Check the plain values that a run keeps of its data; ``document`` names them in errors (DataError)."""
    then = "train the run again, or copy it again"
    return data_from_json(parse_json(json.dumps(values).encode(), document, DataError, then=then))


def reopen_parts(data: DataRecord, data_root: Path | None = None) -> tuple[ImageSet, Parts]:
    """Cut an image set into the same parts as when a record of them was made.

    Args:
        data: the record.
        data_root: where named sets are looked for.

    Raises:
        DataError: the set cannot be opened, or its images are no longer those of the record.
    """
    try:
        image_set = open_image_set(data.source, data_root)
    except (UsageError, DataError) as error:
        raise type(error)(
            f"{error}; {data.source} is what the run was trained on: if it is a folder, call this where that "
            "folder lies"
        ) from error
    image_set = grouped_as_recorded(image_set, data.groups)
    parts = four_parts(
        image_set,
        known=data.known,
        seed=data.seed,
        fractions=data.fractions,
        test_fraction=data.test_fraction,
        per_group=data.per_group,
    )
    changed = sorted(name for name, digest in data.digests.items() if parts.digests.get(name) != digest)
    if changed:
        raise DataError(
            f"the images of {data.source} have changed since the run was trained: part {', '.join(changed)} "
            "differs; bring the old images back, or train again"
        )
    return image_set, parts
