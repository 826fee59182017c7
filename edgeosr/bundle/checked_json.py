"""Strict JSON, and typed access to it. Errors name the field, what was expected, what came, what to do next.

Stricter than the standard library: a key twice in one object, NaN, Infinity, a number beyond float64 and
text that is not Unicode are refused. No schema library: this also runs on the device.
"""

import json
import math
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, NoReturn

from edgeosr.errors import EdgeosrError, suggestion
from edgeosr.verdict import UNKNOWN, reads_as_unknown

LONGEST_TEXT = 4096
MOST_ITEMS = 65_536  # of a list or an object, where no smaller limit is stated
# They let a text look like another one: marks that turn the direction of writing, and two line ends.
_HIDDEN = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
LARGEST_FLOAT32 = 3.4028234663852886e38
LARGEST = 2**53  # whole numbers up to here are exact in every JSON reader


def parse_json(data: bytes, document: str, error: type[EdgeosrError], *, then: str) -> "JsonNode":
    """Parse UTF-8 JSON strictly.

    Args:
        data: the document's bytes.
        document: what to call it in messages, for example a path.
        error: class of every error raised here and by the node's methods.
        then: what to do where it is damaged, the end of every message; "" where the caller adds it.

    Raises:
        error: the document is not strict JSON; the message says where.
    """

    def object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key {key!r} appears twice in one object")
            found[key] = value
        return found

    def refuse_constant(text: str) -> NoReturn:
        raise ValueError(f"{text} is not a JSON number")

    def finite(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"the number {text[:40]} is too large")
        return value

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=object_without_duplicates,
            parse_constant=refuse_constant,
            parse_float=finite,
        )
    except RecursionError as problem:
        raise error(f"{document} is not valid JSON: it is nested too deeply{_end(then)}") from problem
    except ValueError as problem:
        raise error(f"{document} is not valid JSON: {problem}{_end(then)}") from problem
    return JsonNode(value, "", document, error, then)


