"""What a ``python -m edgeosr.bench.NAME`` does with an error that is the user's: one line, no traceback."""

import contextlib
import sys
from collections.abc import Iterator

from edgeosr.errors import EdgeosrError


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print an EdgeosrError of the block on standard error and leave with its exit code."""
    try:
        yield
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
