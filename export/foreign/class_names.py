"""Names of a foreign classifier's classes: from a file of names, or from notes in the model itself."""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeosr.data.spelling import as_spelled
from edgeosr.errors import UsageError
from edgeosr.export.graph.checks import parse_onnx
from edgeosr.export.settings import ExportSettings
from edgeosr.files import storage_errors

# Where exporters leave them: Ultralytics, PaddleX, MMClassification, Hugging Face, ours.
NOTES = ("names", "class_names", "classes", "labels", "id2label", "label_names", "label2id")
# Of one note, or of a file of names; 4096 classes of 200 letters are less.
LARGEST = 2_000_000


def known_classes(
    path: Path, settings: ExportSettings, folders: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Name the classes by the outputs of a classifier.

    The option ``--known`` or ``--known-file`` decides; else the names in the model's notes, if each of them
    is a folder (others are then unknown classes) or ``--unknown-outputs`` is given; else the folders, as they
    are sorted.

    Args:
        path: the ONNX file.
        settings: ``known`` or ``known_file``, or neither.
        folders: the names of the image set's classes, in its order.

    Returns:
        The names, and what is worth telling, a sentence each.

    Raises:
        UsageError: the file of names has none, or one twice.
        StorageError: a file cannot be read.
        ExportError: the ONNX file is none.
    """
    given = settings.known
    if settings.known_file is not None:
        given = names_in(settings.known_file)
    if given is not None:
        given = tuple(as_spelled(name, folders) for name in given)
    noted = {key: tuple(as_spelled(name, folders) for name in names) for key, names in _noted(path).items()}
    if given is None:
        for key, names in noted.items():
            if set(names) <= set(folders) or settings.unknown_outputs:
                return names, [f"class names and their order: the model's own note {key!r}"]
        return tuple(folders), []
    option = "--known" if settings.known_file is None else "--known-file"
    return given, [
        f"{option} gives the classes in another order than the model's own note {key!r}: "
        f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}; if that one is right, leave {option} out"
        for key, names in noted.items()
        if names != given and set(names) == set(given)
    ][:1]


def whence(path: Path, settings: ExportSettings, names: tuple[str, ...]) -> str:
    """Say where ``known_classes`` took names and their order from, for a user who may have typed none."""
    if settings.known_file is not None or settings.known is not None:
        return "as --known gives them" if settings.known_file is None else "as --known-file gives them"
    for key, noted in _noted(path).items():
        if noted == names:
            return f"as the model's own note {key!r} gives them"
    return "the folder names as they are sorted"


def names_in(path: Path) -> tuple[str, ...]:
    """Read class names, one a line, UTF-8; empty lines do not count.

    Raises:
        UsageError: it is no such file, has fewer than 2 names, or one twice.
        StorageError: it cannot be read.
    """
    with storage_errors("read", path):
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST else b""
    if size > LARGEST:
        raise UsageError(f"--known-file must be a list of class names, one a line; {path} has {size} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--known-file must be UTF-8 text, one class name a line; {path} is not: {error}; "
            "save it as UTF-8"
        ) from error
    # Not splitlines(), which also cuts at letters that a name may hold.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    names = tuple(name for line in lines if (name := line.strip()))
    if len(names) < 2 or "\0" in text:
        raise UsageError(
            f"--known-file must have at least 2 class names, one a line; {path} has {len(names)}; write each "
            "name on a line of its own, in the order of the model's outputs"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{', '.join(map(repr, twice[:8]))} is named twice in {path}; name every class once")
    return names


def _noted(path: Path) -> dict[str, tuple[str, ...]]:
    """Return what the model's notes say, by note; nothing of notes that hold something else."""
    notes = {entry.key: entry.value for entry in parse_onnx(path).metadata_props}
    found = {}
    for key in sorted(notes, key=lambda key: NOTES.index(key) if key in NOTES else len(NOTES)):
        if key.lower() in NOTES and (names := _names_from(notes[key])) is not None:
            found[key] = names
    return found


def _names_from(note: str) -> tuple[str, ...] | None:
    """Return the names of a JSON list or object, of a Python one, of lines, or of a list with commas."""
    if len(note) > LARGEST:
        return None
    value: Any
    try:
        value = json.loads(note)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(note)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            value = [name.strip() for name in note.strip().split("\n" if "\n" in note.strip() else ",")]
    return _as_names(value)


def _as_names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, Mapping):
        if all(_is_number(key) for key in value):  # {0: "cat", 1: "dog"}, as id2label
            ordered = {int(key): name for key, name in value.items()}
        elif all(_is_number(number) for number in value.values()):  # {"cat": 0, "dog": 1}, as label2id
            ordered = {int(number): name for name, number in value.items()}
        else:
            return None
        if sorted(ordered) != list(range(len(value))):
            return None
        value = [ordered[index] for index in range(len(ordered))]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return None
    names = tuple(name.strip() for name in value)
    return names if len(names) > 1 and all(names) and len(set(names)) == len(names) else None


def _is_number(value: Any) -> bool:
    return (type(value) is int and value >= 0) or (
        isinstance(value, str) and value.isascii() and value.isdecimal()
    )