def _end(then: str) -> str:
    return f"; {then}" if then else ""


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 time (UTC if it names no zone); ValueError if it is none."""
    # Python 3.10 does not read the Z.
    time = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _shown(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true/false", type(None): "null"}
    text = json.dumps(value) if not isinstance(value, dict | list) else f"{len(value)} entries"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({kinds.get(type(value), 'a number')})"


class JsonNode:
    """One value of a JSON document, its path in it, and checks that raise the document's error class."""

    def __init__(self, value: Any, path: str, document: str, error: type[EdgeosrError], then: str) -> None:
        self.value = value
        self.path = path
        self._document = document
        self._error = error
        self._then = then

    def fail(self, expected: str) -> NoReturn:
        """Raise the document's error: this value is not what was ``expected``."""
        self._raise(f"{self.path or 'the top level'}: expected {expected}; got {_shown(self.value)}")

    def _raise(self, text: str) -> NoReturn:
        raise self._error(f"{self._document}: {text}{_end(self._then)}")

    def _child(self, key: str | int, value: Any) -> "JsonNode":
        path = f"{self.path}[{key}]" if isinstance(key, int) else f"{self.path}.{key}".lstrip(".")
        return JsonNode(value, path, self._document, self._error, self._then)

    @property
    def is_null(self) -> bool:
        """True for a JSON null."""
        return self.value is None

    def field(self, name: str) -> "JsonNode":
        """Return the field ``name`` of an object that may have others too."""
        entries = self.entries()
        if name not in entries:
            self._raise(f"{self._child(name, None).path} is missing")
        return entries[name]

    def fields(self, names: Iterable[str]) -> dict[str, "JsonNode"]:
        """Return the fields of an object that must have exactly these ``names``."""
        entries, wanted = self.entries(), tuple(names)
        for name in wanted:
            if name not in entries:
                self._raise(f"{self._child(name, None).path} is missing")
        for name in entries:
            if name not in wanted:
                self._raise(f"{entries[name].path} is not a known field{suggestion(name, wanted)}")
        return entries

    def entries(self) -> dict[str, "JsonNode"]:
        """Return all fields of an object, by name."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        if len(self.value) > MOST_ITEMS:
            self.fail(f"an object of at most {MOST_ITEMS} fields")
        return {name: self._child(name, value) for name, value in self.value.items()}

    def items(self, low: int = 0, high: int = MOST_ITEMS) -> list["JsonNode"]:
        """Return the items of a list of ``low`` to ``high`` items."""
        size = f"{low}" if low == high else f"{low} to {high}"
        if not isinstance(self.value, list) or not low <= len(self.value) <= high:
            self.fail(f"a list of {size} items")
        return [self._child(i, value) for i, value in enumerate(self.value)]

    def text(self, *, empty: bool = False) -> str:
        """Return printable text of at most ``LONGEST_TEXT`` characters; empty only if ``empty``."""
        if not isinstance(self.value, str) or not (self.value or empty):
            self.fail("text")
        if len(self.value) > LONGEST_TEXT:
            self.fail(f"text of at most {LONGEST_TEXT} characters")
        # Names are printed on terminals and drawn on frames: no control characters, no lone surrogates.
        if any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in self.value) or any(
            0xD800 <= ord(letter) < 0xE000 for letter in self.value
        ):
            self.fail("text without control characters")
        if not _HIDDEN.isdisjoint(self.value):
            self.fail("text without marks that turn its direction")
        return self.value

    def class_names(self, most: int) -> tuple[str, ...]:
        """Return 1 to ``most`` names of classes, none twice; they become names of folders and verdicts."""
        names = self.texts()
        if not 1 <= len(names) <= most:
            self.fail(f"1 to {most} class names")
        for item in self.items():
            if "/" in item.value or item.value in (".", "..") or reads_as_unknown(item.value):
                item.fail(f"the name of a class, without a slash and not {UNKNOWN!r}")
        return names

    def matching(self, pattern: str, expected: str) -> str:
        """Return text of which all matches ``pattern``; ``expected`` words it for the error."""
        text = self.text()
        if not re.fullmatch(pattern, text):
            self.fail(expected)
        return text

    def sha256(self) -> str:
        """Return 64 lower-case hexadecimal digits."""
        return self.matching("[0-9a-f]{64}", "a SHA-256 of 64 lower-case hexadecimal digits")

    def time(self) -> str:
        """Return an ISO 8601 time, as text."""
        text = self.text()
        try:
            parse_time(text)
        except ValueError:
            self.fail("a time such as 2026-01-31T12:00:00Z")
        return text

    def choice(self, choices: Iterable[str]) -> str:
        """Return text that is one of ``choices``."""
        allowed = tuple(choices)
        if not isinstance(self.value, str) or self.value not in allowed:
            self.fail("one of " + ", ".join(allowed))
        return self.value

    def truth(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            self.fail(f"a whole number from {low} to {high}")
        return self.value

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number from ``low`` to ``high`` as a float."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail("a number")
        try:
            value = float(self.value)
        except OverflowError:
            self.fail("a finite number that float32 holds")
        if not abs(value) <= LARGEST_FLOAT32:
            self.fail("a finite number that float32 holds")
        if not low <= value <= high:
            self.fail(f"a number from {low:g} to {high:g}")
        return value

    def above_zero(self) -> float:
        """Return a finite number above 0."""
        value = self.number()
        if value <= 0:
            self.fail("a number above 0")
        return value

    def numbers(self, count: int) -> tuple[float, ...]:
        """Return a list of exactly ``count`` finite numbers."""
        return tuple(item.number() for item in self.items(count, count))

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts, none empty, none twice."""
        found = tuple(item.text() for item in self.items())
        seen = set[str]()  # the list may be long, and not ours
        for i, name in enumerate(found):
            if name in seen:
                self._raise(f"{self.path}[{i}]: {name!r} is in the list twice")
            seen.add(name)
        return found
