"""Whole runs on a few real digits: what they leave, how they end, and how they go on."""

import itertools
import json
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import edgeosr.training.loop as loop
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.decode import decode_images
from edgeosr.data.parts import four_parts
from edgeosr.errors import DataError, StorageError, TrainingError, UsageError
from edgeosr.model.classifier import load_classifier
from edgeosr.run import read_run
from edgeosr.training.augmentation import pixel_statistics
from edgeosr.training.train import train
from edgeosr.training.train_run import resumed_settings


def state_of(run):
    return torch.load(run / "weights.pt", weights_only=True)


def interrupt_in_epoch(monkeypatch, number, error=KeyboardInterrupt):
    """Make the epoch with this 1-based number end in an exception, like Ctrl-C in its middle."""
    real = loop.train_epoch

    def interrupted(*arguments, **named):
        if named["epoch"] == number - 1:
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(loop, "train_epoch", interrupted)


def test_a_run_records_what_was_trained_and_its_weights_give_the_recorded_accuracy(settings):
    run = train(settings)
    assert sorted(path.name for path in run.iterdir()) == ["folds", "log.jsonl", "run.json", "weights.pt"]
    assert [path.name for path in (run / "folds").iterdir()] == ["plan.json"]  # that there are to be none
    record = read_run(run)
    assert record.data["known"] == ["0", "1", "2"]
    assert record.data["unknown"] == ["3", "4"]
    assert record.model == {
        "arch": "classifier32",
        "input_size": 16,
        "dimension": 128,
        "head": "cosine",
        "temperature": 32.0,
        "pretrained": False,
    }
    assert record.result["epochs"] == 4
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["epoch"] for line in log] == [1, 2, 3, 4]
    best = max(line["select_accuracy"] for line in log)
    assert record.result["select_accuracy"] == best
    assert log[record.result["best_epoch"] - 1]["select_accuracy"] == best

    parts = four_parts(open_image_set(settings.data), known=settings.known)
    assert record.data["digests"] == parts.digests
    select = decode_images(parts.select, record.preprocessing, description="")
    scaled = select.pixels.astype(np.float32) / 255
    inputs = (scaled - np.array(record.preprocessing.mean)) / np.array(record.preprocessing.std)
    logits = load_classifier(run)(torch.tensor(inputs.transpose(0, 3, 1, 2), dtype=torch.float32))
    accuracy = (logits.argmax(1).numpy() == select.labels).mean()
    assert accuracy == pytest.approx(best)


def test_training_learns_real_digits(settings, changed):
    run = train(changed(settings, epochs=15, lr=0.02, rotation_weight=0.0))
    assert read_run(run).result["select_accuracy"] >= 0.8  # 1 of 3 by chance; 7 images


def test_normalisation_comes_from_the_known_train_pixels_alone(settings, changed):
    run = train(changed(settings, epochs=1))
    record = read_run(run)
    parts = four_parts(open_image_set(settings.data), known=settings.known)
    pixels = decode_images(parts.train, record.preprocessing, description="").pixels / 255.0
    np.testing.assert_allclose(record.preprocessing.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(record.preprocessing.std, pixels.std((0, 1, 2)), atol=1e-6)


def test_a_constant_channel_can_be_divided_by():
    pixels = np.full((2, 4, 4, 3), 51, np.uint8)
    assert pixel_statistics(pixels) == ((0.2, 0.2, 0.2), (0.003922, 0.003922, 0.003922))


FROZEN = {"arch": "efficientnet-lite0", "input_size": 32, "pretrained": True, "freeze": True}


@pytest.mark.parametrize("different", [{"rotation_weight": 0.0}, {"rotation_weight": 0.1}, FROZEN])
def test_a_run_stopped_by_ctrl_c_and_resumed_equals_one_that_was_not(
    settings, changed, monkeypatch, capsys, tmp_path, different
):
    settings = changed(settings, **different)
    whole = train(settings)
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(changed(settings, out=stopped))
    assert f"edgeosr train --resume {stopped}" in capsys.readouterr().err
    assert not (stopped / "run.json").exists()
    with pytest.raises(DataError, match="not finished"):
        read_run(stopped)
    torch.manual_seed(12345)  # whatever the process did in between
    assert train(resumed_settings(stopped, threads=1, folds=0)) == stopped
    first, second = state_of(whole), state_of(stopped)
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)

    def log(run):
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
        return [{k: v for k, v in line.items() if "second" not in k} for line in lines]

    assert log(whole) == log(stopped)
    assert read_run(whole).training == read_run(stopped).training
    assert read_run(whole).preprocessing == read_run(stopped).preprocessing


