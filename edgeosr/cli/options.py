"""Options and arguments that several commands share, each worded once; and the parsing of their values."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from edgeosr.cli.command import SEPARATORS
from edgeosr.errors import MOST_THREADS, UsageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", metavar="DIR", help="Where named data sets lie. Default: the variable EDGEOSR_DATA."
    ),
]
Bundle = Annotated[
    Path | None,
    typer.Argument(
        metavar="BUNDLE", help="A NAME.edgeosr directory. Default: the newest.", show_default=False
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="PATH", help="Where to write.")]
Settings = TypeVar("Settings")


def _threads(default: str) -> Any:
    return typer.Option("--threads", min=1, max=MOST_THREADS, help=f"CPU threads. Default: {default}.")


# Of commands that train, export or evaluate: each graph and each step of training takes what it is worth.
Threads = Annotated[int | None, _threads("by the size of the work")]
# Of commands that open a Runtime: what an app gets that opens one without a number.
RuntimeThreads = Annotated[int | None, _threads("one a physical core")]
# Of the demo, which does both.
DemoThreads = Annotated[int | None, _threads("what each step's own command takes")]


def settings_from(kind: Callable[..., Settings], **values: Any) -> Settings:
    """Return a command's settings, made of its options.

    What the context of older versions of typer holds is text, not values: a command passes on what it was
    called with.

    Args:
        kind: the settings' dataclass.
        values: one for each of its fields, by name; none may be left out, lest an option be without effect.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # a class, not any callable
    if set(values) != names:
        raise TypeError(f"{kind} has the fields {sorted(names)}; got {sorted(values)}")
    return kind(**values)


def names_from(text: str | None) -> tuple[str, ...] | None:
    """Return the names of a comma-separated option, or None if it was not given.

    Raises:
        UsageError: a name is empty or given twice.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"expected names separated by commas; got {text!r}; write a,b,c")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{', '.join(map(repr, twice))} is named twice in {text!r}; name every class once")
    return names


def size_from(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of ``"480x640"``, or None if the option was not given."""
    if text is None:
        return None
    # Also as Python writes it, (480, 640), and with the letters that stand for "times".
    height, _, width = re.sub(r"\s*[x\u00d7*,]\s*", "x", text.lower().strip(" []()")).partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UsageError(f"expected HEIGHTxWIDTH in pixels; got {text!r}; write for example 480x640")
    return int(height), int(width)


def numbers_from(option: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of a comma-separated option, for example ``"1,8"``."""
    words = [word for word in SEPARATORS.split(text) if word]
    if not words or not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise UsageError(f"{option} takes whole numbers from 1, separated by commas; got {text!r}; write 1,8")
    return tuple(int(word) for word in words)
