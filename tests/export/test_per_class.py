"""``--threshold-rule per-class``, and the figures of each class, from the run to the evaluation."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.class_figures import RARE
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.recorded import reopen_parts
from edgeosr.errors import DataError, UsageError
from edgeosr.export.class_report import calibrate_report
from edgeosr.export.conformal import conformal_threshold, groups_needed, smallest_threshold
from edgeosr.export.export_run import export_run
from edgeosr.export.measure import GraphRunner, Measured
from edgeosr.export.settings import ExportSettings
from edgeosr.metrics import rejection_rate
from edgeosr.runtime.verify import verify_bundle
from edgeosr.scoring.thresholds import margins_of

RATE = 0.1


@pytest.fixture(scope="module")
def report(digits_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("per-class") / "own.edgeosr"
    return export_run(digits_run, ExportSettings(out=out, threshold_rule="per-class", false_reject_rate=RATE))


@pytest.fixture(scope="module")
def bundle(report):
    return read_bundle(report.path)


@pytest.fixture(scope="module")
def measured(bundle):
    """Of the calibrate and test parts."""
    parts = reopen_parts(bundle.manifest.data)[1]
    runner = GraphRunner(bundle.files["model.onnx"])
    return runner.measure(parts.calibrate, "calibrate"), runner.measure(parts.test, "test")


@pytest.fixture(scope="module")
def evaluation(report, tmp_path_factory):
    return evaluate_bundle(report.path, QualitySettings(out=tmp_path_factory.mktemp("own-evaluation")))


def test_each_threshold_is_that_of_the_images_predicted_as_the_class(bundle, measured):
    calibrate, _ = measured
    threshold = bundle.manifest.threshold
    assert threshold.rule == "per-class" and len(threshold.by_class) == len(bundle.manifest.classes)
    for label, one in enumerate(threshold.by_class):
        taken = calibrate.predictions == label
        assert one.images == taken.sum() and one.own == (one.groups >= groups_needed(RATE))
        expected = smallest_threshold(calibrate.scores[taken], calibrate.groups[taken], RATE)
        assert one.value == pytest.approx(expected if one.own else threshold.value, abs=1e-6)
    assert len(set(threshold.class_values)) > 1
    common = conformal_threshold(calibrate.scores, calibrate.groups, RATE)
    assert threshold.value == pytest.approx(common.value, abs=1e-6)
    assert bundle_scorer(bundle).class_thresholds == threshold.class_values


def test_the_bundle_verifies_and_inspect_names_the_classes(bundle):
    assert verify_bundle(bundle.path, backends=("onnxruntime",)).passed
    text = text_from_bundle(bundle)
    assert "per predicted class (rejects 10 % or fewer of the known images predicted as it" in text
    for name, one in zip(bundle.manifest.classes, bundle.manifest.threshold.by_class, strict=True):
        assert f"{name}: {one.value:.4g} (" in text


def test_the_export_s_report_has_every_class_in_text_and_json(report, measured):
    calibrate, _ = measured
    plain = json.loads(report.as_json())
    assert plain["warnings"] == list(report.by_class.warnings)
    for label, one in enumerate(plain["by_class"]["figures"]):
        shows = calibrate.labels == label
        assert one["images"] == shows.sum()
        margins = margins_of(calibrate.scores, report.manifest.threshold.limit, calibrate.predictions)
        assert one["rejected"] == (margins[shows] > 0).sum()
        assert one["accuracy"]["value"] == pytest.approx((calibrate.predictions[shows] == label).mean())
    text = report.as_text()
    assert "per class        calibrate part" in text and "in-sample" in text
    assert "threshold        of their own for" in text


def test_evaluate_decides_by_the_class_s_threshold_and_orders_by_what_is_left_above_it(
    bundle, evaluation, measured
):
    _, test = measured
    margins = margins_of(test.scores, bundle.manifest.threshold.limit, test.predictions)
    assert evaluation.fused.false_reject == rejection_rate(margins, 0.0, test.groups)
    assert evaluation.fused.false_reject != rejection_rate(
        test.scores, bundle.manifest.threshold.value, test.groups
    )
    for row in evaluation.trade_off:  # a shift of all thresholds
        assert row.false_reject == rejection_rate(margins.astype(np.float32), row.threshold, test.groups)
    for label, one in enumerate(evaluation.by_class.figures):
        shows, taken = test.labels == label, test.predictions == label
        assert one.false_reject == rejection_rate(margins[shows], 0.0, test.groups[shows])
        assert one.false_reject_predicted == rejection_rate(margins[taken], 0.0, test.groups[taken])


def test_evaluate_says_that_the_thresholds_are_the_classes_own(evaluation):
    text = evaluation.as_text()
    assert "at the shipped thresholds, one a predicted class" in text
    assert "all thresholds shifted alike" in text and "rejected if predicted" in text
    plain = json.loads((evaluation.out / "report.json").read_text("utf-8"))
    assert plain["decides"].startswith("score minus the threshold of the predicted class")
    assert len(plain["by_class"]["figures"]) == len(plain["threshold"]["by_class"])
    assert plain["warnings"] == list(evaluation.warnings)


def test_an_engine_and_thresholds_of_classes_are_refused_before_any_work():
    with pytest.raises(
        UsageError, match=r"got --engine fp16; write --threshold-rule common, or leave it out"
    ):
        ExportSettings(threshold_rule="per-class", precision="fp16")
    with pytest.raises(
        UsageError, match=r"--threshold-rule must be one of common, per-class; got 'perclass'"
    ):
        ExportSettings(threshold_rule="perclass")


class ByLabel:
    """In the place of a graph: an image is its own score; everything is named right."""

    def measure(self, images: LabelledImages, description: str) -> Measured:
        scores = np.array([images.read(i)[0, 0, 0] for i in range(len(images))], np.float32)
        return Measured(
            images.labels, scores, scores[:, None], images.labels, images.groups, np.arange(len(images)), []
        )


def part_of(counts: dict[int, int], score: int, *, broken: int = 0) -> LabelledImages:
    """Images of one score; the first ``broken`` ones cannot be read."""
    labels = np.repeat(list(counts), list(counts.values()))

    def read(index: int):
        if index < broken:
            raise DataError("damaged")
        return np.full((1, 1, 3), score, np.uint8)

    return LabelledImages(("big", "small"), labels, np.arange(len(labels)), read, str)


def test_of_a_class_with_few_images_those_of_all_parts_are_judged():
    runner = ByLabel()
    calibrate = runner.measure(part_of({0: 60, 1: 2}, 2), "")
    threshold = conformal_threshold(calibrate.scores, calibrate.groups, 0.05)
    others = (part_of({0: 40, 1: 2}, 9), part_of({1: 2}, 9, broken=1), part_of({0: 9}, 9))
    made = calibrate_report(runner, calibrate, others, ("big", "small"), threshold, "RUN")
    (small,) = made.rare
    # Two of the calibrate part are accepted; of the four others one cannot be read and three are rejected.
    assert (small.name, small.images, small.rejected, small.right) == ("small", 5, 3, 5)
    assert (
        f"fewer than {RARE} images in all parts together, near copies counted once: small (3 of 5 rejected"
        in made.warnings[0]
    )
    assert small.groups == 5
    assert made.figures[1].images == 2 and made.figures[1].rejected == 0


def test_a_class_with_enough_images_in_all_parts_is_not_judged_again():
    runner = ByLabel()
    calibrate = runner.measure(part_of({0: 60, 1: 8}, 2), "")
    threshold = conformal_threshold(calibrate.scores, calibrate.groups, 0.05)
    unread = part_of({1: RARE - 8}, 9, broken=RARE)
    assert calibrate_report(runner, calibrate, (unread,), ("big", "small"), threshold, "RUN").rare == ()


def test_copies_do_not_make_a_class_one_of_many_images():
    runner = ByLabel()
    calibrate = runner.measure(part_of({0: 60, 1: 2}, 2), "")
    threshold = conformal_threshold(calibrate.scores, calibrate.groups, 0.05)
    copies = part_of({1: RARE + 10}, 9)
    copies = replace(copies, groups=copies.groups // 10)
    made = calibrate_report(runner, calibrate, (copies,), ("big", "small"), threshold, "RUN")
    assert [(one.images, one.groups) for one in made.rare] == [(RARE + 12, 5)]
    assert "small (30 of 32 rejected, 32 named right, 5 apart from copies)" in made.warnings[0]
