"""What the file of a video says about itself, beside its pictures: how many, and whether it is all there.

OpenCV gives one number of frames, counted by the container or computed from a duration, and does not say
which. So a few bytes of the file are read here: of MP4 and MOV, AVI, Matroska and WebM, FLV and MPEG-TS.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeosr.runtime.avi_chunks import empty_chunks, header_frames

_HEAD = 1 << 16
_TS_PACKET, _TS_SYNC, _TS_CHUNK = 188, 0x47, 188 * 50_000
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_MOST_ELEMENTS = 2_000_000  # half a day of pictures and sound; what has more is not gone through
_MOV_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


@dataclass(frozen=True)
class Container:
    """What a file says.

    Attributes:
        frames: frames of its video as it counts them, those that an edit list leaves out taken off.
        exact: that is a count; False: computed from how much the edit list leaves.
        whole: the file's structure goes on to its end; None if that is not known.
        empty: of the frames, how many stand for a picture that is shown longer, as far as that was followed.
    """

    frames: int | None = None
    exact: bool = True
    whole: bool | None = None
    empty: int = 0


def read_container(path: str | Path, *, follow: bool = True) -> Container:
    """Look at a video file. What is no such file, or is broken where it counts, says nothing.

    Args:
        path: of the file.
        follow: find out whether it is whole, also where that takes going through all of it.
    """
    with contextlib.suppress(OSError, ValueError, IndexError), open(path, "rb") as file:
        head, size = file.read(_HEAD), os.fstat(file.fileno()).st_size
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            empty = empty_chunks(file, size) if follow else 0
            return Container(header_frames(head), empty=empty)
        if head[4:8] in _MOV_FIRST:
            return _mov(file, size)
        if follow and head[:4] == _EBML.to_bytes(4, "big"):
            return Container(whole=_matroska_is_whole(file, size))
        if follow and head[:4] == b"FLV\x01":
            return Container(whole=_flv_is_whole(file, size))
        if follow and len(head) > _TS_PACKET and head[0] == head[_TS_PACKET] == _TS_SYNC:
            return Container(whole=_transport_stream_is_whole(file, size))
    return Container()


def _mov(file: BinaryIO, size: int) -> Container:
    whole, moov, timescale = True, None, 0
    for kind, start, end in _boxes(file, 0, size):
        whole = end <= size
        if kind == b"moov":
            moov = (start, min(end, size))
    if moov is None:
        return Container(whole=whole)
    for kind, start, end in _boxes(file, *moov):
        if kind == b"mvhd":
            timescale, _ = _timescale_and_duration(file, start)
        if kind == b"trak":
            found = _video_track(file, start, end, timescale)
            if found is not None:
                return Container(*found, whole)
    return Container(whole=whole)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start of the content, end) of the boxes from ``start``; the last may go beyond ``end``."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        length, kind, content = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if length == 1:
            length, content = int.from_bytes(header[8:16], "big"), start + 16
        elif length == 0:
            length = end - start
        if length < content - start:
            yield b"", start, end + 1  # no box: whatever was here is damaged
            return
        yield kind, content, start + length
        start += length


def _video_track(file: BinaryIO, start: int, end: int, timescale: int) -> tuple[int | None, bool] | None:
    """Return (frames, whether they are counted) of a track, or None if it is not one of pictures."""
    kind, frames, media, edits = b"", 0, 0.0, list[tuple[int, int]]()
    waiting = [(start, end)]
    while waiting:
        for box, content, stop in _boxes(file, *waiting.pop()):
            if box in (b"mdia", b"minf", b"stbl", b"edts"):
                waiting.append((content, min(stop, end)))
            elif box == b"hdlr" and not kind:
                kind = _at(file, content + 8, 4)
            elif box in (b"stsz", b"stz2"):
                frames = int.from_bytes(_at(file, content + 8, 4), "big")
            elif box == b"mdhd":
                scale, duration = _timescale_and_duration(file, content)
                media = duration / scale if scale else 0.0
            elif box == b"elst":
                edits = _edits(file, content, stop)
    if kind != b"vide":
        return None
    shown = sum(length for length, media_time in edits if media_time >= 0) / (timescale or 1)
    if not frames or not edits or not shown or not media or not timescale:
        return frames or None, True
    left = round(frames * min(1.0, shown / media))
    # An edit list that shifts by the delay of a decoder, or rounds, leaves all of them.
    return (frames, True) if left >= frames - 2 else (left, False)


def _edits(file: BinaryIO, start: int, end: int) -> list[tuple[int, int]]:
    """Return (duration, media time, -1 for nothing) of each edit."""
    data = _at(file, start, min(end - start, 1 << 16))
    width = 8 if data[0] == 1 else 4
    return [
        (
            int.from_bytes(data[at : at + width], "big"),
            int.from_bytes(data[at + width : at + 2 * width], "big", signed=True),
        )
        for at in range(8, len(data) - 2 * width - 3, 2 * width + 4)
    ]


def _timescale_and_duration(file: BinaryIO, start: int) -> tuple[int, int]:
    data = _at(file, start, 32)
    at, width = (20, 8) if data[0] == 1 else (12, 4)
    return int.from_bytes(data[at : at + 4], "big"), int.from_bytes(data[at + 4 : at + 4 + width], "big")


def _at(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    data = file.read(length)
    if len(data) < min(length, 16):
        raise ValueError("it ends here")
    return data


def _matroska_is_whole(file: BinaryIO, size: int) -> bool | None:
    """Follow the elements; those of segments and clusters one by one, however long these say they are."""
    at = 0
    for _ in range(_MOST_ELEMENTS):
        if at == size:
            return True
        file.seek(at)
        head = file.read(12)
        name = _vint(head)
        length = None if name is None else _vint(head[name:])
        if name is None or length is None or name > 4:
            return False
        kind = int.from_bytes(head[:name], "big")
        content = int.from_bytes(head[name : name + length], "big") & ((1 << 7 * length) - 1)
        unknown = content == (1 << 7 * length) - 1  # of a live recording
        at += name + length
        if kind in (_SEGMENT, _CLUSTER):
            if not unknown and at + content > size:
                return False
        elif unknown or at + content > size:
            return False
        else:
            at += content
    return None


def _vint(data: bytes) -> int | None:
    """Return the length in bytes of EBML's number at the beginning of ``data``; None if it is none."""
    if not data or not data[0]:
        return None
    length = 9 - data[0].bit_length()
    return length if length <= len(data) else None


def _flv_is_whole(file: BinaryIO, size: int) -> bool | None:
    """Follow the tags; each is followed by its own length."""
    file.seek(0)
    at = int.from_bytes(file.read(9)[5:9], "big") + 4
    for _ in range(_MOST_ELEMENTS):
        if at >= size:
            return True
        file.seek(at)
        length = int.from_bytes(file.read(4)[1:4], "big") + 11
        file.seek(at + length)
        if int.from_bytes(file.read(4), "big") != length:
            return False
        at += length + 4
    return None


def _transport_stream_is_whole(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    while chunk := file.read(_TS_CHUNK):
        if chunk[::_TS_PACKET].count(_TS_SYNC) != -(-len(chunk) // _TS_PACKET):
            return False
    return size % _TS_PACKET == 0
