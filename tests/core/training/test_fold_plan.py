"""Which folds a run gets, and what is said of folds that cannot be."""

import dataclasses
import json
import re
import shlex

import pytest

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.parts import four_parts
from edgeosr.errors import DataError, UsageError
from edgeosr.training.fold_plan import (
    Fold,
    FoldPlan,
    classes_left_out,
    fold_settings,
    folds_that_count,
    read_plan,
    require_possible_folds,
    require_same_plan,
    resume_command,
    start_again,
    wants_folds,
    write_plan,
)
from edgeosr.training.folds import announcement, duration
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train_run import train_run

KNOWN = ("a", "b", "c", "d")
PLAN = FoldPlan(
    (Fold(1, ("b",), ("a", "c", "d"), 7), Fold(2, ("a", "c"), ("b", "d"), 9)),
    threads=2,
)
OTHERS = FoldPlan(
    (Fold(1, ("b", "d"), ("a", "c"), 7), Fold(2, ("a", "c"), ("b", "d"), 9)),
    threads=1,
)
NONE = FoldPlan((), threads=1)


def wanted(**changes):
    return TrainSettings(**{"data": "digits", **changes})


def test_by_default_a_trained_backbone_without_outliers_gets_three_folds():
    assert len(classes_left_out(wanted(), KNOWN)) == 3
    assert sorted(name for left in classes_left_out(wanted(), KNOWN) for name in left) == list(KNOWN)
    assert classes_left_out(wanted(), KNOWN[:2]) == []
    assert classes_left_out(wanted(outliers="digits:0"), KNOWN) == []
    frozen = wanted(arch="efficientnet-lite0", pretrained=True, freeze=True)
    assert classes_left_out(frozen, KNOWN) == []
    assert classes_left_out(wanted(folds=0), KNOWN) == []


def test_folds_asked_for_are_made_beside_outliers_too_and_never_more_than_classes():
    assert classes_left_out(wanted(outliers="digits:0", folds=64), KNOWN) == [(name,) for name in KNOWN]


@pytest.mark.parametrize(
    ("settings", "classes", "message"),
    [
        ({"folds": 3}, 2, "at least 3; got 2"),
        ({"fold_epochs": 5}, 2, "at least 3; got 2"),
        ({"folds": 2}, 3, "each fold must keep 2 known classes.*--folds 3"),
    ],
)
def test_folds_of_too_few_classes_are_refused(settings, classes, message):
    with pytest.raises(UsageError, match=message):
        classes_left_out(wanted(**settings), KNOWN[:classes])


def test_folds_that_cannot_be_are_refused_before_the_run_is_trained(settings, changed):
    with pytest.raises(UsageError, match="at least 3; got 2"):
        train_run(changed(settings, known=("0", "1"), folds=2))
    assert not settings.out.exists()


@pytest.mark.parametrize("plan", [PLAN, NONE])
def test_a_plan_reads_back_equal(tmp_path, plan):
    assert read_plan(tmp_path, KNOWN) is None
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path, KNOWN) == plan


@pytest.mark.parametrize(
    ("changes", "plan", "made"),
    [
        ({}, None, True),
        ({}, NONE, False),
        ({}, PLAN, True),
        ({"folds": 0}, PLAN, False),
        ({"folds": 3}, NONE, True),
        ({"fold_epochs": 3}, NONE, True),
        ({"outliers": "digits:0"}, None, False),
        ({"outliers": "digits:0"}, PLAN, True),
    ],
)
def test_a_plan_goes_on_and_so_does_the_choice_of_none_until_folds_are_asked_for(changes, plan, made):
    assert wants_folds(wanted(**changes), plan) is made


def a_set(tmp_path, images):
    """A folder with so many images of each class, and its parts."""
    from PIL import Image

    for name, count in images.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, ord(name), 0)).save(tmp_path / "set" / name / f"{i:03}.png")
    image_set = open_image_set(str(tmp_path / "set"))
    return image_set, four_parts(image_set, known=tuple(images))


def test_folds_that_can_never_count_are_not_planned_and_the_numbers_are_said(tmp_path):
    image_set, parts = a_set(tmp_path, dict.fromkeys(("a", "b", "c", "d", "e"), 5))
    folds, why = folds_that_count(wanted(), parts)
    assert folds == []
    assert re.fullmatch(
        r"no folds: without \w, \w there are 3 select images of the others and \d train and select images of "
        "these, and a fold tells nothing with fewer than 8 on one side",
        why,
    )
    for asked in ({"folds": 5}, {"fold_epochs": 2}):
        with pytest.raises(UsageError, match=r"too few images in . of . folds: .* there are [34] select"):
            require_possible_folds(wanted(**asked), image_set, parts)


