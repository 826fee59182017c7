"""Commands that write are killed at random moments: is what they leave whole, does the next run clean up?"""

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeosr.bench.reliability.fork_server import Ended, in_a_child

# Python tells of these before they happen; those on files of the command are the steps of its writing.
_STEPS = ("os.", "shutil.", "open", "tempfile.")
# One kill in so many is at a step of the writing, or up to a moment after it; the others are at any time.
_AT_A_STEP = 3
_MOMENT_S = 0.003
_MOST_ATTEMPTS = 40
# The next run is made after each kill that leaves a name which no whole run leaves, and after one in so many.
_NEXT_RUN = 10
_SHOWN = 5
_LONGEST_S = 600.0


@dataclass(frozen=True, kw_only=True)
class WritingCommand:
    """A command that writes, and how to tell what a killed one left.

    Attributes:
        name: of it.
        run: what is killed; called in a process of its own, in the folder that it writes into.
        look: says in a word what is in that folder: ``"old"``, ``"new"``, ``"none"`` or another one; raises
            if anything there is not whole.
        before: fills the folder, called as ``run`` is.
        again: what a user types next, by the word that ``look`` says; ``run`` where it has none.
        never: words that must not be said: what was there before is lost.
    """

    name: str
    run: Callable[[], None]
    look: Callable[[Path], str]
    before: Callable[[], None] = lambda: None
    again: dict[str, Callable[[], None]] = field(default_factory=dict)
    never: tuple[str, ...] = ("none",)


