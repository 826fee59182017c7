"""What is said class by class: rates of images and of groups, warnings, and a table that stays short."""

import json
from typing import Any

import numpy as np
import pytest

from edgeosr.class_figures import RARE, RareClass, class_figures
from edgeosr.class_report import LISTED, WHOLE_TABLE, WORST, ClassReport, class_report
from edgeosr.metrics import rate_of
from edgeosr.scoring.thresholds import ClassThreshold, Threshold

TARGET = 0.05


def threshold_of(*own: float | None, groups: int = 19) -> Threshold:
    """One with the value 1; and one a class, None for the common one; theirs are of so many groups."""
    by_class = tuple(
        ClassThreshold(
            value=one or 1.0, interval=None if one is None else (0.0, 0.1), groups=groups, images=groups
        )
        for one in own
    )
    return Threshold(
        value=1.0, target_false_reject_rate=TARGET, interval=(0.02, 0.09), confidence=0.95, groups=90,
        images=99, method="made for a test", by_class=by_class,
    )  # fmt: skip


def report_of(
    names: Any, rows: Any, *, threshold: Threshold | None = None, in_sample: bool = False, **more: Any
) -> ClassReport:
    """Of rows (label, prediction, score, group), each an image."""
    labels, predictions, scores, groups = (np.array(column) for column in zip(*rows, strict=True))
    limits = threshold or threshold_of()
    figures = class_figures(
        names, limits, labels=labels, predictions=predictions, scores=scores, groups=groups
    )
    part = "calibrate part" if in_sample else "test images"
    return class_report(figures, limits, part=part, in_sample=in_sample, needed=19, **more)


def images(label: int, count: int, *, rejected: int = 0, wrong: int = 0, other: int = 0) -> list[Any]:
    """Rows of one class: ``rejected`` of them above the threshold, ``wrong`` of them taken for ``other``."""
    first = 1000 * label
    return [
        (label, other if i < wrong else label, 2.0 if i < rejected else 0.0, first + i) for i in range(count)
    ]


def test_every_class_has_its_own_rates_with_their_intervals() -> None:
    report = report_of(("a", "b"), images(0, 40, rejected=2) + images(1, 30, rejected=9, wrong=3))
    a, b = report.figures
    assert (a.images, a.right, a.rejected, a.predicted) == (40, 40, 2, 43)
    assert (b.images, b.right, b.rejected, b.predicted) == (30, 27, 9, 27)
    assert a.false_reject == rate_of(np.arange(40) < 2) and b.accuracy == rate_of(np.arange(30) >= 3)
    # The three that are taken for "a" are rejected: they count for "a" there.
    assert a.false_reject_predicted == rate_of(np.arange(43) < 5)


def test_a_class_that_breaks_the_promise_of_its_own_threshold_is_told_of_test_images_alone() -> None:
    # Each class keeps its rate by what the images show; of those predicted as "b" a half is rejected.
    rows = images(0, 400, rejected=8, wrong=8, other=1) + images(1, 8)
    own, common = threshold_of(1.0, 1.0), threshold_of(1.0, None)
    (said,) = [one for one in report_of(("a", "b"), rows, threshold=own).warnings if "promised" in one]
    assert said.startswith(
        "of the known images predicted as the class more are rejected than the promised 5.0%"
    )
    assert "(test images): b (8 of 16). " in said
    for quiet in (
        report_of(("a", "b"), rows, threshold=own, in_sample=True),
        report_of(("a", "b"), rows, threshold=common),
        report_of(("a", "b"), rows),
    ):
        assert not any("promised 5.0%" in one for one in quiet.warnings)


def test_near_copies_count_once() -> None:
    rows = [(0, 0, 2.0, 7)] * 50 + [(0, 0, 0.0, 8 + i) for i in range(50)]
    (only,) = report_of(("a",), rows).figures
    assert only.false_reject is not None
    assert (only.rejected, only.false_reject.samples) == (50, 51)
    assert only.false_reject.value == pytest.approx(1 / 51)


def test_a_score_that_is_not_finite_is_rejected_whatever_the_threshold() -> None:
    rows = [(0, 0, score, i) for i, score in enumerate([np.nan, np.inf, -np.inf, 0.0])]
    assert report_of(("a",), rows).figures[0].rejected == 3


def test_with_a_threshold_a_class_the_predicted_one_decides() -> None:
    rows = [(0, 0, 1.5, 0), (0, 1, 1.5, 1), (1, 1, 2.5, 2), (1, 0, 2.5, 3)]
    report = report_of(("a", "b"), rows, threshold=threshold_of(1.0, 2.0))
    assert [one.rejected for one in report.figures] == [1, 2]
    assert [one.threshold for one in report.figures] == [1.0, 2.0]