def test_a_fold_with_too_few_images_is_left_out_of_the_plan_alone(tmp_path):
    images = {"a": 100, "b": 100, "c": 5}
    _, parts = a_set(tmp_path, images)
    folds, why = folds_that_count(wanted(), parts)
    assert folds == [("a",), ("b",)]
    assert why.startswith("2 folds in the place of 3: without c there are") and "3 train and select" in why


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda plan: "{", "not valid JSON"),
        (lambda plan: {**plan, "format": 2}, "format"),
        (lambda plan: {**plan, "folds": 0}, "folds"),
        (lambda plan: {**plan, "threads": 0}, "threads"),
        (lambda plan: {**plan, "folds": [{"left_out": ["x"], "epochs": 1}]}, "leaves out x"),
        (lambda plan: {**plan, "folds": [{"left_out": ["a", "b", "c"], "epochs": 1}]}, "leaves out a, b, c"),
        (lambda plan: {**plan, "folds": [{"left_out": ["a"], "epochs": 0}]}, "epochs"),
    ],
)
def test_a_damaged_or_foreign_plan_is_refused_with_what_to_do(tmp_path, damage, reason):
    write_plan(tmp_path, PLAN)
    path = tmp_path / "folds" / "plan.json"
    damaged = damage(json.loads(path.read_text()))
    path.write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
    with pytest.raises(
        DataError, match=rf"(?s)no plan of folds.*{reason}.*; remove .*edgeosr train --resume"
    ):
        read_plan(tmp_path, KNOWN)


def test_a_run_that_has_begun_with_folds_takes_no_others(tmp_path):
    require_same_plan(PLAN, wanted(), tmp_path)
    require_same_plan(PLAN, wanted(folds=2), tmp_path)
    for other, words in (({"folds": 3}, "3 folds are asked for.*begun with 2"), ({"fold_epochs": 8}, "8 ep")):
        with pytest.raises(UsageError, match=f"{words}.*remove"):
            require_same_plan(PLAN, wanted(**other), tmp_path)


def test_a_fold_trains_as_the_run_did_but_for_its_classes_and_its_length(tmp_path):
    run = wanted(
        split=0, lr=0.02, max_minutes=1, outliers="digits:0", watch_jacobian=True, devices=4, folds=2
    )
    fold = fold_settings(run, PLAN.folds[1], tmp_path, threads=2)
    differing = {key for key, value in fold.as_json().items() if value != run.as_json()[key]}
    assert differing == {"known", "split", "epochs", "discriminator", "outliers", "devices"}
    assert (fold.known, fold.epochs, fold.max_minutes, fold.folds) == (("b", "d"), 9, None, 0)


def test_the_command_that_goes_on_repeats_what_no_record_keeps(tmp_path):
    assert resume_command(tmp_path, wanted()) == f"edgeosr train --resume {tmp_path}"
    assert resume_command(tmp_path, wanted(folds=5, fold_epochs=2)).endswith(" --folds 5 --fold-epochs 2")


def test_to_start_again_the_folds_and_epochs_asked_for_are_repeated(tmp_path):
    alike = FoldPlan(tuple(dataclasses.replace(fold, epochs=7) for fold in OTHERS.folds), threads=1)
    assert start_again(tmp_path, alike).endswith(f"--resume {tmp_path} --folds 2 --fold-epochs 7")
    assert start_again(tmp_path, OTHERS).endswith(f"--resume {tmp_path} --folds 2")
    # Some classes have too few images to be left out: no number of folds would ask for that.
    assert start_again(tmp_path, PLAN).endswith(f"--resume {tmp_path}")
    asked = wanted(folds=5, fold_epochs=2)
    assert start_again(tmp_path, asked).endswith(f"--resume {tmp_path} --folds 5 --fold-epochs 2")


def test_paths_with_a_space_can_be_pasted(tmp_path):
    run = tmp_path / "my run"
    assert shlex.split(resume_command(run, wanted())) == ["edgeosr", "train", "--resume", str(run)]
    words = shlex.split(start_again(run, wanted()))
    assert words[1] == str(run / "folds") and words[-1] == str(run)
    with pytest.raises(UsageError) as caught:
        require_same_plan(PLAN, wanted(folds=3), run)
    assert f"remove '{run}/folds' first" in str(caught.value)


def test_the_cost_is_announced_in_one_line():
    line = announcement(PLAN.folds, 2, 2, 245.0)
    assert "training 2 folds" in line and "(b | a, c)" in line and "7 to 9 epochs each" in line
    assert "2 at a time: about 4 minutes; --folds 0 for none" in line
    many = announcement([PLAN.folds[0]] * 9, 12, 1, None)
    assert "9 of 12 folds" in many and "| and 5 more)" in many and "about" not in many


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "10 s"), (44, "40 s"), (100, "2 minutes"), (6000, "1.7 hours")]
)
def test_a_rough_time_is_said_roughly(seconds, words):
    assert duration(seconds) == words
