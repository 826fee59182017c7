"""What an export says of outliers: what they did, or what they would be worth."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgeosr.bundle.data import OutliersRecord
from edgeosr.bundle.manifest import parse_manifest
from edgeosr.class_figures import class_figures
from edgeosr.class_report import class_report
from edgeosr.export.conformal import conformal_threshold, is_largest
from edgeosr.export.report import OUTLIERS_WORTH, ExportReport

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "core" / "bundle" / "sample_manifest.json"


def report(*, outliers: OutliersRecord | None, auroc: float | None = None, few: str = "", **changed):
    manifest = dataclasses.replace(parse_manifest(SAMPLE.read_bytes()), outliers=outliers, **changed)
    labels = np.repeat(np.arange(len(manifest.classes)), 30)
    figures = class_figures(
        manifest.classes, manifest.threshold, labels=labels, predictions=labels,
        scores=np.full(len(labels), -99.0), groups=np.arange(len(labels)),
    )  # fmt: skip
    return ExportReport(
        path=Path("cats.edgeosr"),
        manifest=manifest,
        select_accuracy=1.0,
        calibrate_accuracy=1.0,
        by_class=class_report(figures, manifest.threshold, part="calibrate part", in_sample=True, needed=19),
        select_auroc=auroc,
        too_few_outliers=few,
    )


def plain(found: ExportReport) -> str:
    return re.sub(r"\s+", " ", found.as_text())


def test_outliers_that_weigh_nothing_did_not_choose_the_weights():
    few = report(outliers=OutliersRecord("others", 10, 10), auroc=0.9, few="the outliers weigh nothing: why")
    assert "outliers weigh nothing: why" in plain(few)
    assert "0.900 between known select images and the outliers; not a test figure" in plain(few)
    assert json.loads(few.as_json())["too_few_outliers"] == "the outliers weigh nothing: why"
    many = report(outliers=OutliersRecord("others", 100, 100), auroc=0.9)
    assert "the outliers that chose the weights; not a test figure" in plain(many)
    assert "none given" not in plain(few) + plain(many)


def test_without_outliers_it_is_said_what_they_were_worth_elsewhere_and_how_to_give_them():
    text = plain(report(outliers=None, training={"arch": "classifier32"}))
    assert "none given; pictures of other things (edgeosr train --outliers FOLDER; 40 or more) " in text
    assert OUTLIERS_WORTH in text
    foreign = plain(report(outliers=None, training=None))
    assert "(edgeosr export MODEL.onnx --data FOLDER --outliers OTHERS; 40 or more)" in foreign


@pytest.mark.parametrize(
    ("groups", "rate", "largest"), [(19, 0.05, True), (38, 0.05, True), (39, 0.05, False), (30, 0.1, False)]
)
def test_a_threshold_that_one_odd_image_sets_is_told(groups: int, rate: float, largest: bool):
    values = np.random.default_rng(0).normal(size=groups).astype(np.float32)
    threshold = conformal_threshold(values, np.arange(groups), rate)
    assert is_largest(threshold, values) == largest == (threshold.value == values.max())
    found = dataclasses.replace(report(outliers=None, threshold=threshold), threshold_is_largest=largest)
    text = plain(found)
    assert json.loads(found.as_json())["threshold_is_largest"] == largest
    assert ("it is the largest score of these groups, so a single odd image sets it" in text) == largest


def test_the_largest_score_of_tracks_is_looked_for_among_the_scores_not_counted_from_groups():
    """A track has several scores, and the largest may be above a threshold of the same number of groups."""
    random, told = np.random.default_rng(0), []
    for _ in range(50):
        groups = np.repeat(np.arange(random.integers(19, 39)), 3)
        values = random.normal(size=len(groups)).astype(np.float32)
        threshold = conformal_threshold(values, groups, 0.05)
        assert is_largest(threshold, values) == (threshold.value == values.max())
        told.append(is_largest(threshold, values))
    assert 0 < sum(told) < 50
    alone = conformal_threshold(values := np.arange(30, dtype=np.float32), np.arange(30), 0.05)
    assert is_largest(alone, values) and not is_largest(alone, np.append(values, np.float32(np.nan)))


def test_what_outliers_are_said_to_be_worth_is_what_was_measured():
    worth = json.loads((ROOT / "bench/results/open-set.json").read_text("utf-8"))["outliers"]
    said = [float(number) for number in re.findall(r"[+-]0\.\d{3}", OUTLIERS_WORTH)]
    measured = [one["with"] - one["without"] for one in worth]
    assert "little or nothing" in OUTLIERS_WORTH and max(measured) < 0.01
    assert [one["protocol"] for one in worth] == ["neu-outliers", "digits-outliers"]
    assert said == pytest.approx(measured, abs=0.0005)


def test_another_cut_of_the_images_is_told_where_it_is_one():
    found = json.loads((ROOT / "bench/results/open-set.json").read_text("utf-8"))
    known = {
        (one["protocol"], one["list"]): one["known"] for one in found["cells"] if one["score"] == "shipped"
    }
    same = all(
        known[worth["protocol"], number] == known[worth["beside"], number]
        for worth in found["outliers"]
        for number in worth["lists"]
    )
    assert ("another cut" in OUTLIERS_WORTH) != same
    assert ("another cut" in (ROOT / "docs/own-images.md").read_text("utf-8")) != same
