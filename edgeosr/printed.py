r"""Text that came from a file, a path or a library, made fit for a terminal, a log, a record and JSON.

A name may hold anything a file system takes: bytes that are no UTF-8 (Python keeps them as lone surrogates),
line ends, the escape sequences of terminals, marks that reverse the direction of writing. What is shown is
one escape of a backslash for each, and all else as it is:

    \xdf           a byte of a path that is no UTF-8
    \n \t \x1b    a control character below U+0080
    \u202e         any other control character, mark of direction or line end
"""

import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST_VALUE = 100
LONGEST_NAME = 200
# Of what a library says, which may repeat a name of the file that it read.
LONGEST_REASON = 1000
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {escape: letter for letter, escape in _SHORT.items()}
# C0, DEL and C1; marks of direction; line and paragraph ends; surrogates, which are never text.
_UNFIT = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_ONE_UNFIT = re.compile(f"[{_UNFIT}]")
_UNFIT_IN_LINES = re.compile(f"(?!\n)[{_UNFIT}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")
# What ``os.fsdecode`` makes of a byte from 0x80.
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF


def printable(text: object) -> str:
    """Return ``text`` (a path, a name, an exception) in one line that is fit to be printed; see the module.

    What is printable already comes back as it is, so doing it twice changes nothing.
    """
    return _ONE_UNFIT.sub(_escaped, str(text))


def printable_lines(text: object) -> str:
    """Return ``text`` like ``printable``, its line ends kept."""
    return _UNFIT_IN_LINES.sub(_escaped, str(text))


def pictured(text: object) -> str:
    """Return ``text`` like ``printable_lines`` for matplotlib, where ``$`` begins mathematics."""
    return printable_lines(text).replace("$", "\\$")


def original(text: str) -> str:
    """Return the text that ``printable`` shows as ``text``, if nothing in it was a backslash of its own."""
    return _ESCAPE.sub(lambda found: _unescaped(found[0]), text)


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 epoch`` or ``1,000 epochs``; ``many`` where an s at the end does not do."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def brief(value: object) -> str:
    """Return how Python writes a value, for a message: at most ``LONGEST_VALUE`` letters."""
    try:
        shown = repr(value)
    except Exception:  # Python writes no whole number of more than 4300 digits; other classes are not ours
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= LONGEST_VALUE else f"{shown[: LONGEST_VALUE - 3]}..."


def shortened(text: object, most: int = LONGEST_NAME) -> str:
    """Return ``text``, a name or words from somebody else's file, like ``printable``, the middle left out.

    Args:
        text: of any length; the beginning and the end of a long one stay.
        most: letters of the result.
    """
    half = (most - 5) // 2
    whole = str(text)
    if len(whole) > most:
        whole = f"{whole[: most - 5 - half]} ... {whole[-half:]}"
    shown = printable(whole)  # an escape is longer than its letter
    return shown if len(shown) <= 2 * most else f"{shown[: 2 * most]}..."


def say(line: object) -> None:
    """Print one line on standard error, fit to be printed; a process without one goes on in silence."""
    if sys.stderr is not None:
        print(printable(line), file=sys.stderr, flush=True)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return ``value`` as strict JSON of ASCII letters alone: any console and any reader take it.

    Bytes of a path that are no UTF-8 are shown as ``printable`` does; line ends and the like stay what they
    are, escaped as JSON does. A path is its text, and a number that is not finite is null.
    """
    return json.dumps(_strict(value), indent=indent, ensure_ascii=True, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, str | Path):
        return _SURROGATE.sub(_escaped, str(value))
    if isinstance(value, Mapping):
        return {_strict(key): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _escaped(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def _unescaped(escape: str) -> str:
    if escape in _LONG:
        return _LONG[escape]
    code = int(escape[2:], 16)
    return chr(0xDC00 + code if escape[1] == "x" and code >= 0x80 else code)
