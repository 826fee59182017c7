"""The demo's counts and its picture."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr import TrainSettings, train_run
from edgeosr.bench.demo import (
    DemoSettings,
    accepted,
    claim_folder,
    correct,
    headline,
    run_demo,
    trained,
)
from edgeosr.bench.demo_picture import Shown, draw_grid
from edgeosr.errors import UsageError
from edgeosr.verdict import Verdict


def shown(truth: str, said: str, *, known: bool) -> Shown:
    verdict = Verdict(
        accepted=said != "unknown",
        label=said,
        nearest="3",
        index=0,
        score=1.5,
        threshold=2.0,
        parts={},
        latency_ms=1.0,
        finite=True,
    )
    return Shown(np.full((8, 8, 3), 200, np.uint8), truth, known, verdict)


KNOWN = (shown("3", "3", known=True), shown("3", "4", known=True), shown("4", "unknown", known=True))
UNKNOWN = (shown("7", "unknown", known=False), shown("7", "3", known=False))


def test_right_is_the_own_name_for_a_known_digit_and_unknown_for_another() -> None:
    assert [one.correct for one in (*KNOWN, *UNKNOWN)] == [True, False, False, True, False]


def test_the_headline_counts_all_test_images() -> None:
    assert accepted(KNOWN) == 2
    assert correct(UNKNOWN) == 1
    assert headline(KNOWN, UNKNOWN) == (
        "Known digits: 2 of 3 accepted, 1 named right. Digits never seen: 1 of 2 (50%) called unknown."
    )


def test_the_picture_is_the_same_for_the_same_seed_and_marks_right_and_wrong(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_grid(tmp_path / name, KNOWN, UNKNOWN, title="t", seed=0)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    for color in ((0x1B, 0x7F, 0x5C), (0xC8, 0x45, 0x2B)):
        assert (pixels == color).all(axis=1).sum() > 100


def test_a_missing_an_empty_and_an_earlier_demos_folder_are_taken(tmp_path: Path) -> None:
    missing, empty = tmp_path / "runs" / "missing", tmp_path / "empty"
    empty.mkdir()
    for folder in (missing, empty):
        claim_folder(folder)
        # Interrupted in training: no run.json yet.
        (folder / "last.pt").touch()
        claim_folder(folder)
        assert [file.name for file in folder.iterdir()] == ["demo.json"]


@pytest.mark.parametrize("name", ["last.pt", "run.json", "cat.png", "demo.json"])
def test_a_folder_that_no_demo_made_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a demo's folder; choose another --out"):
        claim_folder(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_users_own_run_on_the_demos_images_is_refused_and_left_alone(
    digits_run: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "digits"
    shutil.copytree(digits_run, mine)
    (mine / "digits.edgeosr").mkdir()
    before = sorted(mine.iterdir())
    with pytest.raises(UsageError, match="is not a demo's folder"):
        run_demo(DemoSettings(out=mine))
    assert sorted(mine.iterdir()) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(UsageError, match="is not a demo's folder"):
        claim_folder(tmp_path / "demo")


def test_training_takes_the_folder_that_the_demo_marked(tmp_path: Path) -> None:
    claim_folder(tmp_path / "demo")
    settings = TrainSettings(
        data="digits", split=0, input_size=16, epochs=1, rotation_weight=0.0, discriminator=False, folds=0,
        threads=1, out=tmp_path / "demo",
    )  # fmt: skip
    assert {"demo.json", "run.json"} <= {file.name for file in train_run(settings).iterdir()}


def test_a_time_cap_of_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="--max-minutes"):
        DemoSettings(max_minutes=0)


def test_the_demo_says_how_many_epochs_the_time_allowed() -> None:
    cut_short = trained({"epochs": 40, "result": {"epochs": 23, "seconds": 70.6}})
    assert cut_short.startswith("Trained 23 of 40 epochs in 71 s. Time allowed no more: ")
    whole = trained({"epochs": 40, "result": {"epochs": 40, "seconds": 60.0}})
    assert whole == "Trained 40 of 40 epochs in 60 s."
