"""The trial that kills commands finds nothing in good ones, and finds what careless ones do."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeosr import ExportSettings, export_run
from edgeosr.bench.reliability.killed_commands import WritingCommand, kill_command
from edgeosr.files import write_text

OLD, NEW = "old" * 50_000, "new" * 50_000


def before():
    Path("a.txt").write_text(OLD)


def look(folder):
    path = folder / "a.txt"
    return {OLD: "old", NEW: "new"}[path.read_text()] if path.exists() else "none"


def careful():
    time.sleep(0.01)
    write_text(Path("a.txt"), NEW)


def in_place():
    with open("a.txt", "w") as file:
        for letter in NEW[:300]:
            file.write(letter * 500)
            file.flush()
            time.sleep(0.0001)
    Path("a.txt").write_text(NEW)


def removed_first():
    Path("a.txt").unlink(missing_ok=True)
    time.sleep(0.03)
    write_text(Path("a.txt"), NEW)


def beside():
    temporary = Path(f"{os.getpid()}.tmp")
    temporary.write_text(NEW)
    time.sleep(0.03)
    temporary.replace("a.txt")


@pytest.fixture
def work(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_a_careful_writer_passes(work):
    counts = kill_command(WritingCommand(name="careful", run=careful, look=look, before=before), work, 9)
    assert counts.passed and counts.kills == 9 and counts.at_a_step == 3, counts
    assert counts.found["old"] and counts.next_runs


@pytest.mark.parametrize(
    ("run", "what"), [(in_place, "half"), (removed_first, "lost"), (beside, "leftovers")]
)
def test_a_careless_writer_is_found(work, run, what):
    counts = kill_command(WritingCommand(name="careless", run=run, look=look, before=before), work, 10)
    assert getattr(counts, what) and not counts.passed and counts.first, counts


def test_a_next_run_that_fails_is_told(work):
    def refuses():
        if Path("lock").exists():
            raise SystemExit(2)
        Path("lock").touch()
        careful()
        Path("lock").unlink()

    counts = kill_command(WritingCommand(name="refuses", run=refuses, look=look, before=before), work, 6)
    assert counts.failed and not counts.passed


def test_a_command_that_fails_by_itself_is_no_trial(work):
    def fails():
        raise SystemExit(3)

    with pytest.raises(AssertionError, match="fails"):
        kill_command(WritingCommand(name="fails", run=fails, look=look, before=before), work, 1)


def test_commands_leave_old_or_new_whatever_moment_they_are_killed_at(digits_run, tmp_path):
    settings = ExportSettings(out=tmp_path / "digits.edgeosr", precision="fp32")
    bundle = export_run(digits_run, settings).path
    words = ("commands", bundle, "--only", "an engine added,predict --jsonl --out", "--count", "4")
    # In a process of its own: the threads of what the tests used before do not outlive a fork.
    ended = subprocess.run(
        [sys.executable, "-m", "edgeosr.bench.reliability", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["passed"] and [one["kills"] for one in document["counts"].values()] == [4, 4]
