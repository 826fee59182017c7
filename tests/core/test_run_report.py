"""The report of a training run, and what it says comes next."""

import json
import shutil

import pytest

from edgeosr.cli.run_report import RunReport
from edgeosr.errors import DataError
from edgeosr.export import calibrated
from edgeosr.export.export_run import export_run
from edgeosr.export.settings import ExportSettings


def test_few_images_name_the_rate_that_they_can_promise(digits_run, tmp_path):
    assert RunReport(digits_run).export_options == ()
    few = tmp_path / "few"
    shutil.copytree(digits_run, few)
    record = json.loads((few / "run.json").read_text())
    record["data"]["sizes"]["calibrate"] = [15, 15]
    (few / "run.json").write_text(json.dumps(record))
    assert RunReport(few).export_options == ("--false-reject-rate", "0.063")


def with_fold(run, folder, *, accuracy: float, epochs: int):
    """Return a copy of a run of 6 digits at 96.6 %, with one fold that knows 4 of them."""
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    record["result"] |= {"select_accuracy": 0.966, "epochs": 1}
    (folder / "run.json").write_text(json.dumps(record))
    fold = folder / "folds" / "1"
    shutil.copytree(run, fold, ignore=shutil.ignore_patterns("folds", "*.edgeosr"))
    record["data"] |= {"known": record["data"]["known"][:4]}
    record["result"] |= {"select_accuracy": accuracy, "epochs": epochs}
    (fold / "run.json").write_text(json.dumps(record))
    return folder


def test_a_fold_after_one_epoch_is_said_to_count_for_nothing_and_one_is_no_plural(digits_run, tmp_path):
    assert len(json.loads((digits_run / "run.json").read_text())["data"]["known"]) == 6
    text = RunReport(with_fold(digits_run, tmp_path / "short", accuracy=0.8103, epochs=1)).as_text()
    assert "select accuracy 81.0 %, 1 epoch: far below the run's own, so the export leaves it out" in text
    assert "1 epochs" not in text
    whole = RunReport(with_fold(digits_run, tmp_path / "whole", accuracy=0.948, epochs=12)).as_text()
    assert whole.rstrip().endswith("select accuracy 94.8 %, 12 epochs")


def test_a_rate_that_the_images_cannot_promise_is_refused_before_any_is_embedded(digits_run, monkeypatch):
    monkeypatch.setattr(calibrated, "train_features", lambda *arguments, **named: pytest.fail("embedded"))
    with pytest.raises(DataError, match="ask for --false-reject-rate"):
        export_run(digits_run, ExportSettings(false_reject_rate=0.001))
