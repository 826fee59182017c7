"""What tells whether two pictures are the same: one look at each image, in several threads."""

import hashlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.image_file import Look, look_at, quiet_pillow
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError, import_extra
from edgeosr.progress import progress
from edgeosr.usable_processors import usable_processors

SIDE = 16  # of the thumbnails, pixels
VIEW_SIDE = 48  # of the grey views
# A JPEG of more pixels is looked at smaller, and both of its sides keep so many: to decode a camera's 12
# megapixels would take longer than all else together.
MOST_PIXELS, DRAFT_SIDE = 2**20, 256
_CHUNK = 32


@dataclass(frozen=True)
class Fingerprints:
    """Of n images.

    Attributes:
        digests: ``[n]``, 32 hexadecimal digits: of the pixels; of the name if an image cannot be read.
        hashes: uint64 ``[2, n]``: two perceptual hashes of 64 bits, ``imagehash.phash`` and ``dhash``.
        thumbnails: uint8 ``[n, SIDE, SIDE, 3]``.
        views: uint8 ``[n, VIEW_SIDE, VIEW_SIDE]``, grey: they show the grain that thumbnails average away.
        sizes: int64 ``[n, 2]``, the smaller and the larger side in pixels, as stored.
        readable: bool ``[n]``.
        taken, cameras: text ``[n]``: when and with what a picture was taken, as EXIF says; else empty.
    """

    digests: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    views: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    readable: NDArray[np.bool_]
    taken: list[str]
    cameras: list[str]

    def __len__(self) -> int:
        return len(self.readable)

    def followed_by(self, others: "Fingerprints") -> "Fingerprints":
        """Return these and then the others."""
        return Fingerprints(
            digests=np.concatenate([self.digests, others.digests]),
            hashes=np.concatenate([self.hashes, others.hashes], axis=1),
            thumbnails=np.concatenate([self.thumbnails, others.thumbnails]),
            views=np.concatenate([self.views, others.views]),
            sizes=np.concatenate([self.sizes, others.sizes]),
            readable=np.concatenate([self.readable, others.readable]),
            taken=self.taken + others.taken,
            cameras=self.cameras + others.cameras,
        )


def fingerprints(images: LabelledImages, description: str) -> Fingerprints:
    """Look at every image once; one that cannot be read is like no other (whoever decodes it next tells).

    Args:
        images: to look at.
        description: text of the progress bar.

    Raises:
        MissingDependencyError: the extra ``export`` is not installed.
    """
    hashing: Any = import_extra("imagehash", extra="export", purpose="looking for copies among the images")
    pillow: Any = import_extra("PIL.Image", extra="export", purpose="looking for copies among the images")
    count = len(images)
    found = Fingerprints(
        # Hexadecimal digits: zero bytes at the end would be lost in NumPy.
        digests=np.array([_hexadecimal(f"unread {images.name_of(i)}".encode()) for i in range(count)], "S32"),
        hashes=np.zeros((2, count), np.uint64),
        thumbnails=np.zeros((count, SIDE, SIDE, 3), np.uint8),
        views=np.zeros((count, VIEW_SIDE, VIEW_SIDE), np.uint8),
        sizes=np.zeros((count, 2), np.int64),
        readable=np.zeros(count, np.bool_),
        taken=[""] * count,
        cameras=[""] * count,
    )

    def look(index: int) -> None:
        try:
            seen = _look(images, index)
        except DataError:
            return
        found.digests[index] = _digest(seen)
        picture = pillow.fromarray(seen.pixels)
        for row, hashed in enumerate((hashing.phash, hashing.dhash)):
            found.hashes[row, index] = int(str(hashed(picture)), 16)
        found.thumbnails[index] = np.asarray(picture.resize((SIDE, SIDE), pillow.Resampling.BOX))
        view = picture.convert("L").resize((VIEW_SIDE, VIEW_SIDE), pillow.Resampling.BOX)
        found.views[index], found.sizes[index] = np.asarray(view), sorted(seen.size)
        found.taken[index], found.cameras[index] = seen.taken, seen.camera
        found.readable[index] = True

    def look_at_chunk(start: int) -> int:
        stop = min(start + _CHUNK, count)
        for index in range(start, stop):
            look(index)
        return stop - start

    workers = ThreadPoolExecutor(max_workers=min(8, usable_processors()))
    try:
        with progress(description, count) as advance, quiet_pillow:
            chunks = [workers.submit(look_at_chunk, start) for start in range(0, count, _CHUNK)]
            for chunk in as_completed(chunks):
                advance(chunk.result())
    finally:
        workers.shutdown(wait=True, cancel_futures=True)
    return found


def _look(images: LabelledImages, index: int) -> Look:
    if images.encoded is None:
        pixels = images.read(index)
        return Look(pixels, (pixels.shape[1], pixels.shape[0]), "", "")
    encoded = images.encoded(index)
    return look_at(encoded, images.name_of(index), most_pixels=MOST_PIXELS, side=DRAFT_SIDE)


def _digest(seen: Look) -> bytes:
    """Return what equal pixels share, whatever file they come from."""
    # A picture that was looked at smaller is like one of the very same size alone.
    size = str((seen.pixels.shape, sorted(seen.size))).encode()
    return _hexadecimal(np.ascontiguousarray(seen.pixels).data, size)


def _hexadecimal(*pieces: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest().encode("ascii")
