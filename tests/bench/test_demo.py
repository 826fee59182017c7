"""The demo's counts and its picture."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.bench.demo import DemoSettings, accepted, clear_run, correct, headline, trained
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
        "Known digits: 2 of 3 accepted, 1 named right. Digits never seen: 1 of 2 called unknown."
    )


def test_the_picture_is_the_same_for_the_same_seed_and_marks_right_and_wrong(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_grid(tmp_path / name, KNOWN, UNKNOWN, title="t", seed=0)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    for color in ((0x1B, 0x7F, 0x5C), (0xC8, 0x45, 0x2B)):
        assert (pixels == color).all(axis=1).sum() > 100


def test_an_earlier_demo_is_removed_and_any_other_folder_is_not(tmp_path: Path) -> None:
    earlier, other = tmp_path / "run", tmp_path / "photos"
    for folder, name in ((earlier, "last.pt"), (other, "cat.png")):
        folder.mkdir()
        (folder / name).touch()
        clear_run(folder)
    assert not earlier.exists()
    assert (other / "cat.png").exists()


def test_a_run_on_other_images_is_left_alone(digits_run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(digits_run, mine)
    record = mine / "run.json"
    record.write_text(record.read_text("utf-8").replace('"source": "digits"', '"source": "photos/"'))
    with pytest.raises(UsageError, match="run on other images"):
        clear_run(mine)
    assert record.exists()


def test_a_time_cap_of_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="--max-minutes"):
        DemoSettings(max_minutes=0)


def test_the_demo_says_how_many_epochs_the_time_allowed() -> None:
    cut_short = trained({"epochs": 40, "result": {"epochs": 23, "seconds": 70.6}})
    assert cut_short.startswith("Trained 23 of 40 epochs in 71 s. Time allowed no more: ")
    whole = trained({"epochs": 40, "result": {"epochs": 40, "seconds": 60.0}})
    assert whole == "Trained 40 of 40 epochs in 60 s."