def test_a_class_that_is_rejected_far_above_the_promise_is_warned_of_and_one_in_the_noise_is_not() -> None:
    report = report_of(
        ("loud", "quiet", "noise"), images(0, 60, rejected=20) + images(1, 60) + images(2, 60, rejected=5)
    )
    (said,) = report.warnings
    assert said.startswith(
        "rejected far more often than the promised 5.0%, which holds for all classes together"
    )
    assert "loud (20 of 60 rejected; " in said and "quiet" not in said and "noise" not in said
    assert "--threshold-rule per-class" in said and "19 independent groups" in said
    (per_class,) = report_of(
        ("loud", "quiet"), images(0, 60, rejected=20) + images(1, 60), threshold=threshold_of(None, 1.0)
    ).warnings
    assert "holds for the images predicted as a class" in per_class and "--threshold-rule" not in per_class


def test_what_the_model_itself_names_unknown_is_not_right_and_told_as_the_cause() -> None:
    unknown = [(0, 0, np.inf, i) for i in range(21)]
    report = report_of(("a", "b"), [*unknown, *images(0, 60)[21:], *images(1, 60)])
    assert (report.figures[0].right, report.figures[0].named_unknown) == (39, 21)
    assert report.figures[0].accuracy == rate_of(np.arange(60) >= 21)
    (said,) = report.warnings
    assert "a (21 of 60 rejected, 21 named an output that means unknown by the model itself; " in said
    assert "No threshold accepts what the model itself names an output that means unknown" in said
    few, never, chance = report_of(("a", "b"), [*unknown[:5], *images(1, 300)]).warnings
    assert "a (5 of 5 rejected, 0 named right, 5 named an output that means unknown" in few
    assert "a (5 of 5 rejected, 5 named an output that means unknown by the model itself). " in never
    assert "a 0 of 5, 5 named an output that means unknown by the model itself. " in chance


def test_a_class_that_is_never_accepted_is_named() -> None:
    report = report_of(("a", "small"), images(0, 300, rejected=3) + images(1, 5, rejected=5))
    few, never = report.warnings
    assert (
        f"fewer than {RARE} images (test images), near copies counted once: "
        "small (5 of 5 rejected, 5 named right)" in few
    )
    assert never.startswith("no image of the class is accepted: small (5 of 5 rejected). ")


def test_of_a_class_with_few_images_all_of_them_tell_whether_it_is_ever_accepted() -> None:
    rows, rare = (
        images(0, 90) + images(1, 2, rejected=2),
        RareClass(name="b", images=7, groups=7, right=7, rejected=2),
    )
    report = report_of(("a", "b"), rows, in_sample=True, rare=((rare,), "in all parts together"))
    assert any("b (2 of 7 rejected, 7 named right)" in said for said in report.warnings)
    assert not any("no image of the class is accepted" in said for said in report.warnings)


def test_a_class_named_right_no_more_often_than_by_chance_is_told_of_test_images() -> None:
    rows = images(0, 30) + images(1, 30, wrong=21) + images(2, 30, wrong=12)
    (said,) = report_of(("a", "b", "c"), rows).warnings
    assert said.startswith("not named right more often than by chance (33.3%; test images): b 9 of 30.")
    assert report_of(("a", "b", "c"), rows, in_sample=True).warnings == ()


def test_of_sixty_classes_one_image_of_each_shows_nothing_and_twelve_do() -> None:
    names = tuple(f"k{i}" for i in range(60))
    few = [row for i in range(60) for row in images(i, 1, wrong=i == 47, rejected=i in (3, 4))]
    for warning in report_of(names, few).warnings:
        assert "chance" not in warning and "no image of the class is accepted" not in warning
    many = [row for i in range(60) for row in images(i, 12, wrong=12 * (i == 47))]
    assert any(
        "not named right more often than by chance (1.7%; test images): k47 0 of 12." in one
        for one in report_of(names, many).warnings
    )


@pytest.mark.parametrize(
    ("groups", "copies", "told"), [(1, 1, False), (2, 1, False), (5, 1, True), (2, 9, False)]
)
def test_no_image_accepted_is_said_where_chance_does_not_explain_it(
    groups: int, copies: int, told: bool
) -> None:
    rows = images(0, 60) + [(1, 1, 2.0, 1000 + i) for i in range(groups) for _ in range(copies)]
    warnings = report_of(("a", "b"), rows).warnings
    assert any("no image of the class is accepted" in one for one in warnings) is told


def test_what_is_to_be_typed_is_about_the_classifier_that_the_bundle_was_made_of() -> None:
    rows = images(0, 60, rejected=20) + images(1, 60)
    for made_of in ("RUN", "MODEL.onnx --data FOLDER"):
        report = report_of(("loud", "quiet"), rows, made_of=made_of)
        assert f"edgeosr export {made_of} --threshold-rule per-class" in report.warnings[0]
        assert "made_of" not in report.as_json()


