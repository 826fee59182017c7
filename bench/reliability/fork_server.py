"""Runs a function in a process of its own, again and again, and says how each one ended."""

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from edgeosr.errors import EdgeosrError

# Wall-clock seconds until a child is taken for one that hangs; a busy machine needs more than it itself.
LONGEST = 30.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended.

    Attributes:
        how: ``"done"``, ``"refused"`` (an EdgeosrError), ``"traceback"``, ``"hang"`` or ``"crash"``.
        detail: what was returned or raised, in words.
        cpu_seconds: that it used.
        largest_bytes: of memory that it had, above the parent's.
        opened: files outside that Python opened in it.
    """

    how: str
    detail: str
    cpu_seconds: float
    largest_bytes: int
    opened: tuple[str, ...]


def in_a_child(
    function: Callable[[], str],
    *,
    memory: int,
    may_open: Callable[[str], bool],
    longest: float | None = None,
) -> Ended:
    """Call ``function`` in a fork of this process.

    Args:
        function: what to call; returns words.
        memory: bytes that it may add to those of this process; more fails in it.
        may_open: whether a path is one that it may open.
        longest: seconds until it is taken for one that hangs; None for ``LONGEST``.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(function, writer, memory, may_open)
    os.close(writer)
    said = _read(reader, time.monotonic() + (longest or LONGEST))
    os.close(reader)
    if said is None:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    found = json.loads(said) if said else {}
    how = found.get("how", "crash" if said is not None else "hang")
    if os.WIFSIGNALED(status) and how != "hang":
        how = "crash"
    return Ended(
        how=how,
        detail=found.get("detail", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else ""),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        largest_bytes=max(0, usage.ru_maxrss * 1024 - _resident()),
        opened=tuple(found.get("opened", ())),
    )


def _run(function: Callable[[], str], writer: int, memory: int, may_open: Callable[[str], bool]) -> None:
    opened: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if (
            event == "open"
            and isinstance(arguments[0], str | bytes)
            and not may_open(os.fsdecode(arguments[0]))
        ):
            opened.append(os.fsdecode(arguments[0]))

    try:
        resource.setrlimit(resource.RLIMIT_AS, (_virtual() + memory,) * 2)
        sys.addaudithook(watch)
        try:
            said = {"how": "done", "detail": function()}
        except EdgeosrError as error:
            said = {"how": "refused", "detail": f"{type(error).__name__}: {error}"}
        except BaseException:
            said = {"how": "traceback", "detail": traceback.format_exc()}
        os.write(writer, json.dumps({**said, "detail": said["detail"][:4000], "opened": opened[:9]}).encode())
    finally:
        os._exit(0)


def _read(reader: int, until: float) -> bytes | None:
    """Return what the child wrote before it closed its end; None if it did not in time."""
    data = b""
    while True:
        if not select.select([reader], [], [], max(0.0, until - time.monotonic()))[0]:
            return None
        more = os.read(reader, 1 << 16)
        if not more:
            return data
        data += more


def _resident() -> int:
    return _pages(1)


def _virtual() -> int:
    return _pages(0)


def _pages(column: int) -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[column]) * os.sysconf("SC_PAGE_SIZE")
