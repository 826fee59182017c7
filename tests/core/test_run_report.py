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


def test_a_rate_that_the_images_cannot_promise_is_refused_before_any_is_embedded(digits_run, monkeypatch):
    monkeypatch.setattr(calibrated, "train_features", lambda *arguments, **named: pytest.fail("embedded"))
    with pytest.raises(DataError, match="ask for --false-reject-rate"):
        export_run(digits_run, ExportSettings(false_reject_rate=0.001))