@dataclass
class CommandCounts:
    """What was found after the kills of one command.

    Attributes:
        kills: of it; ``at_a_step`` of them at a step of its writing.
        found: what was there afterwards, by the word for it.
        lost: kills after which nothing was there that had been there before.
        half: kills after which something was not whole.
        next_runs: runs of the same command after a kill; ``failed`` of them failed, or did not end whole.
        leftovers: of them, those that left a name which a whole run does not leave.
        seconds: a whole run takes, of the wall's clock.
        first: some of what is wrong, in words.
    """

    kills: int = 0
    at_a_step: int = 0
    found: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    half: int = 0
    next_runs: int = 0
    failed: int = 0
    leftovers: int = 0
    seconds: float = 0.0
    first: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing was lost, half there or left, and every next run went well."""
        return not (self.lost or self.half or self.failed or self.leftovers)

    def tell(self, what: str) -> None:
        """Keep the first of what is wrong."""
        if len(self.first) < _SHOWN:
            self.first.append(what)


def freely(function: Callable[[], str]) -> Ended:
    """Call a function in a process of its own, which may take memory and time, and open what it likes."""
    return in_a_child(function, memory=1 << 36, may_open=lambda name: True, longest=_LONGEST_S)


def kill_command(command: WritingCommand, work: Path, kills: int, *, seed: int = 0) -> CommandCounts:
    """Run a command until ``kills`` of its processes were killed (SIGKILL), and look each time.

    Args:
        command: what to kill.
        work: an empty folder.
        kills: how many.
        seed: of the moments.

    Raises:
        AssertionError: the command fails without being killed, or always ends before the kill.
    """
    counts, random, place = CommandCounts(), np.random.default_rng(seed), work / "now"
    before, whole, steps = _measured(command, work, counts)
    for number in range(kills):
        at_a_step = number % _AT_A_STEP == 0
        for _ in range(_MOST_ATTEMPTS):
            _start_over(before, place)
            if at_a_step:
                after = float(random.choice([0.0, random.uniform(0, _MOMENT_S)]))
                killed = _killed_at(command.run, place, int(random.integers(0, steps)), after)
            else:
                killed = _killed_after(command.run, place, float(random.uniform(0, 1.1 * counts.seconds)))
            if killed:
                break
        else:
            raise AssertionError(f"{command.name} always ends before it is killed")
        counts.kills += 1
        counts.at_a_step += at_a_step
        _look(
            command, place, counts, names=whole | _names(before), go_on=number % _NEXT_RUN == 0, whole=whole
        )
    return counts


def _measured(command: WritingCommand, work: Path, counts: CommandCounts) -> tuple[Path, frozenset[str], int]:
    """Run the command whole, and return what is there before it, the names it leaves, and its steps."""
    before, place, steps = work / "before", work / "now", 0
    before.mkdir()
    if _ended(_forked(command.before, before)) != 0:
        raise AssertionError(f"{command.name} cannot be made ready: {_said(before)}")
    for _ in range(2):
        _start_over(before, place)
        counts.seconds, steps = _timed(command, place)
    return before, _names(place), steps


def _timed(command: WritingCommand, place: Path) -> tuple[float, int]:
    """Run the command whole; return the seconds it takes, and the steps of its writing."""
    reader, writer = os.pipe()
    started = time.perf_counter()
    child = _forked(command.run, place, lambda: _count_steps(place, writer))
    os.close(writer)
    steps = 0
    while said := os.read(reader, 1 << 12):
        steps += len(said)
    os.close(reader)
    if _ended(child) != 0:
        raise AssertionError(f"{command.name} fails: {_said(place)}")
    return time.perf_counter() - started, steps


def _look(
    command: WritingCommand,
    place: Path,
    counts: CommandCounts,
    *,
    names: frozenset[str],
    go_on: bool,
    whole: frozenset[str],
) -> None:
    ended = freely(lambda: command.look(place))
    if ended.how != "done":
        counts.half += 1
        counts.tell(f"half: {ended.detail[-300:]}; {sorted(_names(place))}")
        return
    counts.found[ended.detail] += 1
    if ended.detail in command.never:
        counts.lost += 1
        counts.tell(f"lost: {sorted(_names(place))}")
    if not go_on and _names(place) <= names:
        return
    counts.next_runs += 1
    code = _ended(_forked(command.again.get(ended.detail, command.run), place))
    last = freely(lambda: command.look(place))
    if code != 0 or last.how != "done" or last.detail != "new":
        counts.failed += 1
        counts.tell(f"the run after {ended.detail!r} ends with {code}, {last.detail[-300:]}: {_said(place)}")
    elif _names(place) != whole:
        counts.leftovers += 1
        counts.tell(f"left: {sorted(_names(place) ^ whole)}")


def _start_over(before: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(before, place, symlinks=True)


def _names(folder: Path) -> frozenset[str]:
    return frozenset(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _killed_after(run: Callable[[], None], place: Path, seconds: float) -> bool:
    """Kill the command after so many seconds; False if it ended before."""
    child, until = _forked(run, place), time.perf_counter() + seconds
    while time.perf_counter() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(min(0.002, max(0.0, until - time.perf_counter())))
    os.kill(child, signal.SIGKILL)
    return _ended(child) < 0


def _killed_at(run: Callable[[], None], place: Path, step: int, after: float) -> bool:
    """Let the command kill itself at a step of its writing, or so many seconds later."""
    return _ended(_forked(run, place, lambda: _kill_at(place, step, after))) < 0


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _forked(run: Callable[[], None], place: Path, arm: Callable[[], None] = lambda: None) -> int:
    """Run in a process of its own, in ``place``, quietly; what it says is kept beside that."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.chdir(place)
        said = os.open(_sayings(place), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for descriptor in (1, 2):
            os.dup2(said, descriptor)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for the whole process
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for the whole process
        arm()
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        # What is buffered goes out as at the end of any process.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _sayings(place: Path) -> Path:
    return place.with_name("said.txt")


def _said(place: Path) -> str:
    return _sayings(place).read_text("utf-8", errors="replace")[-500:]


def _count_steps(place: Path, writer: int) -> None:
    _at_each_step(place, lambda: os.write(writer, b"."))


def _kill_at(place: Path, step: int, after: float) -> None:
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == -1:
            if after:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)  # its default ends the process as bluntly
                signal.setitimer(signal.ITIMER_REAL, after)
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    _at_each_step(place, count)


def _at_each_step(place: Path, call: Callable[[], object]) -> None:
    inside = (str(place), os.path.realpath(place))

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if not event.startswith(_STEPS) or event == "os.listdir":
            return
        if event == "open" and not _writes(arguments):
            return
        for one in arguments[:2]:
            if isinstance(one, str | bytes) and os.path.abspath(os.fsdecode(one)).startswith(inside):
                call()
                return

    sys.addaudithook(watch)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
