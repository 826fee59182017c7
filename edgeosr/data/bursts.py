"""Groups of pictures taken in one go: bursts by their time stamps, clips by their numbered names.

Told from the class folder, the EXIF block and the file name alone, never across classes:

    time stamps   pictures of one folder and one camera, each at most 3 seconds after the one before. The time
                  is EXIF's DateTimeOriginal, or in the name: ``IMG_20240101_120000.jpg``,
                  ``2024-01-01-12-00-00.png``, ``WhatsApp Image 2024-01-01 at 12.00.00.jpeg``
    numbers       ``clip1_0001.jpg``, ``video3-frame_00012.png``: all of one prefix, where a class has at
                  least three. ``0001.png`` has no prefix, ``crazing_1.jpg`` is the only one of its class, and
                  a camera's own ``IMG_0001`` or ``DSC0001`` says nothing, nor does a part or a year alone:
                  ``train_001``, ``val2017_001``, ``2008_000123``
    augmentation  ``NAME_jpg.rf.HASH.jpg``, as Roboflow calls the copies that it makes of NAME.jpg

A name with a time stamp is not read as a prefix with a number.
"""

import itertools
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.int64]
LARGEST_GAP_S = 3.0
FEWEST_PREFIXES = 3
_STAMP = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.:]?)(\d\d)\2(\d\d)"  # the same mark twice: 20240101, 2024-01-01
    r"(?:[-_. T]| at )?"
    r"(\d\d)([-_.:h]?)(\d\d)[-_.:m]?(\d\d)(?:\d{3})?(?!\d)"
)
_NUMBERED = re.compile(r"(.*?)[-_. ]*(?:(?:frame|frm)[-_. ]*)?(\d+)", re.IGNORECASE)
_AUGMENTED = re.compile(r"(.+)_(?:jpe?g|png|bmp|webp)\.rf\.[0-9a-f]{16,}", re.IGNORECASE)
# What cameras, phones and programs put before every picture they save, whatever it shows.
_ANY_PICTURE = frozenset(
    (
        "img", "image", "images", "photo", "photos", "picture", "pic", "p", "pxl", "dsc", "dscn", "dscf",
        "mvi", "mov", "vid", "gopr", "scan", "screenshot", "frame", "file", "download", "unnamed", "untitled",
        "snapshot", "capture",
        # Of a set that was cut before: train_001, val_001, test_001.
        "train", "training", "val", "valid", "validation", "eval", "test", "testing",
    )
)  # fmt: skip
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d$")


def burst_groups(
    names: Sequence[str], labels: NDArray[np.int64], taken: Sequence[str], cameras: Sequence[str]
) -> Groups:
    """Return the group of every image, int64 ``[n]``: the index of one of the group.

    Args:
        names: of the images, within the set: ``"cat/clip1_0001.jpg"``.
        labels: their classes.
        taken: when each was taken, as EXIF says; empty where it does not.
        cameras: likewise with what.
    """
    group = np.arange(len(names), dtype=np.int64)
    shots: dict[tuple[int, str, str], list[tuple[float, int]]] = {}
    clips: dict[int, dict[tuple[str, str], list[int]]] = {}
    sources: dict[tuple[int, str, str], int] = {}
    for i, name in enumerate(names):
        path, label = PurePosixPath(name), int(labels[i])
        shot = _shot(taken[i], f"EXIF {cameras[i]}") or _shot(path.stem)
        source = _AUGMENTED.fullmatch(path.stem)
        if source is not None:
            first = sources.setdefault((label, str(path.parent), source[1]), i)
            group[i] = first
        elif shot is not None:
            shots.setdefault((label, str(path.parent), shot[1]), []).append((shot[0], i))
        elif prefix := numbered_prefix(path.stem):
            clips.setdefault(label, {}).setdefault((str(path.parent), prefix), []).append(i)
    for found in shots.values():
        found.sort()
        for (before, earlier), (after, later) in itertools.pairwise(found):
            if after - before <= LARGEST_GAP_S:
                group[later] = group[earlier]
    for by_prefix in clips.values():
        if len(by_prefix) >= FEWEST_PREFIXES:
            for members in by_prefix.values():
                group[members] = members[0]
    return group


def numbered_prefix(stem: str) -> str:
    """Return what stands before the number of a file's name; empty if it tells nothing or there is none."""
    match = _NUMBERED.fullmatch(stem)
    prefix = "" if match is None else match[1]
    words = (_YEAR.sub("", word) for word in re.split("[-_. ]+", prefix.casefold()))
    return "" if all(word in _ANY_PICTURE for word in words if word) else prefix


def _shot(text: str, camera: str | None = None) -> tuple[float, str] | None:
    """Return the seconds of the time stamp in a text, and the camera: by default what stands before it."""
    for match in _STAMP.finditer(text):
        year, _, month, day, hour, _, minute, second = match.groups()
        try:
            moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
        except ValueError:
            continue  # digits, but no time
        return (moment - datetime(1900, 1, 1)).total_seconds(), text[
            : match.start()
        ] if camera is None else camera
    return None
