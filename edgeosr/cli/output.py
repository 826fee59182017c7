"""What a command says at its end: one result, one line that names what was written and what to type next."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from edgeosr.printed import printable
from edgeosr.program.streams import echo, echo_json


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Keep standard output for the result: whatever a library prints meanwhile goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def show(*, text: str, document: str, json: bool, written: Path | None, then: str) -> None:
    """Print a command's result.

    Args:
        text: it, for a terminal.
        document: it, as one JSON document.
        json: print the JSON document and nothing else.
        written: the file or directory that was written, if any.
        then: the next command to type.
    """
    if json:
        echo_json(document)
        return
    echo(text.rstrip("\n"))
    echo(last_line(written, then))


def last_line(written: Path | None, then: str) -> str:
    """Return ``"Wrote PATH. Next: COMMAND"``, or only the second half if nothing was written."""
    return f"Wrote {printable(written)}. Next: {then}" if written else f"Next: {then}"


def command_line(*words: str | Path) -> str:
    """Return a command that can be pasted into a shell, each word quoted if it needs to be."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str | Path) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"  # else it would be taken for an option
    shown = printable(text)
    if shown == text:
        return quote(text)
    # The shell's own way to write control characters and bytes that are no text.
    return "$'" + printable(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"
