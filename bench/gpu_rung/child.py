"""Run one process under a time limit, with all that it starts; nothing of it outlives the call.

A step that is ended may itself be inside ``run_child``, whose child has a session of its own. So what is to
end is found by parents and sessions, in /proc, and not by one process group; and a Python that gets a signal
goes through its ``finally`` (``ended_by_signals``), so that the inner call ends its child too.
"""

import contextlib
import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 3.0  # from SIGTERM to SIGKILL
OUTER_GRACE_S = GRACE_S + 5.0  # of a process that may have to end one of its own first
_LAST_S = 5.0  # after SIGKILL; what hangs in the driver even then is left, and the rung goes on
_FIRST, _LAST, _LONGEST, _MOST = 6, 15, 500, 1 << 19  # lines, lines, letters of a line, bytes of either end
_FRAME = re.compile(r"^\s*frame #\d+: ")  # of c10's backtraces
_ERROR = re.compile(r"terminate called|what\(\):|Traceback|Error\b|\berror:|\bFATAL\b|\b[Ff]ailed\b")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Attributes:
        code: exit code; below 0 a signal's.
        seconds: that it took.
        processor_seconds: of it and of what it started and waited for.
        timed_out: its time was up.
        tail: the last lines that it printed, behind the first ones of an error that stands before them
            (``told``).
    """

    code: int
    seconds: float
    processor_seconds: float
    timed_out: bool
    tail: str


def run_child(
    command: Sequence[str],
    *,
    limit_s: float,
    log: Path,
    environment: Mapping[str, str] | None = None,
    grace_s: float = GRACE_S,
) -> Ended:
    """Run it, in a session of its own.

    Args:
        command: the words.
        limit_s: then it and all that it started gets SIGTERM, and SIGKILL ``grace_s`` later.
        log: takes what it prints on both streams.
        environment: None: this process's.
        grace_s: see ``limit_s``.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
        KeyboardInterrupt: passed on, once the process is gone.
    """
    started, before = time.monotonic(), _used()
    with log.open("wb") as sink:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=None if environment is None else dict(environment),
        )
        timed_out = False
        try:
            child.wait(limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            _end_all(child, grace_s)
    seconds = time.monotonic() - started
    code = -int(signal.SIGKILL) if child.returncode is None else child.returncode
    return Ended(code, seconds, _used() - before, timed_out, told(_ends_of(log)))


def told(printed: str) -> str:
    """Return what a process said at its end, and how the error began that it may have ended with.

    A C++ exception that nobody catches prints its reason before a backtrace longer than any tail: lines of a
    backtrace are left out, and of an error further up its first lines stay.
    """
    lines = [line[:_LONGEST] for line in printed.splitlines() if not _FRAME.match(line)]
    first = next((at for at, line in enumerate(lines) if _ERROR.search(line)), len(lines))
    last = max(0, len(lines) - _LAST)
    if first >= last:
        return "\n".join(lines[last:])
    head = lines[first : min(first + _FIRST, last)]
    return "\n".join([*head, *(["..."] if first + _FIRST < last else []), *lines[last:]])


def _ends_of(log: Path) -> str:
    """Return the file's text, without the middle of a long one."""
    with log.open("rb") as file:
        head = file.read(_MOST)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(head), size - _MOST))
        return (head + file.read()).decode("utf-8", errors="replace")


def ended_by(code: int) -> str:
    """Return the name of the signal that ended a process with this exit code; empty: none did."""
    try:
        return signal.Signals(-code).name if code < 0 else ""
    except ValueError:
        return f"signal {-code}"


def python_words() -> list[str]:
    """Return the words that started this Python, up to its ``-m``: a child is started likewise.

    Those of a double of a card are among them.
    """
    words = list(sys.orig_argv)
    return [sys.executable, *words[1 : words.index("-m")]]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Take SIGTERM, and SIGHUP of a terminal that is gone, for Ctrl-C: what is open inside is closed.

    The list holds the signals that came.

    Only the first signal counts: a second one would break off the closing. One that is ignored (``nohup``)
    stays so. Nothing changes in a thread that is not the main one.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def interrupt(number: int, frame: object) -> None:
        came.append(number)
        if len(came) == 1:
            raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def end_with_parent() -> None:
    """Ask Linux for SIGTERM once the process that started this one has ended, by SIGKILL too."""
    with contextlib.suppress(OSError, AttributeError):  # another system: its user ends what is left
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _used() -> float:
    """Return the processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end_all(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """End the process, what it started, and what those left running in their sessions."""
    family: dict[int, _Process] = {}
    if child.poll() is None:
        family = _family(child.pid, family)
        child.terminate()  # first: it must not take the end of one of its own children for a failure
        time.sleep(0.1)
    for number, wait in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _LAST_S)):
        family |= _family(child.pid, family)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        for process in _living(family):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)
        until = time.monotonic() + wait
        while time.monotonic() < until:
            if child.poll() is not None and not _living(family):
                family |= _family(child.pid, family)  # what was started in the meantime
                if not _living(family):
                    return
            time.sleep(0.02)


@dataclass(frozen=True)
class _Process:
    """A line of /proc; ``began`` tells it from a later process of the same number."""

    parent: int
    session: int
    began: str
    ended: bool


def _process(number: int | str) -> _Process | None:
    """Return a process of this machine; None: there is none (any more), or no /proc."""
    try:
        words = Path(f"/proc/{number}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        return _Process(int(words[1]), int(words[3]), words[19], words[0] in "ZX")
    except (OSError, ValueError, IndexError):
        return None


def _family(root: int, known: Mapping[int, _Process]) -> dict[int, _Process]:
    """Return ``root``, its descendants and those of ``known``, and all in a session of one of them."""
    seen = {int(path.name): _process(path.name) for path in Path("/proc").glob("[0-9]*")}
    every = {number: one for number, one in seen.items() if one is not None}
    members = {root, *(process for process in known if _same(every.get(process), known[process]))}
    ours = {root, *(one.session for one in known.values())}  # ``root`` leads a session; it may be gone
    own = every[os.getpid()].session if os.getpid() in every else -1
    while True:
        ours |= {every[process].session for process in members if process in every}
        ours.discard(own)
        more = {
            process
            for process, one in every.items()
            if process not in members and (one.parent in members or one.session in ours)
        }
        if not more:
            return {process: every[process] for process in members if process in every}
        members |= more


def _living(family: Mapping[int, _Process]) -> list[int]:
    now = {number: _process(number) for number in family}
    return [number for number, one in now.items() if one and not one.ended and _same(one, family[number])]


def _same(now: _Process | None, before: _Process) -> bool:
    return now is not None and now.began == before.began
