"""Test images that are files of the training images are counted, and told."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeosr.bench import quality_images
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.data import equal_files as module
from edgeosr.data.digits import read_digits
from edgeosr.data.equal_files import equal_files
from edgeosr.data.folder import read_folder
from edgeosr.data.labelled_images import LabelledImages


@pytest.fixture
def sides(tmp_path: Path) -> tuple[LabelledImages, LabelledImages]:
    for folder, contents in (("ours", range(8)), ("theirs", [3, 4, 4, 99, 98])):
        (tmp_path / folder / "class").mkdir(parents=True)
        for i, content in enumerate(contents):
            (tmp_path / folder / "class" / f"{i}.png").write_bytes(bytes([content]) * 50)
    ours, theirs = (read_folder(tmp_path / folder)[0] for folder in ("ours", "theirs"))
    return ours, theirs


def test_equal_files_are_counted_whatever_their_names(sides) -> None:
    ours, theirs = sides
    assert equal_files(theirs, [ours]) == 3
    assert equal_files(ours, [theirs.subset([0]), theirs.subset([3, 4])]) == 1


def test_pixels_without_files_and_very_many_files_are_not_compared(sides, monkeypatch) -> None:
    ours, theirs = sides
    assert equal_files(read_digits(), [ours]) == equal_files(ours, [read_digits()]) == 0
    monkeypatch.setattr(module, "MOST_FILES", 7)
    assert equal_files(theirs, [ours]) == 0


def test_a_file_that_is_gone_is_no_copy(sides, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "class" / "0.png").unlink()
    assert equal_files(sides[1], [sides[0]]) == 2


def test_evaluate_says_which_images_are_copies_of_what_the_bundle_was_made_from(sides, capsys) -> None:
    ours, theirs = sides
    empty = ours.subset(np.arange(0))
    parts = SimpleNamespace(
        train=ours, select=empty, calibrate=empty, grouping=SimpleNamespace(test_copies=7)
    )
    quality_images._tell_copies(QualitySettings(unknown="theirs"), parts, ours, theirs)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" images are copies")[0] for line in lines] == [
        "note: 7 of the official test",
        "note: 3 of the given unknown",
    ]
    quality_images._tell_copies(QualitySettings(known="theirs"), parts, theirs, ours)
    assert capsys.readouterr().err.startswith("note: 3 of the given known images are copies")
