"""A run looks for copies once: its folds take the groups that it recorded."""

from dataclasses import replace

import pytest

from edgeosr.cli.run_report import RunReport
from edgeosr.data import grouping
from edgeosr.errors import DataError, UsageError
from edgeosr.preprocessing import Preprocessing
from edgeosr.run import RunRecord, write_run
from edgeosr.training.open_data import open_parts
from edgeosr.training.settings import settings_from_json


def recorded(settings, parts):
    """A finished run with these parts, of which nothing was trained."""
    settings.out.mkdir(parents=True)
    write_run(
        settings.out,
        RunRecord(
            name="run", created="2026-01-31T12:00:00Z", version="0.1.0", outliers=None,
            data=parts.record(settings.data, "digits").as_json(),
            model={
                "arch": settings.arch, "input_size": 16, "dimension": 4, "head": "cosine",
                "temperature": 32.0, "pretrained": False,
            },
            preprocessing=Preprocessing(height=16, width=16),
            training=settings.as_json(),
            result={
                "epochs": 1, "best_epoch": 1, "select_accuracy": 1.0, "seconds": 1.0,
                "images_per_second": 1.0, "device": "CPU", "precision": "32-true",
            },
        ),
    )  # fmt: skip


def test_a_fold_is_cut_by_the_groups_of_its_run_without_a_look(settings, monkeypatch):
    _, parts = open_parts(settings)
    recorded(settings, parts)
    monkeypatch.setattr(grouping, "fingerprints", None)
    monkeypatch.setattr(grouping, "_SEEN", {})
    fold = replace(settings, out=settings.out / "folds" / "1", known=("0", "2"))
    image_set, own = open_parts(fold)
    assert own.grouping == parts.grouping == image_set.grouping
    with pytest.raises(TypeError, match="NoneType"):
        open_parts(replace(settings, out=settings.out.parent / "another"))


def test_groups_that_are_asked_for_are_recorded_and_reported(settings):
    # Images of even numbers belong together across the classes.
    settings = replace(settings, groups=r"/(0.[02468])\.png")
    with pytest.raises(UsageError, match="has 2 groups"):
        open_parts(replace(settings, groups="(.)(.)"))
    _, parts = open_parts(settings)
    recorded(settings, parts)
    assert parts.grouping.rule == settings.groups
    assert parts.grouping.described() in RunReport(settings.out).as_text()
    assert settings_from_json(settings.as_json()).groups == settings.groups


def test_settings_without_groups_read_as_before_there_were_any(settings):
    assert "groups" not in settings.as_json()
    assert settings_from_json(settings.as_json()).groups is None


def test_groups_that_no_bundle_can_keep_are_refused_before_training(settings, monkeypatch):
    settings = replace(settings, groups=r"/(0.)[02468]\.png")
    _, parts = open_parts(settings)
    size = sum(map(len, parts.grouping.train_ids))
    monkeypatch.setattr(grouping, "LARGEST_IDS", size)
    open_parts(settings)
    monkeypatch.setattr(grouping, "LARGEST_IDS", size - 1)
    with pytest.raises(DataError, match=f"the 120 images of .* take {size} characters to keep; at most"):
        open_parts(settings)