def test_two_runs_with_one_seed_are_equal_and_with_another_seed_are_not(settings, changed, tmp_path):
    settings = changed(settings, epochs=1)
    first = state_of(train(settings))
    same = state_of(train(changed(settings, out=tmp_path / "same")))
    other = state_of(train(changed(settings, seed=1, out=tmp_path / "other")))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["weight"], other["weight"])


def test_ctrl_c_before_the_first_epoch_leaves_nothing(settings, monkeypatch, capsys):
    interrupt_in_epoch(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train(settings)
    assert not settings.out.exists()
    assert "nothing was kept" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(settings, monkeypatch):
    real = loop.train_epoch

    def poisoned(fabric, objective, *arguments, **named):
        if named["epoch"] == 2:
            with torch.no_grad():
                objective.module.classifier.weight.fill_(float("nan"))
        return real(fabric, objective, *arguments, **named)

    monkeypatch.setattr(loop, "train_epoch", poisoned)
    with pytest.raises(TrainingError, match=r"(?s)the loss became nan in epoch 3.*smaller lr"):
        train(settings)
    kept = torch.load(settings.out / "last.pt", weights_only=True)
    assert kept["progress"]["epochs"] == 2
    assert all(torch.isfinite(value).all() for value in kept["objective"].values())
    assert all(torch.isfinite(value).all() for value in state_of(settings.out).values())


def test_a_hopeless_learning_rate_ends_in_that_error_and_leaves_nothing(settings, changed):
    with pytest.raises(TrainingError, match="smaller lr"):
        train(changed(settings, lr=1e30))
    assert not (settings.out / "run.json").exists()


def test_a_cap_of_time_ends_the_run_early_and_annealed(settings, changed, monkeypatch):
    # The loop's own clock ticks a tenth of a second a look, so that a slow machine changes nothing.
    ticks = itertools.count()
    clock = types.SimpleNamespace(monotonic=lambda: next(ticks) / 10)
    monkeypatch.setattr(loop, "time", clock)
    run = train(changed(settings, epochs=100_000, max_minutes=0.05, rotation_weight=0.0))
    result = read_run(run).result
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    assert 3 <= result["epochs"] <= 20
    assert result["seconds"] <= 3.0
    rates = [line["learning_rate"] for line in log]
    assert rates[-1] < settings.lr * 0.1
    assert rates == sorted(rates, reverse=True)


def test_a_run_is_not_written_over_another(settings, changed):
    settings = changed(settings, epochs=1)
    run = train(settings)
    before = (run / "run.json").read_bytes()
    with pytest.raises(UsageError, match="exists and is not empty"):
        train(settings)
    assert (run / "run.json").read_bytes() == before


def test_an_unfinished_run_is_offered_to_be_resumed(settings, monkeypatch):
    interrupt_in_epoch(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(settings)
    with pytest.raises(UsageError, match="edgeosr train --resume"):
        train(settings)


def test_a_run_is_not_resumed_with_other_settings_or_images(
    settings, changed, monkeypatch, digits_folder, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(digits_folder, copy)
    settings = changed(settings, data=str(copy))
    with monkeypatch.context() as patch:
        interrupt_in_epoch(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    with pytest.raises(UsageError, match=r"started with lr 0\.01, now it is 0\.02"):
        train(changed(settings, lr=0.02, resume=True))
    shutil.copy(copy / "0" / "000.png", copy / "0" / "more.png")
    with pytest.raises(DataError, match="images of the run to resume have changed"):
        train(changed(settings, resume=True))


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused(settings, monkeypatch, damage):
    interrupt_in_epoch(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train(settings)
    last = settings.out / "last.pt"
    last.write_bytes(last.read_bytes()[:-2000] if damage is None else damage)
    with pytest.raises(DataError, match=r"last\.pt is damaged"):
        resumed_settings(settings.out)


@pytest.mark.parametrize("step", [0, 1, 4])
def test_a_run_killed_after_any_file_of_its_first_or_last_epoch_goes_on_as_if_it_had_not(
    settings, changed, monkeypatch, tmp_path, step
):
    class Killed(BaseException):
        pass

    settings = changed(settings, epochs=2)
    whole = train(settings)
    killed = tmp_path / "killed"
    left = step + 1

    def counted(real):
        def write(*arguments, **named):
            nonlocal left
            left -= 1
            if not left:
                (killed / ".last.pt.x1.part").touch()  # what the first write that was cut off leaves
                raise Killed
            return real(*arguments, **named)

        return write

    with monkeypatch.context() as patch:
        for name in ("write_tensors", "write_checkpoint", "write_text"):
            patch.setattr(loop, name, counted(getattr(loop, name)))
        with pytest.raises(Killed):
            train(changed(settings, out=killed))
    again = step > 0  # the checkpoint is written first
    assert (killed / "last.pt").exists() == again
    train(resumed_settings(killed, threads=1, folds=0) if again else changed(settings, out=killed))
    assert sorted(path.name for path in killed.iterdir()) == ["folds", "log.jsonl", "run.json", "weights.pt"]
    first, second = state_of(whole), state_of(killed)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert len((killed / "log.jsonl").read_text("utf-8").splitlines()) == 2


def test_a_run_killed_when_it_was_done_is_cleared_of_its_checkpoint_when_it_is_resumed(settings, changed):
    run = train(changed(settings, epochs=1))
    (run / "last.pt").touch()
    train(resumed_settings(run, threads=1, folds=0))
    assert not (run / "last.pt").exists()


def test_a_run_whose_folder_is_removed_meanwhile_ends_and_leaves_nothing_that_looks_whole(
    settings, monkeypatch
):
    real = loop.train_epoch

    def removing(*arguments, **named):
        if named["epoch"] == 2:
            shutil.rmtree(settings.out)
        return real(*arguments, **named)

    monkeypatch.setattr(loop, "train_epoch", removing)
    with pytest.raises(StorageError, match="was removed or emptied while it was trained"):
        train(settings)
    assert not (settings.out / "run.json").exists()


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(UsageError, match="nothing to resume"):
        resumed_settings(tmp_path)


def test_damaged_weights_are_refused(settings, changed):
    run = train(changed(settings, epochs=1))
    weights = run / "weights.pt"
    whole = weights.read_bytes()
    for damaged in (b"", b"x" * 100, whole[: len(whole) // 2]):
        weights.write_bytes(damaged)
        with pytest.raises(DataError, match=r"weights\.pt"):
            load_classifier(run)


def test_without_out_the_run_gets_a_name_of_its_own(settings, changed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = changed(settings, epochs=1, out=None)
    names = [train(settings), train(settings)]
    base = f"runs/{Path(settings.data).name}-classifier32-movr"
    assert [str(name) for name in names] == [base, base + "-2"]


def test_cross_entropy_trains_a_linear_head(settings, changed):
    run = train(changed(settings, loss="ce", epochs=1))
    assert read_run(run).model["head"] == "linear"
    assert load_classifier(run).head == "linear"


def test_a_frozen_backbone_is_left_as_it_was_and_embeds_every_image_once(settings, changed, monkeypatch):
    from edgeosr.model.catalogue import build_backbone
    from edgeosr.model.efficientnet_lite0 import EfficientNetLite0

    passes = []
    real = EfficientNetLite0.forward
    monkeypatch.setattr(EfficientNetLite0, "forward", lambda self, x: passes.append(len(x)) or real(self, x))
    run = train(changed(settings, **FROZEN, epochs=20))
    record = read_run(run)
    sizes = record.data["sizes"]
    assert sum(passes) == sizes["train"][0] + sizes["select"][0]
    pretrained = build_backbone("efficientnet-lite0", 32, pretrained=True).state_dict()
    trained = load_classifier(run).backbone.state_dict()
    assert all(torch.equal(trained[key], pretrained[key]) for key in pretrained)
    assert record.preprocessing.mean == (0.485, 0.456, 0.406)
    assert record.result["select_accuracy"] > 0.6
