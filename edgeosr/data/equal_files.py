"""Which images are the very same files as others: told beside figures that they would flatter."""

import hashlib
from collections.abc import Iterable, Iterator

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError

# Of either side: more would take longer to read than a note is worth.
MOST_FILES = 20_000


def equal_files(images: LabelledImages, others: Iterable[LabelledImages]) -> int | None:
    """Return how many of the images are byte for byte the file of one of the others.

    None: not looked at, for there are more than ``MOST_FILES``. 0 where one side has only pixels, no files.
    """
    sides = tuple(side for side in others if side.encoded is not None)
    if images.encoded is None or not sides:
        return 0
    if max(len(images), sum(map(len, sides))) > MOST_FILES:
        return None
    known = {digest for side in sides for digest in _digests(side)}
    return sum(digest in known for digest in _digests(images)) if known else 0


def _digests(images: LabelledImages) -> Iterator[bytes]:
    if images.encoded is None:
        return
    for i in range(len(images)):
        try:
            yield hashlib.blake2b(images.encoded(i), digest_size=16).digest()
        except DataError:
            continue  # told where it is decoded
