"""Run one process under a time limit, with all that it starts; nothing of it outlives the call."""

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_GRACE_S = 3.0


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Attributes:
        code: exit code; below 0 a signal's.
        seconds: that it took.
        processor_seconds: of it and of what it started and waited for.
        timed_out: its time was up.
        tail: the last lines that it printed.
    """

    code: int
    seconds: float
    processor_seconds: float
    timed_out: bool
    tail: str


def run_child(
    command: Sequence[str], *, limit_s: float, log: Path, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run it, in a session of its own.

    Args:
        command: the words.
        limit_s: then it gets SIGTERM, and SIGKILL three seconds later.
        log: takes what it prints on both streams.
        environment: None: this process's.

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
            _end_all(child)
    lines = log.read_bytes()[-4000:].decode("utf-8", errors="replace").splitlines()
    seconds = time.monotonic() - started
    return Ended(child.returncode, seconds, _used() - before, timed_out, "\n".join(lines[-15:]))


def _used() -> float:
    """Return the processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end_all(child: "subprocess.Popen[bytes]") -> None:
    """End the process and what it left running in its session."""
    for number, wait in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(wait)
