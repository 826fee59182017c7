"""Standard streams that take whatever a command says, and what a command says made fit for them."""

import contextlib
import errno
import io
import os
import sys

from edgeosr.printed import printable_lines


def open_streams() -> None:
    """Make the standard streams take any text: a console's encoding is no reason to fail.

    Letters that a console's encoding lacks are printed as escapes. A stream that was closed (``>&-``) is
    opened on nothing: else the next file to be opened took its place, and what a library prints went into it.
    Standard output takes nothing then, for verdicts that nobody can read are not given.
    """
    for descriptor, mode in enumerate((os.O_RDWR, os.O_RDONLY, os.O_RDWR)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is taken, which is this one.
            os.open(os.devnull, mode)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115  # for the whole process
        elif isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):  # it was closed by whoever called us
                stream.reconfigure(errors="backslashreplace")


def output_is_closed() -> bool:
    """Say whether standard output takes nothing, so that hours of work would end with nothing said."""
    try:
        os.write(sys.stdout.fileno(), b"")
    except (OSError, ValueError) as error:  # ValueError: a stream of a test, or a console without descriptors
        return isinstance(error, OSError) and error.errno == errno.EBADF
    return False


def has_working_directory() -> bool:
    """Say whether the folder that the process runs in still exists; else relative paths mean nothing."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def echo(text: str, *, err: bool = False) -> None:
    """Print lines of text, all that a terminal would act upon escaped."""
    # Not typer's echo: it takes an ASCII console for a mistake, and writes UTF-8 to it.
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{printable_lines(text)}\n")
    stream.flush()


def echo_json(text: str) -> None:
    """Print a document or a line of ``json_text`` as ASCII bytes, whatever the console's encoding."""
    line = text.rstrip("\n") + "\n"
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(line)
        return
    sys.stdout.flush()
    binary.write(line.encode("ascii"))
    binary.flush()
