"""Decode a whole part at once: resized pixels in one array, unreadable images skipped and counted."""

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.image_file import quiet_pillow
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.preprocessing import Preprocessing
from edgeosr.printed import say
from edgeosr.progress import progress

# More unreadable images than this share means a broken data set, not a few broken files.
LARGEST_SKIPPED_SHARE = 0.01
_CHUNK = 64
_NAMED = 3


@dataclass(frozen=True)
class Decoded:
    """The readable images of one part; rows of all arrays belong together.

    Attributes:
        pixels: uint8 ``[n, height, width, 3]``, RGB, resized, not normalised.
        labels: int64 ``[n]``.
        groups: int64 ``[n]``.
        kept: int64 ``[n]``, index of each row in the images that were decoded.
        skipped: why each unreadable image was left out, in order.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    kept: NDArray[np.int64]
    skipped: list[str]


def decode_images(images: LabelledImages, preprocessing: Preprocessing, *, description: str) -> Decoded:
    """Decode and resize every image, in several threads, with a progress bar.

    Unreadable images are skipped; their count goes to standard error in one line.

    Args:
        images: what to decode.
        preprocessing: gives size and fit; its normalisation is not applied.
        description: text of the progress bar, for example ``"reading train images"``.

    Raises:
        DataError: more than 1 % of the images are unreadable, or the array does not fit into memory.
    """
    pixels = _empty(len(images), preprocessing)
    failures: dict[int, str] = {}
    allowed = int(LARGEST_SKIPPED_SHARE * len(images))

    def decode_chunk(start: int) -> dict[int, str]:
        failed: dict[int, str] = {}
        for i in range(start, min(start + _CHUNK, len(images))):
            try:
                frame = images.read(i)
            except DataError as error:
                failed[i] = str(error)
                continue
            if not preprocessing.keeps(frame.shape[0], frame.shape[1]):
                frame = preprocessing.resize(frame)
            pixels[i] = frame
        return failed

    starts = range(0, len(images), _CHUNK)
    workers = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        with progress(description, len(images)) as advance, quiet_pillow:
            chunks = {workers.submit(decode_chunk, start): start for start in starts}
            for chunk in as_completed(chunks):
                failures.update(chunk.result())
                if len(failures) > allowed:
                    raise _too_many(failures, len(images))
                advance(min(_CHUNK, len(images) - chunks[chunk]))
    finally:
        # On an error or Ctrl-C the chunks not yet begun are dropped.
        workers.shutdown(wait=True, cancel_futures=True)
    return _without(failures, pixels, images)


def _empty(count: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    try:
        return np.empty((count, preprocessing.height, preprocessing.width, 3), np.uint8)
    except MemoryError as error:
        gib = count * preprocessing.height * preprocessing.width * 3 / 2**30
        raise DataError(
            f"{count} images of {preprocessing.height}x{preprocessing.width} pixels take {gib:.1f} GiB, "
            "more than there is memory; use a smaller input size or fewer images"
        ) from error


def _too_many(failures: dict[int, str], count: int) -> DataError:
    first = "; ".join(failures[i] for i in sorted(failures)[:_NAMED])
    return DataError(
        f"more than {LARGEST_SKIPPED_SHARE:.0%} of {count} images cannot be read "
        f"({len(failures)} so far): {first}; repair or remove these files"
    )


def _without(failures: dict[int, str], pixels: NDArray[np.uint8], images: LabelledImages) -> Decoded:
    kept = np.setdiff1d(np.arange(len(images), dtype=np.int64), np.array(sorted(failures), np.int64))
    skipped = [failures[i] for i in sorted(failures)]
    if skipped:
        pixels = pixels[kept]
        count = (
            f"1 of {len(images)} images" if len(skipped) == 1 else f"{len(skipped)} of {len(images)} images"
        )
        say(f"skipped {count} that cannot be read; the first: {skipped[0]}")
    return Decoded(pixels, images.labels[kept], images.groups[kept], kept, skipped)
