"""The processes that train folds: where they run, how they fail, and that none is left behind."""

import json
import os
import subprocess
import sys
import time
import types

import pytest

from edgeosr.errors import StorageError, TrainingError
from edgeosr.training import fold_processes
from edgeosr.training.fold_plan import Fold, as_order, fold_settings
from edgeosr.training.fold_processes import epochs_done, run_folds
from edgeosr.training.settings import TrainSettings


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Put a shell script in the place of the process that trains; ``$out`` is the fold's directory."""

    def put(script):
        path = tmp_path / "stub"
        out = 'read -r order; out=$(echo "$order" | sed \'s/.*"out": "\\([^"]*\\)".*/\\1/\')'
        path.write_text(f"#!/bin/sh\n{out}\nmkdir -p $out\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(fold_processes.sys, "executable", str(path))
        monkeypatch.setattr(fold_processes, "LOOK_EVERY_S", 0.01)

    return put


@pytest.fixture
def orders(tmp_path):
    run = TrainSettings(data="digits")
    folds = [Fold(number, (str(number),), ("8", "9"), 5) for number in (1, 2, 3)]
    return [(fold, fold_settings(run, fold, tmp_path / str(fold.number), threads=1)) for fold in folds]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def written(path):
    """The text of a file that a process is about to write."""
    for _ in range(1000):
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{path} was never written")


def test_every_fold_is_done_once_and_no_two_share_a_place(stub, orders, tmp_path, monkeypatch):
    stub('mkdir lock-$GPU && sleep 0.1 && rmdir lock-$GPU && echo $GPU > $out/gpu && echo "{}"')
    done = []
    monkeypatch.chdir(tmp_path)
    run_folds(orders, [{"GPU": "4"}, {"GPU": "7"}], lambda fold: done.append(fold.number))
    assert sorted(done) == [1, 2, 3]
    assert {(tmp_path / str(number) / "gpu").read_text().strip() for number in (1, 2, 3)} == {"4", "7"}


def test_a_fold_hears_its_settings_and_nothing_of_a_launcher(stub, orders, tmp_path, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("KEPT", "yes")
    stub('echo "$order" > $out/order; env > $out/env; echo "{}"')
    run_folds(orders[:1], [{}], lambda fold: None)
    assert json.loads((tmp_path / "1" / "order").read_text()) == as_order(orders[0][1])
    names = {line.partition("=")[0] for line in (tmp_path / "1" / "env").read_text().splitlines()}
    assert "KEPT" in names and "PYTHONSAFEPATH" in names
    assert not names & {"RANK", "LOCAL_RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('echo \'{"error": "the loss became nan"}\'; exit 1', "failed: the loss became nan; the run itself"),
        ("echo 'Traceback ...' >&2; echo 'ValueError: oh' >&2; exit 1", "failed: ValueError: oh; the run"),
        ("kill -9 $$", "failed: signal 9 ended it; the memory may be full"),
        ("echo 'MPI_INIT failed' >&2; kill -6 $$", "failed: signal 6 ended it; MPI_INIT failed; the run"),
        ("exit 3", "failed: it said nothing"),
    ],
)
def test_a_failed_fold_is_told_in_words_with_its_number(stub, orders, script, message):
    stub(f"case $out in */2) {script};; *) echo '{{}}';; esac")
    done = []
    with pytest.raises(TrainingError, match=r"^fold 2 \(without 2\) " + message):
        run_folds(orders, [{}], lambda fold: done.append(fold.number))
    assert done == [1]


def test_what_a_defective_fold_said_is_shown_and_what_a_user_can_meet_is_told_alone(stub, orders, capfd):
    stub("echo 'Traceback of a defect' >&2; exit 1")
    with pytest.raises(TrainingError):
        run_folds(orders, [{}], lambda fold: None)
    assert "Traceback of a defect" in capfd.readouterr().err
    stub('echo noise >&2; echo \'{"error": "no disk"}\'; exit 1')
    with pytest.raises(TrainingError):
        run_folds(orders, [{}], lambda fold: None)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("stubborn", [False, True])
def test_when_one_fails_the_others_are_stopped(stub, orders, tmp_path, monkeypatch, stubborn):
    monkeypatch.setattr(fold_processes, "GRACE_S", 0.2)
    trap = "trap '' TERM; " if stubborn else ""
    wait = "while [ ! -s $out/../2/pid ]; do sleep 0.05; done; exit 3"
    stub(f"case $out in */1) {wait};; *) {trap}echo $$ > $out/pid; while :; do sleep 0.05; done;; esac")
    with pytest.raises(TrainingError, match="fold 1"):
        run_folds(orders[:2], [{}, {}], lambda fold: None)
    assert not alive(int((tmp_path / "2" / "pid").read_text()))


def test_a_fold_that_cannot_be_started_is_told_in_words_and_the_others_are_stopped(
    stub, orders, tmp_path, monkeypatch
):
    stub("echo $$ > $out/pid; while :; do sleep 0.05; done")
    real, begun = subprocess.Popen, []

    def full(*arguments, **named):
        if begun:
            written(tmp_path / "1" / "pid")
            raise BlockingIOError(11, "Resource temporarily unavailable")
        begun.append(real(*arguments, **named))
        return begun[0]

    monkeypatch.setattr(fold_processes.subprocess, "Popen", full)
    with pytest.raises(TrainingError, match=r"^fold 2 .* cannot be started: .*unavailable; the run itself"):
        run_folds(orders, [{}, {}], lambda fold: None)
    assert not alive(int((tmp_path / "1" / "pid").read_text()))


def test_without_room_for_a_temporary_file_it_is_said_too(orders, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fold_processes.tempfile, "TemporaryFile", full)
    with pytest.raises(TrainingError, match=r"fold 1 .* cannot be started: .*No space left"):
        run_folds(orders, [{}], lambda fold: None)


def test_a_log_that_cannot_be_read_is_told_with_its_path(tmp_path):
    assert epochs_done(tmp_path) == 0
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"cannot read .*log\.jsonl"):
        epochs_done(tmp_path)


def test_ctrl_c_stops_every_fold_and_begins_no_other(stub, orders, tmp_path, monkeypatch):
    stub("echo $$ > $out/pid; while :; do sleep 0.05; done")

    def interrupt(seconds):
        pids = [int(written(tmp_path / str(number) / "pid")) for number in (1, 2)]
        assert all(alive(pid) for pid in pids)
        raise KeyboardInterrupt

    monkeypatch.setattr(fold_processes, "time", types.SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        run_folds(orders, [{}, {}], lambda fold: None)
    assert not any(alive(int((tmp_path / str(number) / "pid").read_text())) for number in (1, 2))
    assert not (tmp_path / "3").exists()


def test_a_fold_ends_with_the_process_that_wanted_it(orders, tmp_path):
    """Its standard input ends, whatever became of that process; else this fold would train for days."""
    endless = {**as_order(orders[0][1]), "out": str(tmp_path / "endless")}
    endless["settings"]["epochs"] = 10**6
    worker = subprocess.Popen(
        [sys.executable, "-m", "edgeosr.training.fold_worker"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    worker.stdin.write(json.dumps(endless).encode() + b"\n")
    worker.stdin.close()
    assert worker.wait(60) == 1
    with worker.stderr as words:
        assert words.read() == b""
