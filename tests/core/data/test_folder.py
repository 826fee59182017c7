"""Folders of images: what counts as a class and as an image, in which order."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.folder import read_folder
from edgeosr.data.parts import four_parts
from edgeosr.errors import DataError

Write = Callable[..., Path]


def names(images: object) -> list[str]:
    return [images.name_of(i) for i in range(len(images))]


def test_each_folder_is_a_class(write_folder: Write) -> None:
    train, test = read_folder(write_folder({"cat": 2, "ant": 3}))
    assert test is None
    assert train.class_names == ("ant", "cat")
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert names(train)[3:] == ["cat/000.png", "cat/001.png"]
    assert train.read(4).tolist() == np.full((6, 6, 3), 1).tolist()
    assert len(set(train.groups.tolist())) == 5


def test_suffixes_of_any_case_count_and_hidden_or_other_files_do_not(write_folder: Write) -> None:
    root = write_folder({"ant": 1, "bee": 1})
    one = (root / "ant" / "000.png").read_bytes()
    for name in (
        "B.PNG",
        "c.JpG",
        "d.jpeg",
        "e.WEBP",
        "f.bmp",
        ".hidden.png",
        "notes.txt",
        "png",
        "Thumbs.db",
    ):
        (root / "ant" / name).write_bytes(one)
    for hidden in (".git", "__MACOSX"):
        (root / hidden).mkdir()
        (root / hidden / "x.png").write_bytes(one)
    (root / "preview.png").write_bytes(one)
    train, _ = read_folder(root)
    assert names(train) == [
        *("ant/000.png", "ant/B.PNG", "ant/c.JpG", "ant/d.jpeg", "ant/e.WEBP", "ant/f.bmp"),
        "bee/000.png",
    ]


def test_folders_inside_a_class_belong_to_it_and_loops_end(write_folder: Write) -> None:
    root = write_folder({"ant": 1, "ant/monday/early": 2, "bee": 1})
    (root / "ant" / ".cache").mkdir()
    (root / "ant" / ".cache" / "x.png").write_bytes(b"")
    os.symlink(root / "ant", root / "ant" / "monday" / "loop")
    train, _ = read_folder(root)
    assert names(train) == [
        "ant/000.png",
        "ant/monday/early/000.png",
        "ant/monday/early/001.png",
        "bee/000.png",
    ]


def test_links_to_folders_are_followed(write_folder: Write, tmp_path: Path) -> None:
    root = write_folder({"ant": 1, "bee": 1})
    elsewhere = write_folder({"cow": 2}, tmp_path / "elsewhere")
    os.symlink(elsewhere / "cow", root / "cow")
    assert names(read_folder(root)[0])[2:] == ["cow/000.png", "cow/001.png"]


def test_train_and_test_share_one_list_of_classes(write_folder: Write) -> None:
    train, test = read_folder(write_folder({"Train/ant": 2, "Train/bee": 1, "test/bee": 2, "test/cow": 1}))
    assert train.class_names == test.class_names == ("ant", "bee", "cow")
    assert train.labels.tolist() == [0, 0, 1]
    assert test.labels.tolist() == [1, 1, 2]
    assert names(test)[0] == "test/bee/000.png"


def test_val_stands_in_for_test_or_joins_train(write_folder: Write, tmp_path: Path) -> None:
    _, test = read_folder(write_folder({"train/ant": 2, "val/ant": 1}, tmp_path / "a"))
    assert names(test) == ["val/ant/000.png"]
    train, test = read_folder(write_folder({"train/ant": 1, "val/ant": 1, "test/ant": 1}, tmp_path / "b"))
    assert names(train) == ["train/ant/000.png", "val/ant/000.png"]
    assert names(test) == ["test/ant/000.png"]


def test_a_class_called_train_among_others_is_a_class(write_folder: Write) -> None:
    train, test = read_folder(write_folder({"train": 1, "plane": 1, "car": 1}))
    assert train.class_names == ("car", "plane", "train")
    assert test is None


def test_a_third_folder_beside_train_and_test_is_not_taken_for_a_class(write_folder: Write) -> None:
    with pytest.raises(DataError, match="also outliers/"):
        read_folder(write_folder({"train/ant": 1, "test/ant": 1, "outliers/x": 1}))


def test_a_flat_folder_is_one_class_of_its_name(write_folder: Write) -> None:
    train, _ = read_folder(write_folder({"strange": 3}) / "strange")
    assert train.class_names == ("strange",)
    assert len(train) == 3


def test_the_order_of_writing_changes_nothing(write_folder: Write, tmp_path: Path) -> None:
    counts = {"bee": 12, "ant": 11}
    first, _ = read_folder(write_folder(counts, tmp_path / "first"))
    second, _ = read_folder(write_folder(counts, tmp_path / "second", backwards=True))
    assert names(first) == names(second)
    assert first.labels.tolist() == second.labels.tolist()


def test_empty_folders_are_refused(tmp_path: Path, write_folder: Write) -> None:
    with pytest.raises(DataError, match=r"no images in .*CLASS/IMAGE\.png"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="cannot read the folder"):
        read_folder(tmp_path / "gone")


def test_a_folder_without_pictures_is_told_and_stops_nothing_until_it_is_a_known_class(
    write_folder: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder({"ant": 8, "bee": 8, "fly": 2})
    (root / "later").mkdir()
    image_set = open_image_set(str(root))
    assert "passed over" in (said := capsys.readouterr().err) and "without a picture in it (later)" in said
    parts = four_parts(image_set, known=("ant", "bee"))
    assert parts.unknown == ("fly",)
    assert parts.unknown_test is not None and len(parts.unknown_test) == 2
    for known in (None, ("ant", "later")):
        with pytest.raises(DataError, match=r"'later' is missing from .*; add images"):
            four_parts(image_set, known=known)


def test_names_that_differ_in_their_unicode_form_alone_are_one_name(
    write_folder: Write, tmp_path: Path
) -> None:
    one, other = "caf\u00e9", "cafe\u0301"
    with pytest.raises(DataError, match=r"both called caf\u00e9: .* two Unicode forms; move"):
        read_folder(write_folder({one: 1, other: 1}, tmp_path / "both"))
    train, test = read_folder(write_folder({f"train/{one}": 2, f"test/{other}": 3}, tmp_path / "parts"))
    assert train.class_names == (one,)
    assert test is not None and test.labels.tolist() == [0, 0, 0]
    root = write_folder({other: 6, "tea": 6, "Tea": 6}, tmp_path / "typed")
    # Upper and lower case are two classes: a reader of letters has both.
    assert four_parts(open_image_set(str(root)), known=(one, "tea", "Tea")).known == (other, "tea", "Tea")
    assert open_image_set(f"{root}:{one}").train.class_names == (other,)
