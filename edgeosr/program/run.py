"""How a program of ours ends, the ``edgeosr`` command, the tables and the builds, whatever it meets at work.

Exit codes: see ``app.py``.
"""

import sys
import traceback
from collections.abc import Callable

from edgeosr import __version__
from edgeosr.errors import EdgeosrError, StorageError
from edgeosr.printed import printable, shortened
from edgeosr.program.ending import (
    asked_to_end,
    heeded_signals,
    output_failures,
    path_of,
    say,
    tell_interrupted,
    told_by_typer,
)
from edgeosr.program.exit_codes import DEFECT_CODE
from edgeosr.program.missing_package import what_to_install
from edgeosr.program.streams import has_working_directory, open_streams, output_is_closed

# Letters of a message; a name in it may be somebody else's, and of any length.
LONGEST_MESSAGE = 4000


def run_program(work: Callable[[], int | None]) -> None:
    """Run a program and exit the process with the code that it returns, 0 for None.

    An output that takes no more, Ctrl-C or a signal ends it with at most a line, never with a traceback.
    """
    try:
        open_streams()
        if output_is_closed():
            closed = StorageError("standard output is closed; send it somewhere, for example > /dev/null")
            say(f"error: {closed}")
            sys.exit(closed.exit_code)
        with heeded_signals():
            try:
                with output_failures():  # once more: typer itself says what is wrong with a command line
                    code = work()
                sys.exit(code)
            except SystemExit as end:
                sys.exit(tell_interrupted() if told_by_typer(end.code) else end.code)
            except Exception as error:
                sys.exit(tell_interrupted() if asked_to_end(error) else _told(error))
    except KeyboardInterrupt:  # in whatever step of ours or typer's
        sys.exit(tell_interrupted())


def _told(error: Exception) -> int:
    """Say what went wrong, and return the exit code."""
    if isinstance(error, EdgeosrError):
        say(f"error: {error if error.has_lines else shortened(error, LONGEST_MESSAGE)}")
        return error.exit_code
    missing = what_to_install(error)
    if missing is not None:
        say(f"error: {printable(missing)}")
        return missing.exit_code
    if not has_working_directory():
        say("error: the working directory is gone; change to one that exists: cd")
        return EdgeosrError.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        # A path that may not be looked at, is too long or is gone since it was found.
        say(
            f"error: cannot use {printable(path_of(error))}: {error.strerror or error}; check the "
            "path, its permissions and the free disk space"
        )
        return EdgeosrError.exit_code
    say(traceback.format_exc())
    say(
        f"\nThis is a defect of edgeosr {__version__}, not of your input: "
        "please report it with the lines above and the command you typed."
    )
    return DEFECT_CODE
