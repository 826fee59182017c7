"""How a command ends that somebody else ends: by a signal, by closing its output, by a disk that is full.

SIGTERM (``kill``, ``systemctl stop``, ``docker stop``) and SIGHUP (a closed terminal) end it as Ctrl-C does:
KeyboardInterrupt is raised where it is at work, files are finished or removed, and the exit code is 128 + the
signal. A reader that leaves (``| head``) ends it without a word, as it ends other tools.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeosr.errors import StorageError, was_interrupted
from edgeosr.program.exit_codes import CLOSED_PIPE_CODE, INTERRUPTED_CODE
from edgeosr.program.streams import echo

_NAMES = ("SIGTERM", "SIGHUP")
# timeout and service managers tell the process and then its group: that is one request, not two.
_SAME_REQUEST_S = 2.0
# EBADF: standard output was closed (streams.py).
_OUTPUT_ERRORS = {
    errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EBADF, getattr(errno, "EDQUOT", errno.ENOSPC),
}  # fmt: skip


@dataclass
class _Request:
    """What asked this process to end: a signal and when, or Ctrl-C; whether it waits, and has been told."""

    number: int | None = None
    at: float = 0.0
    ctrl_c: bool = False
    held: bool = False
    waiting: bool = False
    told: bool = False


_request = _Request()


@contextlib.contextmanager
def heeded_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt in the block, as Ctrl-C does, which is noted.

    Afterwards all is as before.

    Only those that would have ended the process without a word: one that is ignored (``nohup``) stays
    ignored. Outside the main thread, where Python cannot do this, nothing changes.
    """
    before: dict[int, Any] = {}
    vars(_request).update(vars(_Request()))
    if threading.current_thread() is threading.main_thread():
        for name in _NAMES:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _handler(os.getpid()))
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, _on_ctrl_c)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """Let a first SIGTERM or SIGHUP in the block wait for its end: a document cut in two is of no use.

    A second one, later, does not wait: what reads the document may never read on.
    """
    _request.held = True
    try:
        yield
    finally:
        waited, _request.held, _request.waiting = _request.waiting, False, False
    if waited:
        raise KeyboardInterrupt


def interrupted_code() -> int:
    """Return the exit code of a process that was asked to end, and has told it: 128 + the signal."""
    _request.told = True
    return INTERRUPTED_CODE if _request.number is None else 128 + _request.number


def asked_to_end(error: BaseException | None = None) -> bool:
    """Tell whether somebody asked this process to end, or an error is what a library made of that."""
    asked = _request.number is not None or _request.ctrl_c
    return asked or (error is not None and was_interrupted(error))


def tell_interrupted() -> int:
    """Say once what ended the process, and return its exit code."""
    if not _request.told:
        number = _request.number
        say("interrupted" if number is None else f"ended by {signal.Signals(number).name}")
    return interrupted_code()


def told_by_typer(code: object) -> bool:
    """Tell whether an exit code is typer's answer to what interrupted its own steps, silent or "Aborted!"."""
    return asked_to_end() and not _request.told and code in (1, INTERRUPTED_CODE)


@contextlib.contextmanager
def output_failures() -> Iterator[None]:
    """Tell an output that takes no more from other errors; both outputs stay usable, if only as a sink.

    Raises:
        SystemExit: the reader closed the pipe, or the terminal is gone.
        StorageError: anything else, above all a full disk.
    """
    try:
        try:
            yield
        finally:
            # At any end, an exit code or Ctrl-C too: what is kept back until now may not be writable.
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
    except OSError as error:
        broken = _silenced()
        # Without a buffer (python -u) nothing is left to be flushed again; files have names in their errors.
        if not broken and (error.errno not in _OUTPUT_ERRORS or error.filename is not None):
            raise
        if error.errno == errno.EPIPE:
            raise SystemExit(CLOSED_PIPE_CODE) from None
        if error.errno == errno.EIO and _request.number is not None:
            raise SystemExit(interrupted_code()) from None
        raise StorageError(
            f"cannot write to {' and '.join(broken) or 'the output'}: {error.strerror or error}; make room, "
            "or send it elsewhere"
        ) from error


def say(words: str) -> None:
    """Print a line on standard error; where nothing can be said, nothing is."""
    try:
        echo(words, err=True)
    except OSError:
        _silenced()


def path_of(error: OSError) -> str:
    """Return the path that an error of the system is about; it has one."""
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else str(name)


def _handler(process: int) -> Any:
    def handle(number: int, frame: object) -> None:
        if os.getpid() != process:  # a fork of this process
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        now = time.monotonic()
        if _request.number is not None and now - _request.at < _SAME_REQUEST_S:
            return
        _request.number, _request.at = number, now
        if _request.held and not _request.waiting:
            _request.waiting = True
            return
        raise KeyboardInterrupt

    return handle


def _on_ctrl_c(number: int, frame: object) -> None:
    _request.ctrl_c = True
    raise KeyboardInterrupt


def _silenced() -> list[str]:
    """Send what the broken outputs still hold nowhere, so that the end of the process can; name them."""
    broken = []
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            broken.append(name)
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                try:
                    os.dup2(nowhere, stream.fileno())
                finally:
                    os.close(nowhere)
    return broken
