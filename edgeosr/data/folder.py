"""Folders of images: ``root/class/*`` or ``root/{train,test}/class/*``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeosr.data.image_file import read_image_file
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.picture_limits import regular_file_bytes
from edgeosr.data.spelling import as_spelled, one_form
from edgeosr.data.walk import (
    BESIDE,
    WITHOUT_PICTURES,
    PassedOver,
    folders_of,
    pictures_below,
    pictures_in,
)
from edgeosr.errors import DataError
from edgeosr.printed import printable

# Folders whose names say "a part", not "a class".
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing")
VALIDATION_NAMES = ("val", "valid", "validation")
_PARTS = (TRAIN_NAMES, TEST_NAMES, VALIDATION_NAMES)
_KINDS = "png, jpg, jpeg, webp or bmp"


def read_folder(root: Path) -> tuple[LabelledImages, LabelledImages | None]:
    """Open a folder of images; nothing is decoded yet.

    A class is a folder; its images may lie in folders inside it. What is read and what is passed over is
    said in ``walk.py``; suffixes may be of any case. A folder with images only, no folders, is one class of
    the folder's name. Class names and images are sorted, so the result does not depend on the file system.

    A folder without a picture is told, and stays a class: of no images. Whoever needs images of it refuses it
    (``four_parts`` where it is a known class).

    ``root/{train,test}/class`` is recognised by those names. ``val`` stands in for a missing ``test``; where
    both are there it joins ``train``, because edgeosr cuts its own parts.

    Returns:
        (train, test or None); both have the class names of both.

    Raises:
        DataError: no images, two folders for one part or of one name, images straight in a
            part, other folders beside train and test, or the root cannot be read.
    """
    passed_over = PassedOver()
    folders = folders_of(root, passed_over)
    train, test, validation, others = (
        [folder for folder in folders if _part_of(folder) == part] for part in (*_PARTS, None)
    )
    if train and (test or validation) and others:
        raise DataError(
            f"{root} holds {train[0].name}/ and {(test + validation)[0].name}/, but also "
            f"{others[0].name}/; move that folder elsewhere"
        )
    if not train or others:
        by_class = _classes(root, folders, passed_over)
        passed_over.tell(root)
        return _labelled(root, sorted(by_class), by_class), None
    _require_one_of_each(root, folders)
    if not test:
        test, validation = validation, []
    train_files = _merged(train + validation, passed_over)
    test_files = _merged(test, passed_over)
    passed_over.tell(root)
    test_files = {as_spelled(name, train_files): files for name, files in test_files.items()}
    names = sorted(train_files | test_files)
    return _labelled(root, names, train_files), _labelled(root, names, test_files) if test else None


def _part_of(folder: Path) -> tuple[str, ...] | None:
    return next((part for part in _PARTS if folder.name.casefold() in part), None)


def _require_one_of_each(root: Path, folders: Sequence[Path]) -> None:
    """Refuse ``train/`` beside ``Train/``, which one disk holds and another takes for one folder."""
    first: dict[str, Path] = {}
    for folder in folders:
        other = first.setdefault(folder.name.casefold(), folder)
        if other is not folder:
            raise DataError(
                f"{root} holds {other.name}/ and {folder.name}/, which differ in upper and lower case alone; "
                "move the images of one into the other"
            )


def _require_distinct(root: Path, folders: Sequence[Path]) -> None:
    """Refuse two class folders whose names are one name to every reader."""
    seen: dict[str, str] = {}
    for folder in folders:
        other = seen.setdefault(one_form(folder.name), folder.name)
        if other != folder.name:
            raise DataError(
                f"{root} holds two folders that are both called {printable(one_form(other))}: {other!a} "
                f"and {folder.name!a}, the same letters in two Unicode forms; move the images of one "
                "into the other"
            )


def _merged(parts: Sequence[Path], passed_over: PassedOver) -> dict[str, list[Path]]:
    merged: dict[str, list[Path]] = {}
    for part in parts:
        folders = folders_of(part, passed_over)
        if not folders and any(pictures_below(part, PassedOver())):
            raise DataError(
                f"{part} holds pictures, but no class folders; expected one folder a class: "
                f"{part.name}/CLASS/IMAGE.png; if a table names the classes, sort the pictures by it"
            )
        for name, files in _classes(part, folders, passed_over).items():
            merged.setdefault(as_spelled(name, merged), []).extend(files)
    return merged


def _classes(root: Path, folders: Sequence[Path], passed_over: PassedOver) -> dict[str, list[Path]]:
    _require_distinct(root, folders)
    taken = (root, *folders)
    files = {folder.name: list(pictures_below(folder, passed_over, taken)) for folder in folders}
    if not any(files.values()):
        loose = list(pictures_below(root, passed_over))
        if not loose:
            passed_over.tell(root)
            raise DataError(
                f"no images in {root}; expected one folder a class with {_KINDS} files: "
                f"{root}/CLASS/IMAGE.png"
            )
        return {printable(root.resolve().name): loose}
    for name, found in files.items():
        if not found:
            passed_over.add(WITHOUT_PICTURES, name)
    for path in pictures_in(root):
        passed_over.add(BESIDE, path.name)
    return files


def _labelled(root: Path, names: Sequence[str], by_class: dict[str, list[Path]]) -> LabelledImages:
    # Sorted by the name within the root, with "/" on every system: the digests of parts depend on it.
    labelled = sorted(
        (label, printable(path.relative_to(root).as_posix()), path)
        for label, name in enumerate(names)
        for path in by_class.get(name, [])
    )
    return LabelledImages(
        class_names=tuple(names),
        labels=np.array([label for label, _, _ in labelled], np.int64),
        groups=np.arange(len(labelled), dtype=np.int64),
        read=lambda i: read_image_file(labelled[i][2]),
        name_of=lambda i: labelled[i][1],
        encoded=lambda i: regular_file_bytes(labelled[i][2]),
    )
