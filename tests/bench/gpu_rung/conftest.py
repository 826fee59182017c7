"""What every test of the rung needs."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _a_terminal_that_goes_is_heard() -> Iterator[None]:
    """A suite that nohup started ignores SIGHUP, and so would the rung that it starts."""
    before = signal.getsignal(signal.SIGHUP)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
