"""Folds of left-out classes beside a run, trained by real processes on a few digits."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch

from edgeosr.cli.run_report import RunReport
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.class_folds import fold_parts
from edgeosr.data.parts import four_parts
from edgeosr.errors import DataError, TrainingError, UsageError
from edgeosr.run import fold_runs, read_run
from edgeosr.training import fold_places, fold_processes, folds
from edgeosr.training.fold_plan import classes_left_out, new_plan
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train import train
from edgeosr.training.train_run import resumed_settings, train_run

KNOWN = ("3", "1", "0", "2")
EPOCHS = 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits_folder):
    """A run with two folds, never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train_run(
        TrainSettings(
            data=str(digits_folder), known=KNOWN, input_size=16, batch_size=16, epochs=EPOCHS,
            rotation_weight=0, fractions=(0.5, 0.3, 0.2), discriminator=False, folds=2, threads=1, out=out,
        )
    )  # fmt: skip


@pytest.fixture
def bare(whole, tmp_path):
    """The same run without its folds, as an older version left it."""
    shutil.copytree(whole, tmp_path / "bare", ignore=shutil.ignore_patterns("folds"))
    return tmp_path / "bare"


@pytest.fixture
def copy(whole, tmp_path):
    """The same run with its folds."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def asked(monkeypatch):
    """What would be trained, in the place of training it."""
    orders = []
    monkeypatch.setattr(folds, "run_folds", lambda wanted, places, done: orders.extend(wanted))
    return orders


def test_a_fold_is_a_whole_run_of_its_own_on_the_run_s_parts_without_the_classes_left_out(whole):
    assert fold_runs(whole) == [whole / "folds" / "1", whole / "folds" / "2"]
    full = read_run(whole)
    parts = four_parts(
        open_image_set(full.data["source"]), known=KNOWN, fractions=tuple(full.data["fractions"])
    )
    left = []
    for path in fold_runs(whole):
        assert sorted(file.name for file in path.iterdir()) == ["log.jsonl", "run.json", "weights.pt"]
        record = read_run(path)
        kept = [name for name in KNOWN if name in record.data["known"]]
        left += set(KNOWN) - set(kept)
        assert record.data["known"] == kept and len(kept) == 2
        expected = fold_parts(open_image_set(full.data["source"]), parts, kept).digests
        assert record.data["digests"] == expected
        assert record.result["epochs"] == 2 * EPOCHS  # half of the images, as many steps
        assert record.discriminator is None
        differing = {key for key, value in record.training.items() if value != full.training[key]}
        assert differing == {"known", "epochs", "devices"}
        assert torch.load(path / "weights.pt", weights_only=True)["weight"].shape[0] == 2
    assert sorted(left) == sorted(KNOWN)


def test_the_record_of_the_run_tells_nothing_of_its_folds(whole):
    assert not re.search('"fold(s|_epochs)"', (whole / "run.json").read_text("utf-8"))


def test_the_report_lists_the_folds(whole):
    text, document = RunReport(whole).as_text(), json.loads(RunReport(whole).as_json())
    assert len(document["folds"]) == 2
    for fold in document["folds"]:
        number = fold["path"][-1]
        left_out = ", ".join(fold["left_out"])
        assert f"fold {number}, trained without {left_out}: select accuracy" in text
        assert fold["epochs"] == 2 * EPOCHS


def test_folds_stopped_halfway_end_with_the_weights_of_folds_that_were_not(bare, whole, monkeypatch, capsys):
    """One is killed after its first epoch, so the other is stopped; the run was trained without folds."""
    monkeypatch.setattr(fold_processes, "LOOK_EVERY_S", 0.01)
    look = fold_processes._Process.new_epochs

    def killed_after_an_epoch(process):
        found = look(process)
        if process.fold.number == 2 and process._epochs:
            process._process.kill()
        return found

    monkeypatch.setattr(fold_processes._Process, "new_epochs", killed_after_an_epoch)
    with pytest.raises(TrainingError, match=r"fold 2 \(without .*signal 9"):
        train(resumed_settings(bare, folds=2, threads=1))
    assert f"edgeosr train --resume {bare}" in capsys.readouterr().err
    second = bare / "folds" / "2"
    assert 1 <= len((second / "log.jsonl").read_text("utf-8").splitlines()) < 2 * EPOCHS
    first_line = (second / "log.jsonl").read_text("utf-8").splitlines()[0]
    (second / ".last.pt.x.part").touch()
    assert (second / "last.pt").exists() and second not in fold_runs(bare)

    monkeypatch.setattr(fold_processes._Process, "new_epochs", look)
    train(resumed_settings(bare, threads=1))
    assert [path.name for path in fold_runs(bare)] == ["1", "2"]
    names = sorted(path.name for path in second.iterdir())
    assert names == ["log.jsonl", "run.json", "weights.pt"]
    assert (second / "log.jsonl").read_text("utf-8").splitlines()[0] == first_line, (
        "begun again, not gone on with"
    )
    for resumed, other in zip(fold_runs(bare), fold_runs(whole), strict=True):
        found, expected = (torch.load(p / "weights.pt", weights_only=True) for p in (resumed, other))
        assert list(found) == list(expected)
        assert all(torch.equal(found[key], expected[key]) for key in found)
        assert read_run(resumed).training == read_run(other).training


def test_after_ctrl_c_it_is_said_how_to_go_on(copy, monkeypatch, capsys):
    (copy / "folds" / "2" / "run.json").unlink()
    monkeypatch.setattr(folds, "run_folds", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train_run(resumed_settings(copy, folds=2))
    said = capsys.readouterr().err.splitlines()[-1]
    go_on = f"to go on with the others: edgeosr train --resume {copy} --folds 2"
    assert said == f"the run is trained, and 1 of its 2 folds is; {go_on}"


def test_what_is_finished_is_not_trained_again(copy, asked, capsys):
    train_run(resumed_settings(copy))
    assert asked == [] and capsys.readouterr().err == ""


def test_what_is_plainly_unfinished_is_begun_again(copy, asked):
    first, _ = fold_runs(copy)
    (first / "run.json").unlink()  # killed in its first epoch
    (first / ".weights.pt.x.part").touch()
    train_run(resumed_settings(copy))
    assert [(fold.number, settings.resume) for fold, settings in asked] == [(1, False)]
    assert not first.exists()


def swap(folder):
    shutil.rmtree(folder / "2")
    shutil.copytree(folder / "1", folder / "2")


def other_images(folder):
    path = folder / "2" / "run.json"
    record = json.loads(path.read_text("utf-8"))
    record["data"]["digests"]["train"] = "0" * 64
    path.write_text(json.dumps(record))


def a_strange_file(folder):
    (folder / "2" / "run.json").rename(folder / "2" / "photo.png")


def a_damaged_checkpoint(folder):
    (folder / "2" / "run.json").rename(folder / "2" / "last.pt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (a_damaged_checkpoint, r"2 was begun as another fold, or its last\.pt is damaged"),
        (swap, r"2 is not fold 2 \(without .*it knows"),
        (other_images, r"2 is not fold 2 .*of other images"),
        (lambda folder: (folder / "2" / "weights.pt").unlink(), r"2 is not fold 2 "),
        (lambda folder: shutil.copytree(folder / "1", folder / "3"), r"3 is none of the 2 folds"),
        (a_strange_file, r"holds photo\.png, which no fold leaves there"),
        (lambda folder: (folder / "plan.json").write_text("[]"), r"plan\.json is no plan of folds"),
    ],
)
def test_folds_that_are_not_the_run_s_are_refused_with_what_to_do(copy, asked, damage, message):
    damage(copy / "folds")
    with pytest.raises(DataError, match=rf"{message}.*; remove .*folds and run: edgeosr train --resume"):
        train_run(resumed_settings(copy))
    assert asked == []


def test_without_the_plan_the_directories_still_tell_what_is_there(copy, asked):
    (copy / "folds" / "plan.json").unlink()
    train_run(resumed_settings(copy, folds=2))
    assert asked == []


def test_folds_0_leaves_unfinished_ones_alone(copy, asked):
    (copy / "folds" / "1" / "run.json").unlink()
    plan = (copy / "folds" / "plan.json").read_bytes()
    train_run(resumed_settings(copy, folds=0))
    assert asked == [] and (copy / "folds" / "plan.json").read_bytes() == plan


def test_a_run_made_without_folds_gets_none_by_resuming_until_they_are_asked_for(bare, asked, capsys):
    train_run(resumed_settings(bare, folds=0))
    train_run(resumed_settings(bare))
    assert asked == [] and capsys.readouterr().err == ""
    train_run(resumed_settings(bare, folds=2))
    assert [fold.number for fold, _ in asked] == [1, 2]


def test_a_fold_that_is_resumed_gets_no_folds_of_its_own(copy, asked):
    fold = fold_runs(copy)[0]
    train_run(resumed_settings(fold))
    assert asked == [] and not (fold / "folds").exists()


def test_without_images_enough_no_fold_is_trained_and_it_is_said_in_one_line(
    settings, changed, asked, capsys
):
    run = train_run(changed(settings, epochs=1, folds=None))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "folds" in line]
    assert re.match("no folds: without . there are . select images of the others", line)
    assert asked == [] and not (run / "folds").exists()
    with pytest.raises(UsageError, match="too few images in 3 of 3 folds"):
        train_run(resumed_settings(run, folds=3))


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID"])
def test_under_a_launcher_the_first_process_alone_trains_the_folds(bare, asked, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    train_run(resumed_settings(bare, folds=2))
    assert asked == []
    monkeypatch.setenv(name, "0")
    train_run(resumed_settings(bare, folds=2))
    assert len(asked) == 2


def test_two_processes_never_finish_the_same_run_and_a_dead_one_holds_nobody_up(bare, asked):
    lock = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(1)"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{lock}; sys.stdout.flush(); sys.stdin.read()", str(bare)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with other:
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(TrainingError, match=r"another process is training the folds .*bare; .*wait"):
            train_run(resumed_settings(bare, folds=2))
        assert asked == []
        other.kill()
    train_run(resumed_settings(bare, folds=2))
    assert len(asked) == 2


def test_fewer_than_three_classes_have_no_folds_and_it_is_said_in_one_line(settings, changed, asked, capsys):
    run = train_run(changed(settings, known=("0", "1"), epochs=1, folds=None))
    lines = [line for line in capsys.readouterr().err.splitlines() if "folds" in line]
    assert lines == ["no folds: leaving classes out needs 3 known classes, and there are 2"]
    assert asked == [] and not (run / "folds").exists()


def test_by_default_three_folds_are_planned_and_their_cost_is_said_first(bare, asked, capsys):
    train_run(resumed_settings(bare))
    assert len(asked) == 3
    line = next(line for line in capsys.readouterr().err.splitlines() if "folds" in line)
    assert re.search(
        r"training 3 folds: .* without .* \| .*epochs each, .*: about .*; --folds 0 for none", line
    )


def test_a_fold_takes_about_the_run_s_number_of_steps(bare):
    record = read_run(bare)
    images = {"3": 10, "1": 30, "0": 20, "2": 40}
    settings = resumed_settings(bare, folds=4)
    left_out = classes_left_out(settings, KNOWN)
    for fold in new_plan(left_out, settings, record, images, 1).folds:
        kept = sum(images[name] for name in fold.kept)
        assert 0 <= fold.epochs * kept - EPOCHS * 100 < kept
    short = resumed_settings(bare, folds=4, fold_epochs=3)
    assert {fold.epochs for fold in new_plan(left_out, short, record, images, 1).folds} == {3}


@pytest.mark.parametrize(("given", "threads"), [(None, 2), (5, 1), (7, 2), (1, 1)])
def test_side_by_side_folds_share_the_processors(bare, asked, monkeypatch, given, threads):
    for module in (folds, fold_places):
        monkeypatch.setattr(module, "usable_processors", lambda: 8)
    monkeypatch.setattr(folds, "threads_for", lambda settings: 4)
    train_run(resumed_settings(bare, folds=3, threads=given))
    assert {settings.threads for _, settings in asked} == {threads}
    for module in (folds, fold_places):
        monkeypatch.setattr(module, "usable_processors", lambda: 64)
    train_run(resumed_settings(bare, threads=given))
    assert {settings.threads for _, settings in asked[3:]} == {threads}, "as it began"


def test_folds_that_fail_on_a_shared_gpu_are_told_how_to_have_it_alone(bare, monkeypatch, capsys):
    def failed(orders, where, done):
        raise TrainingError("fold 1 failed: CUDA out of memory")

    monkeypatch.setattr(folds, "run_folds", failed)
    for where, words in (
        ([{"CUDA_VISIBLE_DEVICES": "0"}] * 2, True),
        ([{"CUDA_VISIBLE_DEVICES": "0"}], False),
    ):
        monkeypatch.setattr(folds, "places", lambda count, settings, result, where=where: where)
        with pytest.raises(TrainingError, match="out of memory"):
            train_run(resumed_settings(bare, folds=2))
        assert ("if memory was short: --devices 1)" in capsys.readouterr().err) is words
