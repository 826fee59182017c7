"""Signals end a command as Ctrl-C does; a full output is an error of ours; a closed pipe is none."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from edgeosr.cli import app as application
from edgeosr.errors import StorageError, import_extra
from edgeosr.program import ending
from edgeosr.runtime.sessions import load_onnxruntime
from edgeosr.runtime.video import load_opencv

SIGNALS = [signal.SIGTERM, signal.SIGHUP]
LOADERS = [load_onnxruntime, load_opencv, partial(import_extra, "torch", extra="train", purpose="it")]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def default_signals() -> Any:
    """Whatever runs the suite, nohup too: the signals are as in a plain process."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, old in before.items():
        signal.signal(number, old)


@pytest.fixture
def inspect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``edgeosr inspect`` with a step of it replaced: exit code, standard output, standard error."""

    def run(step: Callable[[], Any]) -> tuple[int, str, str]:
        monkeypatch.setattr("edgeosr.bundle.directory.newest_bundle", step)
        monkeypatch.setattr(sys, "argv", ["edgeosr", "inspect"])
        with pytest.raises(SystemExit) as end:
            application.main()
        printed = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, printed.out, printed.err

    return run


def ask_to_end(number: int) -> None:
    """Send a signal to this process and wait until its handler has raised."""
    os.kill(os.getpid(), number)
    time.sleep(5)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_command_with_128_and_its_number(number: signal.Signals, inspect: Run) -> None:
    assert inspect(lambda: ask_to_end(number)) == (128 + number, "", f"ended by {number.name}\n")
    assert signal.getsignal(number) is signal.SIG_DFL  # as before


def test_a_signal_runs_what_ctrl_c_runs(inspect: Run) -> None:
    done = []

    def step() -> None:
        try:
            ask_to_end(signal.SIGTERM)
        except KeyboardInterrupt:
            done.append("finished the file")
            raise

    assert inspect(step)[0] == 143 and done == ["finished the file"]


def test_the_same_request_twice_does_not_stop_the_finishing(inspect: Run) -> None:
    done = []

    def step() -> None:
        try:
            ask_to_end(signal.SIGTERM)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)  # timeout tells the process, then its group
            time.sleep(0.01)
            done.append("finished the file")
            raise

    assert inspect(step)[0] == 143 and done == ["finished the file"]


def test_a_later_request_is_heeded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_SAME_REQUEST_S", 0.0)
    with ending.heeded_signals():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                ask_to_end(signal.SIGTERM)


def test_a_signal_waits_for_a_document_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_SAME_REQUEST_S", 0.0)
    printed = []
    with ending.heeded_signals():
        with pytest.raises(KeyboardInterrupt), ending.held_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            printed.append("all of it")
        with pytest.raises(KeyboardInterrupt), ending.held_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            ask_to_end(signal.SIGTERM)
        with ending.held_signals():
            pass
    assert printed == ["all of it"]


def test_ctrl_c_after_an_earlier_command_s_signal_is_ctrl_c(inspect: Run) -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    inspect(lambda: ask_to_end(signal.SIGTERM))
    assert inspect(ctrl_c) == (130, "", "interrupted\n")


@pytest.mark.parametrize("own", [signal.SIG_IGN, lambda *_: None])
def test_signals_that_somebody_cares_for_are_left_alone(own: Any, inspect: Run) -> None:
    signal.signal(signal.SIGHUP, own)  # nohup, or the program that calls us

    def step() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        raise StorageError("reached")

    assert inspect(step) == (1, "", "error: reached\n")
    assert signal.getsignal(signal.SIGHUP) is own


def asked_in(step: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the signal come in a step of typer's or ours that no command is at work in."""

    def late(*_: Any, **__: Any) -> None:
        if number == signal.SIGINT:
            signal.raise_signal(signal.SIGINT)
        ask_to_end(number)

    monkeypatch.setattr(step, late)


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGINT])
@pytest.mark.parametrize(
    "step",
    [
        "edgeosr.cli.command.understood",
        "edgeosr.cli.app.Commands.make_context",
        "edgeosr.cli.app.Commands.invoke",
        "typer.main.get_command",
    ],
)
def test_a_signal_in_any_step_before_the_command_is_told(
    step: str, number: signal.Signals, inspect: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_in(step, number, monkeypatch)
    words = "interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n"
    assert inspect(lambda: None) == (128 + number, "", words)


def an_import_that_is_ended(number: int) -> Callable[[str], Any]:
    """What pybind11 and Python's own importer make of an exception in a compiled module."""

    def imported(name: str) -> Any:
        try:
            signal.raise_signal(number)
            time.sleep(5)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    return imported


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGINT])
@pytest.mark.parametrize(
    "load", [load_onnxruntime, load_opencv, lambda: import_extra("torch", extra="", purpose="")]
)
def test_a_signal_while_a_package_is_imported_is_no_broken_package(
    load: Callable[[], Any], number: signal.Signals, inspect: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step() -> None:
        with monkeypatch.context() as while_it_runs:
            while_it_runs.setattr("importlib.import_module", an_import_that_is_ended(number))
            load()

    words = "interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n"
    assert inspect(step) == (128 + number, "", words)
    with pytest.raises(KeyboardInterrupt), ending.heeded_signals():  # in Python too, without a command
        step()


def test_an_error_that_a_library_made_of_a_signal_is_the_signal(inspect: Run) -> None:
    def step() -> None:
        try:
            ask_to_end(signal.SIGTERM)
        except KeyboardInterrupt:
            raise_late = RuntimeError("CUDA was left alone")
        raise raise_late  # nothing in it says what it came from

    assert inspect(step) == (143, "", "ended by SIGTERM\n")


def test_what_is_broken_is_told_when_nobody_interrupts(inspect: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(name: str) -> Any:
        raise ImportError("initialization failed")

    def step() -> None:
        with monkeypatch.context() as while_it_runs:
            while_it_runs.setattr("importlib.import_module", imported)
            load_onnxruntime()

    code, _, said = inspect(step)
    assert code == 1 and "onnxruntime cannot be loaded: initialization failed; run: pip uninstall" in said


def test_a_message_of_any_length_is_cut(inspect: Run) -> None:
    def step() -> None:
        raise StorageError(f"the node {'n' * 65_000} is none; export it again")

    code, _, said = inspect(step)
    assert code == 1 and len(said) < 4100
    assert said.startswith("error: the node nnn") and said.endswith("nnn is none; export it again\n")


def test_outside_the_main_thread_nothing_is_changed() -> None:
    seen: list[Any] = []

    def work() -> None:
        with ending.heeded_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_a_fork_dies_of_the_signal_as_any_process() -> None:
    with ending.heeded_signals():
        child = os.fork()
        if not child:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM


def edgeosr(*arguments: str, **where: Any) -> subprocess.Popen[bytes]:
    code = "import sys; from edgeosr.cli.app import main; sys.argv[0] = 'edgeosr'; main()"
    environment = {**os.environ, **where.pop("env", {})}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, **where)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_an_error_of_the_environment(unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        started = [
            edgeosr(*arguments, stdout=full, stderr=subprocess.PIPE, env={"PYTHONUNBUFFERED": unbuffered})
            for arguments in (["--help"], ["train", "--help"])
        ]
        for process in started:
            _, said = process.communicate()
            assert process.returncode == 1
            assert said.startswith(b"error: cannot write to ") and b"No space left on device; make" in said
            assert said.count(b"\n") == 1


def test_where_nothing_can_be_told_the_exit_code_still_says_it() -> None:
    with open("/dev/full", "wb") as full:
        process = edgeosr("inspect", "nowhere", stdout=full, stderr=full)
        assert process.wait() == 1


def test_a_reader_that_leaves_ends_it_without_a_word() -> None:
    # It has left before they start: on a busy machine a short text is out before a later close.
    reading, writing = os.pipe()
    os.close(reading)
    started = [
        edgeosr(*arguments, stdout=writing, stderr=subprocess.PIPE)
        for arguments in (["--version"], ["export", "--help"])
    ]
    os.close(writing)
    for process in started:
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 128 + signal.SIGPIPE


def test_the_errors_of_files_are_not_taken_for_those_of_the_output() -> None:
    with pytest.raises(FileNotFoundError), ending.output_failures():
        os.stat("/nowhere/at/all")
    with pytest.raises(OSError, match="planted"), ending.output_failures():
        raise OSError(errno.ENOSPC, "planted", "some/file")
