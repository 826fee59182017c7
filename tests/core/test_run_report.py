"""The report of a training run, and what it says comes next."""

import json
import shutil
from dataclasses import replace

import pytest

from edgeosr.cli.run_report import RunReport
from edgeosr.errors import DataError, UsageError
from edgeosr.export import calibrated
from edgeosr.export.export_run import export_run
from edgeosr.export.settings import ExportSettings
from edgeosr.training.fold_plan import Fold, FoldPlan, read_plan, require_same_plan, write_plan
from edgeosr.training.train_run import resumed_settings


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
    said = "select accuracy 81.0 %, 1 epoch: far below what the run reaches on these classes, so the export"
    assert f"{said} leaves it out" in text and "for longer folds" not in text
    assert "1 epochs" not in text
    whole = RunReport(with_fold(digits_run, tmp_path / "whole", accuracy=0.948, epochs=12)).as_text()
    assert whole.rstrip().endswith("select accuracy 94.8 %, 12 epochs")


def test_the_way_to_longer_folds_is_one_that_train_accepts(digits_run, tmp_path):
    run = with_fold(digits_run, tmp_path / "a run", accuracy=0.8103, epochs=1)
    known = tuple(json.loads((run / "run.json").read_text())["data"]["known"])
    folds = [Fold(i + 1, known[2 * i : 2 * i + 2], (), 1) for i in range(3)]
    folds = [replace(fold, kept=tuple(set(known) - set(fold.left_out))) for fold in folds]
    write_plan(run, FoldPlan(tuple(folds), 1))
    said = f"remove '{run / 'folds'}' and run: edgeosr train --resume '{run}' --folds 3 --fold-epochs 2"
    assert RunReport(run).as_text().endswith(f"for longer folds {said}")
    # Other epochs than those of a plan that is still there are refused.
    asked = replace(resumed_settings(run, threads=1), folds=3, fold_epochs=2)
    with pytest.raises(UsageError, match="has begun with some of 1 epoch"):
        require_same_plan(read_plan(run, known), asked, run)


def test_a_rate_that_the_images_cannot_promise_is_refused_before_any_is_embedded(digits_run, monkeypatch):
    monkeypatch.setattr(calibrated, "train_features", lambda *arguments, **named: pytest.fail("embedded"))
    with pytest.raises(DataError, match="ask for --false-reject-rate"):
        export_run(digits_run, ExportSettings(false_reject_rate=0.001))