def test_a_class_without_an_image_is_told_and_has_no_rates() -> None:
    report = report_of(("a", "b"), images(0, 30))
    assert report.warnings == ("no image in the test images, so nothing is known here of the class: b",)
    assert report.figures[1].accuracy is None and report.figures[1].false_reject is None
    assert "-" in report.as_lines()[-1]


def test_a_class_that_takes_the_common_threshold_is_named_at_the_export() -> None:
    rows, mixed = images(0, 30) + images(1, 30), threshold_of(1.0, None)
    (said,) = report_of(("a", "b"), rows, threshold=mixed, in_sample=True).warnings
    assert said.startswith("the common threshold is taken by") and said.endswith(": b")
    assert "1 (common)" in report_of(("a", "b"), rows, threshold=mixed).as_lines()[-1]


def test_of_many_classes_the_worst_are_shown_and_the_lists_stay_short() -> None:
    count = 40
    names = [f"class {i}" for i in range(count)]
    rows = [row for i in range(count) for row in images(i, 5, rejected=5 * (i >= 5))]
    report = report_of(names, rows)
    lines = report.as_lines()
    assert len(lines) == 2 + WORST + 1 and f"the worst {WORST} of {count} classes" in lines[-1]
    assert all("100.0 %" in line for line in lines[2 : 2 + WORST])
    assert all(
        f"and {more} more (--json has all)" in said
        for said, more in zip(report.warnings, (count - 3, 35 - LISTED), strict=True)
    )
    few = report_of(names[:WHOLE_TABLE], rows[: 5 * WHOLE_TABLE])
    assert len(few.as_lines()) == 2 + WHOLE_TABLE


def test_a_long_name_is_shortened_and_the_columns_stay_aligned() -> None:
    lines = report_of(("a" * 90, "b"), images(0, 30) + images(1, 30)).as_lines()
    assert max(map(len, lines)) <= 110
    assert lines[1].index("images") == lines[2].index("30") == lines[3].index("30")


def test_the_document_is_plain_json_with_every_class() -> None:
    report = report_of(("a", "b"), images(0, 30), threshold=threshold_of(0.5, None))
    plain = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert [one["name"] for one in plain["figures"]] == ["a", "b"]
    assert plain["figures"][0]["false_reject"]["samples"] == 30 and plain["confidence"] == 0.95


@pytest.mark.parametrize("k", [19, 40, 100])
def test_classes_that_all_keep_their_promise_are_hardly_ever_told_to_break_it(k: int) -> None:
    random, count, shown = np.random.default_rng(k), 100, 500
    # What thresholds of k groups each reject of new images of the same kind (see export/conformal.py).
    a = int((k + 1) * TARGET)
    hits = random.binomial(shown, random.beta(a, k + 1 - a, count))
    rows = [row for label, rejected in enumerate(hits) for row in images(label, shown, rejected=rejected)]
    own = threshold_of(*[1.0] * count, groups=k)
    report = report_of([f"class {i}" for i in range(count)], rows, threshold=own)
    assert sum(one.false_reject_predicted.low > TARGET for one in report.figures if one.own_threshold) >= 10
    assert report.warnings == ()


def test_a_hundred_equal_classes_are_not_told_to_be_rejected_far_more_often() -> None:
    names = [f"class {i}" for i in range(100)]
    for seed in range(4):
        hits = np.random.default_rng(seed).binomial(60, TARGET, 100)
        rows = [row for label, rejected in enumerate(hits) for row in images(label, 60, rejected=rejected)]
        for in_sample in (False, True):
            assert report_of(names, rows, in_sample=in_sample).warnings == ()
    rows += images(99, 60, rejected=30)
    (said,) = report_of(names, rows).warnings
    assert "class 99 (" in said and said.count("rejected;") == 1


def test_a_class_of_few_pictures_with_many_copies_is_one_of_few_images() -> None:
    rows = images(0, 30) + [(1, 1, 0.0, 1000 + i // 10) for i in range(30)]
    (said,) = report_of(("a", "b"), rows).warnings
    assert said.startswith(
        f"1 of 2 classes has fewer than {RARE} images (test images), near copies counted once"
    )
    assert "b (0 of 30 rejected, 30 named right, 3 apart from copies)" in said


def test_a_class_of_which_nothing_is_named_right_is_told_by_an_export_too() -> None:
    rows = images(0, 30) + images(1, 4, wrong=4, other=2) + images(2, 4, wrong=4, other=1)
    said = " ".join(report_of(("a", "b", "c"), rows, in_sample=True).warnings)
    assert "not named right more often than by chance (33.3%; calibrate part): b 0 of 4, c 0 of 4" in said
    few = images(0, 30) + images(1, 3, wrong=2, other=2) + images(2, 3)
    assert "less often than by chance" not in " ".join(
        report_of(("a", "b", "c"), few, in_sample=True).warnings
    )
