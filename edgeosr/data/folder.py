"""Folders of images: ``root/class/*`` or ``root/{train,test}/class/*``."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeosr.data.image_file import SUFFIXES, file_bytes, read_image_file, tell_passed_over
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError

# Folders whose names say "a part", not "a class".
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing")
VALIDATION_NAMES = ("val", "valid", "validation")
_KINDS = "png, jpg, jpeg, webp or bmp"


def read_folder(root: Path) -> tuple[LabelledImages, LabelledImages | None]:
    """Open a folder of images; nothing is decoded yet.

    A class is a folder; its images may lie in folders inside it. Hidden files and folders are ignored,
    suffixes may be of any case. A folder with images only, no folders, is one class of the folder's name.
    Class names and images are sorted, so the result does not depend on the file system.

    ``root/{train,test}/class`` is recognised by those names. ``val`` stands in for a missing ``test``; where
    both are there it joins ``train``, because edgeosr cuts its own parts.

    Returns:
        (train, test or None); both have the class names of both.

    Raises:
        DataError: no images, a class folder without images, other folders beside train and test, or the
            root cannot be read.
    """
    folders = _visible_folders(root)
    parts = {folder.name.casefold(): folder for folder in folders}
    train = [parts.pop(name) for name in TRAIN_NAMES if name in parts]
    test = [parts.pop(name) for name in TEST_NAMES if name in parts]
    validation = [parts.pop(name) for name in VALIDATION_NAMES if name in parts]
    if train and (test or validation) and parts:
        raise DataError(
            f"{root} holds {train[0].name}/ and {(test + validation)[0].name}/, but also "
            f"{next(iter(parts.values())).name}/; move that folder elsewhere"
        )
    if not train or parts:
        by_class = _classes(root, folders)
        return _labelled(root, sorted(by_class), by_class), None
    if not test:
        test, validation = validation, []
    train_files = _merged(train + validation)
    test_files = _merged(test)
    names = sorted(train_files | test_files)
    return _labelled(root, names, train_files), _labelled(root, names, test_files) if test else None


def _merged(parts: Sequence[Path]) -> dict[str, list[Path]]:
    merged: dict[str, list[Path]] = {}
    for part in parts:
        for name, files in _classes(part, _visible_folders(part)).items():
            merged.setdefault(name, []).extend(files)
    return merged


def _visible_folders(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if entry.is_dir() and _visible(entry.name))
    except OSError as error:
        raise DataError(
            f"cannot read the folder {root}: {error.strerror}; check its path and permissions"
        ) from error


def _visible(name: str) -> bool:
    # __MACOSX is what macOS adds to zip files; it holds only hidden files.
    return not name.startswith(".") and name != "__MACOSX"


def _classes(root: Path, folders: Sequence[Path]) -> dict[str, list[Path]]:
    files = {folder.name: _images_below(folder) for folder in folders}
    if not any(files.values()):
        loose = _images_below(root)
        if not loose:
            raise DataError(
                f"no images in {root}; expected one folder a class with {_KINDS} files: "
                f"{root}/CLASS/IMAGE.png"
            )
        return {root.resolve().name: loose}
    empty = [name for name, found in files.items() if not found]
    if empty:
        raise DataError(
            f"the class folder {root / empty[0]} holds no {_KINDS} file; add images or remove the folder"
        )
    return files


def _images_below(folder: Path) -> list[Path]:
    """Return the visible image files in ``folder`` and below it; links are followed, loops are not."""
    found: list[Path] = []
    names_seen: list[str] = []
    seen: set[str] = set()
    for directory, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if _visible(name))
        visible = [name for name in files if _visible(name)]
        names_seen += visible
        found.extend(
            Path(directory, name) for name in visible if os.path.splitext(name)[1].casefold() in SUFFIXES
        )
    tell_passed_over(folder, names_seen)
    return found


def _labelled(root: Path, names: Sequence[str], by_class: dict[str, list[Path]]) -> LabelledImages:
    # Sorted by the name within the root, with "/" on every system: the digests of parts depend on it.
    labelled = sorted(
        (label, path.relative_to(root).as_posix(), path)
        for label, name in enumerate(names)
        for path in by_class.get(name, [])
    )
    return LabelledImages(
        class_names=tuple(names),
        labels=np.array([label for label, _, _ in labelled], np.int64),
        groups=np.arange(len(labelled), dtype=np.int64),
        read=lambda i: read_image_file(labelled[i][2]),
        name_of=lambda i: labelled[i][1],
        encoded=lambda i: file_bytes(labelled[i][2]),
    )
