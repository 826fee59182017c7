"""Small videos for the tests, written by OpenCV itself, and changes to the boxes of an MP4."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (120, 120, 120))  # RGB
_CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "MJPG", ".ts": "mp4v", ".webm": "VP80", ".flv": "FLV1"}
_HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")


def write_video(path: Path, frames: int, *, rate: float = 25, height: int = 240, width: int = 320) -> Path:
    """Frames of one colour each and some noise, in the codec that the suffix usually has."""
    noise = np.random.default_rng(0).integers(0, 12, (height, width, 3), np.uint8)
    fourcc = cv2.VideoWriter.fourcc(*_CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), fourcc, rate, (width, height))
    assert writer.isOpened(), f"OpenCV cannot write {path}"
    for i in range(frames):
        image: NDArray[np.uint8] = noise + np.array(COLOURS[i % 4][::-1], np.uint8)
        writer.write(np.roll(image, 7 * i, axis=1))
    writer.release()
    return path


def cut(path: Path, share: float) -> Path:
    """The beginning of a file, as where a copy broke off."""
    data = path.read_bytes()
    target = path.with_name(f"cut{path.suffix}")
    target.write_bytes(data[: int(len(data) * share)])
    return target


def with_hole(path: Path, begin: float, end: float) -> Path:
    """A file with zeros in the place of a part, as of bad sectors."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = bytes(last - first)
    target = path.with_name(f"hole{path.suffix}")
    target.write_bytes(data)
    return target


def with_dropped_frames(path: Path, every: int) -> Path:
    """An AVI in which every so many pictures are empty, as where a camera dropped them."""
    data = path.read_bytes()
    at = data.index(b"movi") + 4
    end = data.index(b"LIST", at - 12) + 8 + int.from_bytes(data[at - 8 : at - 4], "little")
    kept, count = bytearray(), 0
    while at + 8 <= end:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        count += kind[2:] in (b"dc", b"db")
        dropped = kind[2:] in (b"dc", b"db") and count % every == 0
        kept += kind + bytes(4) if dropped else data[at : at + 8 + length + length % 2]
        at += 8 + length + length % 2
    begin = data.index(b"movi") - 8
    whole = data[:begin] + b"LIST" + (len(kept) + 4).to_bytes(4, "little") + b"movi" + bytes(kept)
    target = path.with_name(f"dropped{path.suffix}")
    target.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])
    return target


def with_steps(path: Path, steps: Sequence[int]) -> Path:
    """An MP4 whose frames last so many ticks each."""
    content = bytes(4) + len(steps).to_bytes(4, "big")
    content += b"".join((1).to_bytes(4, "big") + step.to_bytes(4, "big") for step in steps)
    whole = with_edit(path, 1 << 20, 0)  # the list of edits would end it where it ended
    return _changed(whole, "steps", b"stts", lambda _: content)


def with_edit(path: Path, duration: int, media_time: int) -> Path:
    """An MP4 that shows a part of itself, as phones cut videos: movie ticks long, from a media tick on."""
    entry = duration.to_bytes(4, "big") + media_time.to_bytes(4, "big", signed=True) + bytes([0, 1, 0, 0])
    return _changed(path, "edit", b"elst", lambda _: bytes(4) + (1).to_bytes(4, "big") + entry)


def ticks_of(path: Path) -> tuple[int, int]:
    """Ticks a second of an MP4's movie and of its first track."""
    found: dict[bytes, int] = {}

    def note(kind: bytes) -> Callable[[bytes], bytes]:
        def noted(content: bytes) -> bytes:
            found[kind] = int.from_bytes(content[12:16], "big")
            return content

        return noted

    for kind in (b"mvhd", b"mdhd"):
        _rebuilt(path.read_bytes(), kind, note(kind))
    return found[b"mvhd"], found[b"mdhd"]


def index_first(path: Path) -> Path:
    """The same MP4 with its index before the pictures, as for the web: a cut one can still be opened."""
    data = path.read_bytes()
    boxes = dict(_boxes(data))
    shift = len(boxes[b"moov"]) + 8

    def moved(content: bytes) -> bytes:
        offsets = [int.from_bytes(content[at : at + 4], "big") for at in range(8, len(content), 4)]
        return content[:8] + b"".join((offset + shift).to_bytes(4, "big") for offset in offsets)

    moov = _rebuilt(_box(b"moov", boxes[b"moov"]), b"stco", moved)
    first = next(iter(boxes))
    rest = b"".join(_box(kind, content) for kind, content in _boxes(data) if kind not in (first, b"moov"))
    target = path.with_name("first.mp4")
    target.write_bytes(_box(first, boxes[first]) + moov + rest)
    return target


def _changed(path: Path, name: str, kind: bytes, change: Callable[[bytes], bytes]) -> Path:
    target = path.with_name(f"{name}{path.suffix}")
    target.write_bytes(_rebuilt(path.read_bytes(), kind, change))
    return target


def _rebuilt(data: bytes, kind: bytes, change: Callable[[bytes], bytes]) -> bytes:
    parts = []
    for each, content in _boxes(data):
        if each == kind:
            content = change(content)
        elif each in _HOLDERS:
            content = _rebuilt(content, kind, change)
        parts.append(_box(each, content))
    return b"".join(parts)


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        assert length >= 8, "OpenCV writes plain boxes"
        found.append((data[at + 4 : at + 8], data[at + 8 : at + length]))
        at += length
    return found


def _box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content
