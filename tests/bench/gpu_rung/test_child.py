"""Nothing that a step has started outlives it: out of time, by SIGTERM to the rung, and after its SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeosr.bench.gpu_rung.child import OUTER_GRACE_S, ended_by_signals, run_child, told

# A step that runs a command as the real ones do, in a session of its own; the command starts one more.
STEP = """
import sys
from pathlib import Path
from edgeosr.bench.gpu_rung.child import run_child
from edgeosr.bench.gpu_rung.step_report import step_main
folder = Path({folder!r})
def work(report, options):
    report.put("began", True)
    run_child([sys.executable, str(folder / "command.py")], limit_s=60, log=folder / "inner.log")
sys.exit(step_main("a step", work))
"""
COMMAND = """
import os, subprocess, sys, time
from pathlib import Path
sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", {stubborn} and sleeper or "import time; time.sleep(60)"])
Path({folder!r}, "pids").write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(60)
"""
RUNG = """
import sys
from pathlib import Path
from edgeosr.bench.gpu_rung.child import OUTER_GRACE_S, ended_by_signals, run_child, told
folder = Path({folder!r})
with ended_by_signals():
    words = [sys.executable, str(folder / "step.py"), "--report", str(folder / "report.json")]
    run_child(words, limit_s=60, log=folder / "outer.log", grace_s=OUTER_GRACE_S)
"""


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state == "Z"  # ended, and not yet waited for by init


def wait_for(what: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.05)
    return what()


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    stubborn = getattr(request, "param", False)
    for name, text in {"step": STEP, "command": COMMAND, "rung": RUNG}.items():
        words = {"folder": str(tmp_path), "stubborn": stubborn}
        (tmp_path / f"{name}.py").write_text(text.format(**words), "utf-8")
    yield tmp_path
    for process in pids(tmp_path):  # of a test that failed
        if not gone(process):
            os.kill(process, signal.SIGKILL)


def pids(folder: Path) -> list[int]:
    path = folder / "pids"
    return [int(word) for word in path.read_text("utf-8").split()] if path.is_file() else []


@pytest.mark.parametrize("folder", [True], indirect=True, ids=["one that ignores SIGTERM"])
def test_a_step_out_of_time_ends_with_what_its_own_children_started(folder: Path) -> None:
    words = [sys.executable, str(folder / "step.py"), "--report", str(folder / "report.json")]
    found = run_child(words, limit_s=3.0, log=folder / "log", grace_s=OUTER_GRACE_S)
    assert found.timed_out and found.code == 130, "a step goes through its finally, and says so"
    assert len(pids(folder)) == 2 and all(map(gone, pids(folder)))
    assert json.loads((folder / "report.json").read_text("utf-8"))["figures"] == {"began": True}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda one: one.name)
def test_a_rung_that_is_ended_leaves_none_of_them(folder: Path, number: signal.Signals) -> None:
    rung = subprocess.Popen([sys.executable, str(folder / "rung.py")], stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: len(pids(folder)) == 2)
        rung.send_signal(number)
        rung.wait(20)
        assert wait_for(lambda: all(map(gone, pids(folder))), 10.0)
    finally:
        rung.kill()
        rung.wait()


def test_a_child_that_ends_by_itself_is_not_waited_for_and_what_it_left_running_is_ended(
    tmp_path: Path,
) -> None:
    left = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.exit(3)"
    started = time.monotonic()
    found = run_child([sys.executable, "-c", left], limit_s=30.0, log=tmp_path / "log")
    assert found.code == 3 and not found.timed_out and time.monotonic() - started < 10
    assert gone(int(found.tail))


def test_only_the_first_signal_counts_and_one_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with pytest.raises(KeyboardInterrupt), ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # would break off what ends the children
                time.sleep(0.01)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_of_what_a_process_printed_the_begin_of_an_error_and_the_end_are_told() -> None:
    progress, tail = [f"epoch {n}" for n in range(50)], [f"line {n}" for n in range(15)]
    error = ["Traceback (most recent call last):", *(f"  of the error, {n}" for n in range(30))]
    assert told("\n".join(progress)) == "\n".join(progress[-15:])
    assert told("\n".join([*progress, *error, *tail])) == "\n".join([*error[:6], "...", *tail])
    assert told("\n".join([*progress, *error[:3], *tail])) == "\n".join([*error[:3], *tail[:3], *tail[3:]])
    assert told("\n".join([*progress, *tail[:14], error[0]])).startswith("line 0")
    assert told("oh" * 5000) == ("oh" * 250) and told("") == ""


def test_the_ends_of_a_long_log_are_read_once_each(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "print('an error: first'); print('x\\n' * 10**6); print('last')"]
    found = run_child(words, limit_s=60, log=tmp_path / "log")
    lines = found.tail.splitlines()
    assert lines[0] == "an error: first" and lines[-1] == "last" and len(lines) == 22
    found = run_child([sys.executable, "-c", "print('once')"], limit_s=60, log=tmp_path / "log")
    assert found.tail == "once"
