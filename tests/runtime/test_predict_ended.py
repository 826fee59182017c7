"""edgeosr predict, ended in the middle of a video by a signal, a closed terminal or a reader that leaves."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from videos import write_video

from edgeosr.cli.app import main
from edgeosr.runtime.runtime import Runtime

FRAMES = 600  # their verdicts are more than a pipe holds, so a process whose reader waits is in the middle
Process = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.avi", FRAMES, height=160, width=160)


@pytest.fixture
def started(bundle_path: Path, clip: Path, tmp_path: Path) -> Iterator[Any]:
    made: list[Process] = []

    def start(*options: str, **how: Any) -> Process:
        code = (
            "import signal, sys; from edgeosr.cli.app import main; "
            "[signal.signal(each, signal.SIG_DFL) for each in (signal.SIGTERM, signal.SIGHUP)]; main()"
        )
        words = [sys.executable, "-c", code, "predict", str(bundle_path), str(clip), *options]
        made.append(subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, **how))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        for end in (process.stdout, process.stderr):
            if end is not None:
                end.close()
        process.wait()


def frames_of(video: Path) -> int:
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        count += 1
    return count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_whole_verdicts_and_a_finished_video(
    started: Any, tmp_path: Path, number: signal.Signals
) -> None:
    process = started("--jsonl", "--video", stdout=subprocess.PIPE)
    first = process.stdout.readline()
    process.send_signal(number)
    lines = [first, *process.stdout.read().splitlines(keepends=True)]
    assert process.wait() == 128 + number
    rows = [json.loads(line) for line in lines]
    assert lines[-1].endswith(b"\n") and [row["frame"] for row in rows] == list(range(len(rows)))
    assert len(rows) < FRAMES
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["clip.mp4"]
    assert len(rows) <= frames_of(tmp_path / "predictions/clip.mp4") <= len(rows) + 1
    assert b"Traceback" not in process.stderr.read()


def test_a_signal_keeps_the_verdicts_of_the_document(
    bundle_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left, call = iter(range(4)), Runtime.__call__

    def ended_in(self: Runtime, *arguments: Any, **named: Any) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        return call(self, *arguments, **named)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        monkeypatch.setattr(Runtime, "__call__", ended_in)
        words = ["edgeosr", "predict", str(bundle_path), str(clip), "--json", "--no-video"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 143
    document = json.loads(capsys.readouterr().out)
    assert document["interrupted"] and document["judged"] == len(document["verdicts"]) == 4


def test_a_terminal_that_is_closed_leaves_a_finished_video(started: Any, tmp_path: Path) -> None:
    screen, terminal = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = started("--jsonl", "--video", stdin=terminal, stdout=terminal, preexec_fn=own_terminal)
    os.close(terminal)
    os.read(screen, 100)
    os.close(screen)
    assert process.wait() == 128 + signal.SIGHUP
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["clip.mp4"]
    assert 0 < frames_of(tmp_path / "predictions/clip.mp4") < FRAMES
    assert b"Traceback" not in process.stderr.read()


def test_a_reader_that_leaves_ends_it_without_a_word_and_leaves_no_half_video(
    started: Any, tmp_path: Path
) -> None:
    process = started("--jsonl", "--video", stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 128 + signal.SIGPIPE
    assert list((tmp_path / "predictions").iterdir()) == []


@pytest.mark.parametrize("option", ["--json", "--jsonl"])
def test_a_full_disk_under_the_verdicts_is_told_in_a_line(started: Any, option: str) -> None:
    with open("/dev/full", "wb") as full:
        process = started(option, "--limit", "3", "--no-video", stdout=full)
        said = process.stderr.read()
    assert process.wait() == 1
    assert said.startswith(b"error: cannot write to ") and said.count(b"\n") == 1
