"""The text of an evaluation: estimate and truth side by side, other thresholds, and plain warnings."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgeosr.bench.quality_graph import MeasuredGraph
from edgeosr.bench.quality_report import PartRow, QualityReport
from edgeosr.bench.trade_off import TradeOffRow
from edgeosr.bundle.data import OutliersRecord
from edgeosr.bundle.left_out import FalseAccepts, FoldRecord, LeftOutRecord
from edgeosr.bundle.manifest import Manifest, parse_manifest
from edgeosr.class_figures import class_figures
from edgeosr.class_report import ClassReport, class_report
from edgeosr.data.outlier_weighing import WEIGH_NOTHING
from edgeosr.metrics import OpenSetMetrics, Rate
from edgeosr.scoring.thresholds import ClassThreshold

SAMPLE = Path(__file__).parents[1] / "core" / "bundle" / "sample_manifest.json"
RECORD = LeftOutRecord(
    parts=("movr_loss", "max_logit"),
    auroc=(0.93, 0.9),
    spread=(0.02, 0.05),
    strength=0.5,
    false_accepts=(
        FalseAccepts(false_reject=0.05, mean=0.2, low=0.1, high=0.3, folds=2),
        FalseAccepts(false_reject=0.1, mean=0.15, low=0.1, high=0.25, folds=2),
    ),
    folds=(
        FoldRecord(classes=("zero",), accuracy=0.98, known=40, unknown=90, auroc=0.94, dropped=""),
        FoldRecord(classes=("one",), accuracy=0.97, known=50, unknown=60, auroc=0.92, dropped=""),
        FoldRecord(classes=("三",), accuracy=0.3, known=50, unknown=60, auroc=None, dropped="collapsed"),
    ),
)


def by_class(manifest: Manifest, *, rejected: int = 1) -> ClassReport:
    """Thirty images of each class, all named right; ``rejected`` of the first are above the threshold."""
    labels = np.repeat(np.arange(len(manifest.classes)), 30)
    figures = class_figures(
        manifest.classes,
        manifest.threshold,
        labels=labels,
        predictions=labels,
        scores=np.where(np.arange(len(labels)) < rejected, 99.0, -99.0),
        groups=np.arange(len(labels)),
    )
    return class_report(figures, manifest.threshold, part="test images", in_sample=False, needed=19)


def report(
    *, auroc: float = 0.9, accepted: float = 0.3, record: LeftOutRecord | None = None
) -> QualityReport:
    manifest = dataclasses.replace(parse_manifest(SAMPLE.read_bytes()), left_out=record, outliers=None)
    rate = Rate(value=accepted, low=accepted - 0.01, high=min(1.0, accepted + 0.01), samples=90)
    metrics = OpenSetMetrics(
        known=100,
        unknown=90,
        auroc=auroc,
        aupr_unknown_positive=0.5,
        aupr_known_positive=0.5,
        fpr_at_95_tpr_known_positive=0.5,
        fpr_at_95_tpr_unknown_positive=0.5,
        oscr=0.5,
        autc=None,
        closed_accuracy=0.9,
        threshold=1.25,
        macro_f1=0.5,
        false_reject=Rate(value=0.04, low=0.01, high=0.1, samples=100),
        false_accept=rate,
    )
    rows = [PartRow(name=name, metrics=metrics) for name in ("fused", *manifest.parts)]
    return QualityReport(
        bundle="cats.edgeosr",
        created="2026-01-31T12:00:00Z",
        edgeosr="0.1.0",
        known="digits",
        unknown="digits, classes 6, 7",
        skipped=0,
        rows=tuple(rows),
        by_class=by_class(manifest),
        trade_off=tuple(
            TradeOffRow(at_most=at, threshold=1.5, false_reject=rate, false_accept=rate)
            for at in (0.02, 0.05, 0.1)
        ),
        graph=MeasuredGraph(
            file="model.onnx",
            backend="onnxruntime",
            runs="1.32.0, float32",
            sha256="0" * 64,
            fusion=manifest.fusion,
            threshold=manifest.threshold,
            note="",
        ),
        manifest=manifest,
        out=Path("evaluation"),
        plots=(),
    )


def line(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return found


def test_what_each_score_won_on_left_out_classes_stands_beside_what_test_images_gave() -> None:
    text = report(record=RECORD).as_text()
    assert line(text, "score ").split()[:4] == ["score", "weight", "left-out", "AUROC"]
    assert line(text, "fused").split()[1:5] == ["0.930", "+-", "0.010", "0.9000"]
    assert line(text, "movr_loss").split()[1:6] == ["1", "0.930", "+-", "0.020", "0.9000"]
    assert line(text, "log_norm").split()[1:4] == ["0", "-", "0.9000"]
    assert "mean +- spread of 2 folds: an estimate" in text
    assert "set aside: 三 (collapsed)" in text


def test_more_unknown_images_let_through_than_in_any_fold_are_warned_of() -> None:
    (told,) = report(record=RECORD, accepted=0.692).warnings
    assert told.startswith(
        "69.2% of these unknown images are accepted, more than in any fold of left-out classes"
    )
    assert "(10.0% to 30.0%)" in told and "take what is measured here" in told
    # Within their range, or no more than chance above it.
    assert not report(record=RECORD, accepted=0.2).warnings + report(record=RECORD, accepted=0.305).warnings
    assert not report(accepted=0.692).warnings


def test_the_estimated_false_accepts_stand_beside_the_measured_ones_with_their_bias() -> None:
    text = report(record=RECORD).as_text()
    lines = text.splitlines()
    measured = lines.index(line(text, "false-accept rate"))
    said = lines[measured + 1]
    assert said.strip().startswith(
        "estimated          at 5 % false rejects, on left-out classes: 20.0 % (lowest fold"
    )
    assert "a rough guess from few classes, no interval and no promise" in re.sub(r"\s+", " ", text)
    assert line(text, "at most 10 %").endswith("1.5         15.0 % (lowest fold 10.0, highest 25.0)")
    assert line(text, "at most 2 %").endswith(" -")


def test_without_folds_nothing_is_said_of_them() -> None:
    text = report().as_text()
    assert "left-out" not in text and "estimate" not in text
    assert line(text, "at most 5 %").split("  ")[-1].strip() == "1.5"


def test_folds_that_were_all_set_aside_are_told_without_figures() -> None:
    empty = dataclasses.replace(
        RECORD, parts=(), auroc=(), spread=(), strength=None, false_accepts=(), folds=RECORD.folds[2:]
    )
    text = report(record=empty).as_text()
    assert "set aside: 三 (collapsed)" in text
    assert "not estimated: no fold of left-out classes is used" in text


def test_a_useful_bundle_has_no_warning() -> None:
    assert report(auroc=0.5, accepted=0.8999).warnings == ()
    assert "warning" not in report().as_text()


@pytest.mark.parametrize("auroc", [0.0, 0.4999])
def test_a_score_that_takes_known_for_unknown_is_warned_of_with_what_to_do(auroc: float) -> None:
    found = report(auroc=auroc)
    (warning,) = found.warnings
    assert f"is {auroc:.4f}, below 0.5" in warning
    assert "--outliers" in warning and "column AUROC" in warning and "known things" in warning
    assert "warning: the AUROC of the score that decides" in found.as_text()


@pytest.mark.parametrize("accepted", [0.9, 1.0])
def test_accepting_nearly_all_unknown_images_is_warned_of_with_what_to_do(accepted: float) -> None:
    found = report(accepted=accepted)
    (warning,) = found.warnings
    assert warning.startswith(f"{accepted:.0%} of the unknown images are accepted at the shipped threshold")
    assert "--false-reject-rate" in warning and "--outliers" in warning
    assert json.loads(found.as_json())["warnings"] == [warning]


def test_of_a_few_images_neither_warning_is_given() -> None:
    found = report(accepted=1.0)
    for images, warned in ((3, 0), (90, 2)):
        low = 0.3 if images == 3 else 0.96
        metrics = dataclasses.replace(
            found.fused, known=images, unknown=images, auroc=0.42,
            false_accept=Rate(value=1.0, low=low, high=1.0, samples=images),
        )  # fmt: skip
        few = dataclasses.replace(found, rows=(PartRow(name="fused", metrics=metrics), *found.rows[1:]))
        assert len(few.warnings) == warned


def test_what_is_to_be_typed_is_about_what_the_bundle_was_made_of() -> None:
    found = report(accepted=1.0)
    for training, made_of in ((None, "MODEL.onnx --data FOLDER"), ({"epochs": 1}, "RUN")):
        one = dataclasses.replace(found, manifest=dataclasses.replace(found.manifest, training=training))
        assert f"(to ship one: edgeosr export {made_of} --false-reject-rate RATE)" in one.as_text()
        assert f"(edgeosr export {made_of} --false-reject-rate)" in one.warnings[0]
        assert ("edgeosr train" in one.warnings[0]) is (training is not None)


@pytest.mark.parametrize(("training", "do"), [(None, "export"), ({"epochs": 1}, "train")])
def test_outliers_that_were_given_are_not_asked_for_again(training: dict[str, int] | None, do: str) -> None:
    found = report(accepted=1.0, auroc=0.4)
    # How many are too few lies in their groups too: the bundle's note says it.
    for half, few in ((10, True), (30, True), (19, False), (200, False)):
        given, note = OutliersRecord("others", half, half), "by folds"
        fusion = dataclasses.replace(
            found.manifest.fusion, note=f"{note}; {WEIGH_NOTHING}: why" if few else note
        )
        manifest = dataclasses.replace(found.manifest, training=training, outliers=given, fusion=fusion)
        for warning in dataclasses.replace(found, manifest=manifest).warnings:
            assert "--outliers" not in warning
            assert f"{do} with more pictures of other things" in warning
            assert f"than the {2 * half} that it had" in warning
            assert ("(too few, which weigh nothing: 40 separate ones are enough)" in warning) == few


def test_the_json_document_holds_estimate_and_other_thresholds() -> None:
    plain = json.loads(report(record=RECORD).as_json())
    assert plain["left_out"]["false_accepts"][0]["mean"] == 0.2
    assert [row["at_most"] for row in plain["trade_off"]] == [0.02, 0.05, 0.1]
    assert set(plain["trade_off"][0]["false_accept"]) == {"value", "low", "high", "samples"}
    assert json.loads(report().as_json())["left_out"] is None


def test_a_negative_weight_is_shown_with_its_sign() -> None:
    base = report()
    fusion = dataclasses.replace(base.manifest.fusion, weights=(0.3, 0.0, 0.5, 0.0, -0.2))
    text = dataclasses.replace(base, manifest=dataclasses.replace(base.manifest, fusion=fusion)).as_text()
    assert line(text, "log_norm").split()[1] == "-0.2"


def test_every_class_stands_in_the_report_and_its_warnings_among_the_others() -> None:
    base = report()
    names = base.manifest.classes
    text = base.as_text()
    assert line(text, f"{names[0]} ").split()[:2] == [names[0], "30"]
    bad = dataclasses.replace(base, by_class=by_class(base.manifest, rejected=30))
    (warning,) = bad.warnings
    assert warning.startswith(f"no image of the class is accepted: {names[0]} (30 of 30 rejected)")
    assert "warning: no image of the class is accepted" in bad.as_text()
    plain = json.loads(bad.as_json())
    assert plain["warnings"] == [warning] and plain["by_class"]["figures"][0]["rejected"] == 30


def test_with_a_threshold_a_class_the_text_says_what_the_figures_are_of() -> None:
    base = report(record=RECORD)
    own = tuple(
        ClassThreshold(value=one, interval=None if one == 1.25 else (0.0, 0.1), groups=30, images=30)
        for one in (0.5, 1.25, 2.5, 1.25)
    )
    threshold = dataclasses.replace(base.manifest.threshold, by_class=own)
    manifest = dataclasses.replace(base.manifest, threshold=threshold)
    text = dataclasses.replace(base, manifest=manifest, by_class=by_class(manifest)).as_text()
    assert "one a predicted class, 0.5 to 2.5; the common one, 1.25, for 2 of 4" in text
    assert "the fused score is the score minus that threshold" in text
    assert "+1.5" in line(text, "at most 5 %").split() and "shift of all" in text
    assert "calibrated interval" not in text
    assert "for a common threshold" in " ".join(text.split())
    plain = json.loads(dataclasses.replace(base, manifest=manifest).as_json())
    assert plain["decides"].startswith("score minus") and json.loads(base.as_json())["decides"] == "score"
