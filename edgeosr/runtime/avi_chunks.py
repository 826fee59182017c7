"""An AVI's pictures: how many its header counts, and how many of these are there only in name.

An AVI has no time stamps. Where a camera dropped a frame, or the time base is finer than the frame rate, its
writer puts an empty chunk, which a player shows as the picture before; the header counts it.
"""

from collections.abc import Iterator
from typing import BinaryIO

_HEAD = 1 << 16  # of the headers
_PICTURES = (b"dc", b"db")
_LISTS = (b"movi", b"rec ")
_MOST_CHUNKS = 2_000_000


def header_frames(head: bytes) -> int | None:
    """Return the frames that the header counts; None if its writer never came to fill that in."""
    at = head[:_HEAD].find(b"strh")
    while at >= 0 and head[at + 8 : at + 12] != b"vids":
        at = head.find(b"strh", at + 4)
    frames = int.from_bytes(head[at + 40 : at + 44], "little") if at >= 0 else 0
    return frames or None


def empty_chunks(file: BinaryIO, size: int) -> int:
    """Return how many chunks of pictures are empty, as far as the file goes on."""
    return sum(
        length == 0 and kind[2:] in _PICTURES for kind, length in _chunks(file, 0, size, [_MOST_CHUNKS])
    )


def _chunks(file: BinaryIO, start: int, end: int, left: list[int]) -> Iterator[tuple[bytes, int]]:
    """Yield (kind, length) of the chunks, those in lists of pictures too; at most ``left`` of them."""
    while start + 8 <= end and left[0] > 0:
        left[0] -= 1
        file.seek(start)
        head = file.read(12)
        kind, length = head[:4], int.from_bytes(head[4:8], "little")
        if kind == b"RIFF" or (kind == b"LIST" and head[8:12] in _LISTS):
            yield from _chunks(file, start + 12, min(start + 8 + length, end), left)
        else:
            yield kind, length
        start += 8 + length + length % 2
