"""The one timer: interleaved back-to-back calls, and calls paced like a camera."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from edgeosr.bench.samples import Samples

MINIMUM_TURNS = 10


class Clock:
    """Wall time, process CPU time and sleep; replaced in tests."""

    def wall(self) -> float:
        """Return seconds since some fixed moment."""
        return time.perf_counter()

    def cpu(self) -> float:
        """Return CPU seconds used by all threads of this process."""
        return time.process_time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Candidate:
    """Something to time: ``call(i)`` processes input number i (inputs are cycled by the callee)."""

    name: str
    call: Callable[[int], object]


@dataclass(frozen=True)
class Paced:
    """Calls started at a fixed rate, as a camera delivers frames.

    Attributes:
        samples: one a call, from its own start to its end.
        late: calls that started more than one millisecond after their frame was due, because the call
            before had not ended (or the operating system woke us late).
    """

    samples: Samples
    late: int


def interleave(
    candidates: Sequence[Candidate],
    *,
    turns: int,
    warmup: int,
    limit_s: float,
    clock: Clock | None = None,
    advance: Callable[[float], object] | None = None,
) -> dict[str, Samples]:
    """Time candidates turn by turn, so that drift of the machine falls on all of them alike.

    In a turn each candidate makes one call that is not timed and then one that is. The first call wakes
    its threads and caches, and lets the worker threads of the candidate before stop spinning (onnxruntime
    keeps them hot for a while), as in a back-to-back loop of its own. The order rotates by one each turn.

    Args:
        candidates: distinct names.
        turns: timed calls of each candidate, >= 1.
        warmup: calls of each candidate before the first turn.
        limit_s: stop earlier when this many seconds have passed, but not before ``MINIMUM_TURNS``.
        clock: replaces the real clock (tests).
        advance: called after each turn with the share that is done, 0 to 1.

    Returns:
        Samples by name, all of one length; sample i of each was taken in turn i.
    """
    clock = clock or Clock()
    for candidate in candidates:
        for i in range(warmup):
            candidate.call(i)
    wall: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    cpu: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    with _no_garbage_collection():
        started = clock.wall()
        for turn in range(turns):
            first = turn % len(candidates)
            for candidate in (*candidates[first:], *candidates[:first]):
                candidate.call(turn)
                wall_ms, cpu_ms = _timed(candidate.call, turn, clock)
                wall[candidate.name].append(wall_ms)
                cpu[candidate.name].append(cpu_ms)
            spent = clock.wall() - started
            if advance is not None:
                advance(min(1.0, max((turn + 1) / turns, spent / limit_s)))
            if turn + 1 >= MINIMUM_TURNS and spent >= limit_s:
                break
    return {name: Samples(tuple(wall[name]), tuple(cpu[name])) for name in wall}


def pace(
    candidate: Candidate, *, rate_hz: float, calls: int, clock: Clock | None = None,
    advance: Callable[[float], object] | None = None,
) -> Paced:  # fmt: skip
    """Time calls started ``rate_hz`` times a second; between them the process sleeps.

    A back-to-back loop keeps clocks high and caches warm; a camera does not. A call that starts late is
    timed from its own start, and the schedule is not shifted.
    """
    clock = clock or Clock()
    wall, cpu, late = [], [], 0
    with _no_garbage_collection():
        started = clock.wall()
        for i in range(calls):
            due = started + i / rate_hz
            while (wait := due - clock.wall()) > 0:
                clock.sleep(wait)
            late += clock.wall() - due > 1e-3
            wall_ms, cpu_ms = _timed(candidate.call, i, clock)
            wall.append(wall_ms)
            cpu.append(cpu_ms)
            if advance is not None:
                advance((i + 1) / calls)
    return Paced(Samples(tuple(wall), tuple(cpu)), late)


def _timed(call: Callable[[int], object], i: int, clock: Clock) -> tuple[float, float]:
    cpu_before, before = clock.cpu(), clock.wall()
    call(i)
    after, cpu_after = clock.wall(), clock.cpu()
    return 1e3 * (after - before), 1e3 * (cpu_after - cpu_before)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A collection in the middle of a call would be charged to whichever candidate is running.
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
