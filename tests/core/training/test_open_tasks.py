"""What a run's discriminator is tried on: classes that its own network, or its folds', never saw."""

import dataclasses
import functools
import json
import shutil

import numpy as np
import pytest

from edgeosr.data.decode import Decoded
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.run import fold_identity, fold_runs, read_discriminator, read_run
from edgeosr.training import discriminator, finish, open_tasks, opengan_settings
from edgeosr.training.discriminator import add_discriminator
from edgeosr.training.discriminator_choice import OpenTask
from edgeosr.training.open_tasks import RunNetwork, left_out_tasks
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train import train
from edgeosr.training.train_run import resumed_settings

KNOWN = ("3", "1", "0", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits_folder):
    """A run with two folds."""
    return train(
        TrainSettings(
            data=str(digits_folder), known=KNOWN, input_size=16, batch_size=16, epochs=8, rotation_weight=0.0,
            fractions=(0.5, 0.3, 0.2), discriminator=False, folds=2, threads=1,
            out=tmp_path_factory.mktemp("runs") / "trained",
        )
    )  # fmt: skip


@pytest.fixture
def folded(trained, tmp_path):
    """A copy of it, to write into."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def quick(monkeypatch):
    """Few OpenGAN steps."""
    few = functools.partial(opengan_settings.OpenGanSettings, epochs=2, steps=3)
    monkeypatch.setattr(opengan_settings, "OpenGanSettings", few)


def wanted(run, **circumstances):
    """How to resume the run, now with a discriminator."""
    return dataclasses.replace(resumed_settings(run, threads=1, **circumstances), discriminator=True)


def refused(*arguments, **named):
    raise AssertionError("the discriminator is trained again")


def test_folds_choose_the_discriminator_and_keep_their_own(folded, quick):
    record = add_discriminator(folded)
    assert record.discriminator["selected_by"] == "left-out classes"
    assert set(record.discriminator["tried_lambda_g"]) == {"0.2", "1"}
    for fold in fold_runs(folded):
        assert len(read_discriminator(fold)) == 5
        assert read_run(fold).discriminator["selected_by"] == "left-out classes"
    assert record.discriminator["folds"] == [fold_identity(read_run(fold)) for fold in fold_runs(folded)]


@pytest.mark.parametrize("stopped_at", [1, 2])
def test_the_run_s_own_is_written_first_and_a_later_resume_completes_the_folds(
    folded, quick, monkeypatch, stopped_at
):
    real, written = discriminator.write_discriminator, []

    def stopped(directory, *arguments, **named):
        if len(written) == stopped_at:
            raise KeyboardInterrupt
        written.append(directory)
        return real(directory, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(discriminator, "write_discriminator", stopped)
        with pytest.raises(KeyboardInterrupt):
            add_discriminator(folded)
    assert written[0] == folded
    train(wanted(folded))
    assert all(read_run(run).discriminator is not None for run in (folded, *fold_runs(folded)))


def test_folds_trained_anew_choose_the_discriminator_anew_and_then_no_more(folded, quick, monkeypatch):
    """After ``folds/`` was removed, or where they came later than a choice by synthetic images."""
    add_discriminator(folded)
    for fold in fold_runs(folded):
        document = json.loads((fold / "run.json").read_text())
        document.update(created="2031-01-01T00:00:00+00:00", discriminator=None)
        (fold / "run.json").write_text(json.dumps(document))
        (fold / "discriminator.npz").unlink()
    train(wanted(folded))
    assert all(read_run(fold).discriminator is not None for fold in fold_runs(folded))
    chosen_by = read_run(folded).discriminator["folds"]
    assert {fold["created"] for fold in chosen_by} == {"2031-01-01T00:00:00+00:00"}
    monkeypatch.setattr(finish, "add_discriminator", refused)
    train(wanted(folded))


@pytest.mark.parametrize("damage", ["collapsed", "few images", "removed"])
def test_without_a_usable_fold_a_resume_trains_no_discriminator_again(folded, quick, monkeypatch, damage):
    add_discriminator(folded)
    for fold in fold_runs(folded):
        document = json.loads((fold / "run.json").read_text())
        if damage == "collapsed":
            document["result"]["select_accuracy"] = 0.5
        elif damage == "few images":
            document["data"]["sizes"]["select"][0] = 7
        (fold / "run.json").write_text(json.dumps(document))
    if damage == "removed":
        shutil.rmtree(folded / "folds")
    monkeypatch.setattr(finish, "add_discriminator", refused)
    train(wanted(folded, folds=0))


def test_a_discriminator_stays_as_long_as_the_folds_that_chose_it_are_there_whatever_counts_today(
    folded, quick, monkeypatch, capsys
):
    first, second = fold_runs(folded)
    document = json.loads((second / "run.json").read_text())
    real = document["result"]["select_accuracy"]
    for accuracy in (0.1, real):
        document["result"]["select_accuracy"] = accuracy
        (second / "run.json").write_text(json.dumps(document))
        if accuracy != real:
            add_discriminator(folded)
            assert read_run(folded).discriminator["folds"] == [fold_identity(read_run(first))]
    assert len(open_tasks.usable_folds(folded, read_run(folded))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(finish, "add_discriminator", refused)
        train(wanted(folded))
    shutil.rmtree(first)
    capsys.readouterr()
    train(wanted(folded, folds=0))
    assert "trained anew: other folds than those that chose it can choose now" in capsys.readouterr().err
    assert read_run(folded).discriminator["folds"] == [fold_identity(read_run(second))]


def test_a_fold_s_task_holds_its_own_embeddings_and_the_classes_it_never_saw(folded):
    network = RunNetwork(folded)
    _, parts = reopen_parts(data_record(network.record.data, "run.json"))
    train_part, select = network.decoded(parts.train, ""), network.decoded(parts.select, "")
    full = OpenTask(
        known_train=network.embeddings(train_part.pixels, ""),
        known_select=network.embeddings(select.pixels, ""),
        open_select=None,
        kind="left-out classes",
    )
    found = left_out_tasks(folded, network.record, full, train_part, select)
    assert [one.run for one in found] == fold_runs(folded)
    for one in found:
        kept = [KNOWN.index(name) for name in read_run(one.run).data["known"]]
        inside = np.isin(train_part.labels, kept)
        own = RunNetwork(one.run)
        np.testing.assert_array_equal(one.task.known_train, own.embeddings(train_part.pixels[inside], ""))
        assert len(one.task.open_select) == np.sum(~inside) + np.sum(~np.isin(select.labels, kept))


def test_a_frozen_backbone_s_task_leaves_classes_out_of_the_same_embeddings(folded):
    record = read_run(folded)
    frozen = {**record.training, "freeze": True}
    rows = np.arange(40 * 3, dtype=np.float32).reshape(40, 3)
    labels = np.arange(40) % 4
    every = np.arange(40)
    part = Decoded(np.zeros((40, 1, 1, 3), np.uint8), labels, groups=every, kept=every, skipped=[])
    full = OpenTask(known_train=rows, known_select=-rows, open_select=None, kind="left-out classes")
    record = dataclasses.replace(record, training=frozen)
    found = left_out_tasks(folded, record, full, part, part)
    assert len(found) == 3 and all(one.run is None for one in found)
    seen = 0
    for one in found:
        known = {row.tobytes() for row in one.task.known_train}
        open_rows = {row.tobytes() for row in one.task.open_select[: len(rows) - len(known)]}
        assert not known & open_rows and known | open_rows == {row.tobytes() for row in rows}
        seen += len(open_rows)
    assert seen == len(rows)


def test_a_collapsed_fold_chooses_nothing(folded):
    record = read_run(folded)
    for fold in fold_runs(folded):
        document = json.loads((fold / "run.json").read_text())
        document["result"]["select_accuracy"] = 0.5
        (fold / "run.json").write_text(json.dumps(document))
    record = dataclasses.replace(record, result={**record.result, "select_accuracy": 1.0})
    assert open_tasks.usable_folds(folded, record) == []
