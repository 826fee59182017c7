"""An AVI's pictures: how many its header counts, and how many of these are there only in name.

An AVI has no time stamps. Where a camera dropped a frame, or the time base is finer than the frame rate, its
writer puts an empty chunk, which a player shows as the picture before; the header counts it.
"""

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
    """Return how many chunks of pictures are empty, as far as the file goes on; lists are gone into."""
    empty, at = 0, 0
    for _ in range(_MOST_CHUNKS):
        if at + 8 > size:
            break
        file.seek(at)
        head = file.read(12)
        kind, length = head[:4], int.from_bytes(head[4:8], "little")
        if kind == b"RIFF" or (kind == b"LIST" and head[8:12] in _LISTS):
            at += 12
            continue
        empty += length == 0 and kind[2:] in _PICTURES
        at += 8 + length + length % 2
    return empty
