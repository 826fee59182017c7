"""Test images that are files of the training images are counted, and told."""

from dataclasses import replace
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
from edgeosr.errors import DataError


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
    assert equal_files(theirs, [ours]) is None
    assert equal_files(theirs, [read_digits()]) == 0


def bundle_of(classes: tuple[str, ...], source: str) -> SimpleNamespace:
    data = SimpleNamespace(source=source, unknown=())
    manifest = SimpleNamespace(classes=classes, data=data)
    return SimpleNamespace(manifest=manifest, manifest_data=b"", path=Path("a.edgeosr"))


def test_images_given_for_both_sides_are_compared_too_or_it_is_said_that_they_are_not(
    sides, tmp_path, monkeypatch, capsys
) -> None:
    ours = sides[0]
    empty = ours.subset(np.arange(0))
    parts = SimpleNamespace(train=ours, select=empty, calibrate=empty)
    monkeypatch.setattr(quality_images, "reopen_parts", lambda data, root: (None, parts))
    monkeypatch.setattr(quality_images, "was_made_here", lambda path: False)
    bundle = bundle_of(("class",), "photos")
    (tmp_path / "other").mkdir()
    (tmp_path / "theirs" / "class").rename(tmp_path / "other" / "things")
    settings = QualitySettings(
        known=str(tmp_path / "ours"), unknown=str(tmp_path / "other"), trust_source=True
    )

    def said(settings: QualitySettings) -> list[str]:
        capsys.readouterr()
        quality_images.images_to_test(bundle, settings)
        return [line for line in capsys.readouterr().err.splitlines() if "the bundle was made from" in line]

    assert [line[:40] for line in said(settings)] == [
        "note: 8 of the given known images are co",
        "note: 3 of the given unknown images are ",
    ]
    (untrusted,) = said(replace(settings, trust_source=False))
    assert "nobody looked whether" in untrusted and "--trust-source" in untrusted
    monkeypatch.setattr(module, "MOST_FILES", 7)
    assert all("nobody looked whether" in line for line in said(settings)) and len(said(settings)) == 2

    def gone(data: object, root: object) -> None:
        raise DataError("photos is not here")

    monkeypatch.setattr(quality_images, "reopen_parts", gone)
    (lost,) = said(settings)
    assert "nobody looked whether" in lost and "photos is not here" in lost


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
