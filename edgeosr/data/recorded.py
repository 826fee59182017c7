"""Open the images of a run or a bundle again, and make sure that they are still the same."""

from collections.abc import Sequence
from pathlib import Path

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Fractions, Parts, four_parts
from edgeosr.errors import DataError


def reopen_parts(
    source: str,
    *,
    known: Sequence[str],
    seed: int,
    fractions: Fractions,
    test_fraction: float,
    per_group: int | None,
    digests: dict[str, str],
    data_root: Path | None = None,
) -> tuple[ImageSet, Parts]:
    """Cut an image set into the same parts as when a record of them was made.

    Args:
        source: path or name of the set.
        known: names of the known classes, in the order of their labels.
        seed: of the cut, as the next three (see ``four_parts``).
        fractions: for train, select and calibrate.
        test_fraction: held out as test if the set has no official test.
        per_group: at most this many images of a group.
        digests: SHA-256 of every part, as recorded.
        data_root: where named sets are looked for.

    Raises:
        DataError: the set cannot be opened, or its images are no longer those of the record.
    """
    image_set = open_image_set(source, data_root)
    parts = four_parts(
        image_set,
        known=tuple(known),
        seed=seed,
        fractions=fractions,
        test_fraction=test_fraction,
        per_group=per_group,
    )
    changed = sorted(name for name, digest in digests.items() if parts.digests.get(name) != digest)
    if changed:
        raise DataError(
            f"the images of {source} have changed since the run was trained: part {', '.join(changed)} "
            "differs; bring the old images back, or train again"
        )
    return image_set, parts
