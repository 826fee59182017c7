"""Options and arguments that several commands share, each worded once; and the parsing of their values."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeosr.errors import UsageError

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
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads. Default: what onnxruntime chooses.")
]


def settings_values(ctx: typer.Context, **changed: Any) -> dict[str, Any]:
    """Return the command's options under their names, which are the names of its settings' fields.

    Args:
        ctx: of the running command.
        changed: values that are not the parsed text itself, by name. ``source``, ``bundle``, ``json`` and
            the options of an engine are no settings and are left out.
    """
    others = {"source", "bundle", "json", "target", "batch", "engine"}
    values = {name: value for name, value in ctx.params.items() if name not in others}
    return {**values, **changed}


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
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UsageError(f"expected HEIGHTxWIDTH in pixels; got {text!r}; write for example 480x640")
    return int(height), int(width)


def numbers_from(option: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of a comma-separated option, for example ``"1,8"``."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise UsageError(f"{option} takes whole numbers from 1, separated by commas; got {text!r}; write 1,8")
    return tuple(int(word) for word in words)
