r"""Groups that the user names: ``--groups FILE`` or ``--groups PATTERN``.

    FILE      a text file, one image a line: ``NAME,GROUP`` (or a semicolon or a tab between them). NAME is
              the file's place in the data folder, ``cat/1.jpg``, or its bare name where that is the only
              one. A first line ``name,group`` is a heading.
    PATTERN   with one group in brackets, whose text is the group of an image: a regular expression,
              ``(clip\d+)_``, or with the wildcards of a shell, ``*/(*)_*.jpg``. It is looked for in the
              file's place in the data folder.
    none      every image is a group of its own. A file of that name is ./none.

What names no group of an image leaves it in a group of its own.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, UsageError
from edgeosr.files import HOW_TO_READ, require_readable
from edgeosr.printed import brief, shortened
from edgeosr.user_path import path_from_user

Groups = NDArray[np.int64]
NONE = "none"
_SHOWN = 3
_LARGEST_FILE = 256 * 2**20  # bytes
_SUFFIXES = (".csv", ".tsv", ".txt")


class GivenGroups:
    """What ``--groups`` says, read and checked."""

    def __init__(self, asked: str) -> None:
        """Read it.

        Raises:
            UsageError: it is neither a file nor a pattern with one group.
            DataError: the file is no list of names and groups.
        """
        self.asked = asked
        self._pattern: re.Pattern[str] | None = None
        self._by_name: dict[str, str] = {}
        path = path_from_user(asked)
        if _is_file(path):
            self._by_name = _read(path)
        elif path.suffix.casefold() in _SUFFIXES and "(" not in asked:
            raise UsageError(
                f"--groups: there is no file {asked!r}; expected a text file with lines NAME,GROUP, or a "
                r"pattern with one group in brackets, such as '(clip\d+)_'"
            )
        else:
            self._pattern = _compiled(asked)

    @property
    def is_pattern(self) -> bool:
        """It is a pattern, which may say something of any set; else a file, of one set."""
        return self._pattern is not None

    def of(self, names: Sequence[str]) -> list[str | None]:
        """Return the group of every image by its name within the set; None where nothing is said.

        Raises:
            DataError: the file names an image that is not there, or one twice with two groups, or nothing
                names any.
        """
        found = self._listed(names) if self._pattern is None else self._matched(names)
        if names and all(group is None for group in found):
            raise DataError(
                f"--groups {self.asked} says nothing of any image; images are called as {names[0]!r} is; "
                "write the pattern, or the names in the file, for such names"
            )
        return found

    def _matched(self, names: Sequence[str]) -> list[str | None]:
        assert self._pattern is not None
        matches = (self._pattern.search(name) for name in names)
        return [None if match is None else match[1] or None for match in matches]

    def _listed(self, names: Sequence[str]) -> list[str | None]:
        bare = Counter(name.rpartition("/")[2] for name in names)
        known = {name: name for name in names}
        for name in names:
            short = name.rpartition("/")[2]
            if bare[short] == 1:
                known.setdefault(short, name)
        strange = [name for name in self._by_name if name not in known]
        if strange:
            twice = next((name for name in strange if bare[name] > 1), None)
            like = next((name for name in names if twice and name.endswith(f"/{twice}")), names[0])
            raise DataError(
                f"--groups {self.asked} names {len(strange)} image(s) that are not there, or not only once: "
                f"{', '.join(map(shortened, strange[:_SHOWN]))}{', ...' if len(strange) > _SHOWN else ''}; "
                f"images are called as {like!r} is; correct the names, or take these lines out"
            )
        by_image: dict[str, str] = {}
        for name, group in self._by_name.items():
            if by_image.setdefault(known[name], group) != group:
                raise DataError(
                    f"--groups: {self.asked} puts {known[name]} into two groups, once by its bare name; "
                    "expected one; remove a line"
                )
        return [by_image.get(name) for name in names]


def group_numbers(groups: Sequence[str | None]) -> Groups:
    """Return the groups as numbers, int64 ``[n]``: the index of the group's first image."""
    first: dict[str, int] = {}
    return np.array(
        [i if group is None else first.setdefault(group, i) for i, group in enumerate(groups)], np.int64
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # a long pattern is no name of a file


def _compiled(asked: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(_from_wildcards(asked) if "(*)" in asked else asked)
    except re.error as error:
        raise UsageError(
            f"--groups {asked!r} is no file and no regular expression ({error}); expected a pattern with one "
            r"group in brackets, such as '(clip\d+)_' or '*/(*)_*.jpg'"
        ) from error
    if pattern.groups != 1:
        raise UsageError(
            f"--groups {asked!r} is no file, and as a pattern it has {pattern.groups} groups in brackets; "
            r"expected one, such as '(clip\d+)_' or '*/(*)_*.jpg'; (?:...) are brackets that make none"
        )
    return pattern


def _from_wildcards(text: str) -> str:
    """Return the regular expression of a pattern with ``*``, ``**`` and ``?``; ``(*)`` is the group."""
    meaning = {"(*)": "([^/]*)", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\(\*\)|\*\*|\*|\?)", text)
    # Anchored at the end alone: "(*)_*.jpg" is for files in any folder.
    return "(?:^|/)" + "".join(meaning.get(piece) or re.escape(piece) for piece in pieces) + "$"


def _read(path: Path) -> dict[str, str]:
    try:
        require_readable(path)
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"--groups: {path} is larger than {_LARGEST_FILE >> 20} MiB: no list of images")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"--groups: cannot read {path}: {error.strerror or error}; {HOW_TO_READ}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"--groups: {path} is not UTF-8 text; expected lines NAME,GROUP; save it as UTF-8"
        ) from error
    lines = [line for line in text.splitlines() if line.strip()]
    mark = next((mark for mark in ("\t", ";", ",") if lines and mark in lines[0]), ",")
    found: dict[str, str] = {}
    try:
        rows = list(csv.reader(lines, delimiter=mark, strict=True))
    except csv.Error as error:
        raise DataError(
            f"--groups: {path} is no list of images ({error}); expected lines NAME,GROUP"
        ) from error
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if number == 1 and [cell.casefold() for cell in cells[1:]] == ["group"]:
            continue
        if len(cells) != 2 or not all(cells):
            raise DataError(
                f"--groups: line {number} of {path} is {brief(lines[number - 1])}; expected NAME,GROUP, "
                "the same mark between them on every line"
            )
        name = cells[0].replace("\\", "/").removeprefix("./")
        if found.setdefault(name, cells[1]) != cells[1]:
            raise DataError(
                f"--groups: {path} puts {shortened(name)} into two groups; expected one; remove a line"
            )
    if not found:
        raise DataError(f"--groups: {path} is empty; expected lines NAME,GROUP")
    return found
