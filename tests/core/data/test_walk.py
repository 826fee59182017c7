"""The one walk through folders: links, loops, files that are none, and what is said of them."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeosr.data.folder import read_folder
from edgeosr.data.walk import PassedOver, pictures_below
from edgeosr.errors import DataError, UsageError
from edgeosr.runtime.sources import ImageFiles, open_source

Write = Callable[..., Path]


def found(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    passed_over = PassedOver()
    pictures = [path.relative_to(folder).as_posix() for path in pictures_below(folder, passed_over)]
    return pictures, passed_over.names


def test_pictures_of_a_folder_come_before_those_of_its_folders_each_by_name(write_folder: Write) -> None:
    root = write_folder({".": 1, "b": 1, "a": 1, "a/z": 1, "a/y": 1})
    assert found(root) == (["000.png", "a/000.png", "a/y/000.png", "a/z/000.png", "b/000.png"], {})


def test_a_link_is_followed_once_and_never_up(write_folder: Write, tmp_path: Path) -> None:
    root = write_folder({"cam": 1}, tmp_path / "above" / "images")
    elsewhere = write_folder({"more": 2}, tmp_path / "elsewhere")
    links = {"1": elsewhere, "2": elsewhere, "cam/up": "..", "cam/top": "../../..", "cam/self": "."}
    for name, target in links.items():
        os.symlink(target, root / name)
    os.symlink("000.png", root / "cam" / "twin.png")
    pictures, names = found(root)
    assert pictures == ["1/more/000.png", "1/more/001.png", "cam/000.png", "cam/twin.png"]
    assert sum(map(len, names.values())) == 4


def closed_to_us(monkeypatch: pytest.MonkeyPatch, *closed: Path) -> None:
    """Have the system refuse these folders, to root too."""
    scan = os.scandir

    def scandir(path: Path) -> object:
        if Path(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", scandir)


def test_a_class_folder_that_may_not_be_read_is_told_once_by_its_name(
    write_folder: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder({"c1": 1, "c9": 1})
    closed_to_us(monkeypatch, root / "c9")
    for opens in (read_folder, lambda root: open_source(str(root / "c9"))):
        with pytest.raises(DataError, match=f"^cannot read the folder {root}/c9: Permission denied; check"):
            opens(root)
    assert capsys.readouterr().err == ""


def test_a_folder_in_a_class_that_may_not_be_read_is_passed_over_by_its_name(
    write_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder({"c1": 1, "c1/more": 1})
    closed_to_us(monkeypatch, root / "c1" / "more")
    assert found(root / "c1") == (["000.png"], {"cannot be opened": ["c1/more"]})


def test_what_is_no_regular_file_is_never_opened(write_folder: Write, tmp_path: Path) -> None:
    root = write_folder({".": 1})
    os.mkfifo(root / "pipe.jpg")
    os.symlink("pipe.jpg", root / "to_pipe.png")
    os.symlink("/dev/zero", root / "device.png")
    os.symlink("nowhere.png", root / "gone.png")
    os.symlink("round.png", root / "round.png")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(root / "socket.png"))
        pictures, names = found(root)
    assert pictures == ["000.png"]
    assert names == {
        "no regular file": ["device.png", "pipe.jpg", "socket.png", "to_pipe.png"],
        "a link to nothing": ["gone.png", "round.png"],
    }


@pytest.mark.parametrize(
    "name", ["@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle"]
)
def test_folders_of_systems_are_no_classes_and_hold_no_pictures(name: str, write_folder: Write) -> None:
    root = write_folder({"ant": 1, "bee": 1, name: 1, f"ant/{name}/x": 1})
    train, _ = read_folder(root)
    assert train.class_names == ("ant", "bee") and len(train) == 2


def test_what_was_passed_over_is_said_in_one_line(
    write_folder: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder({"ant": 1, "bee": 1})
    for name in ("ant/.DS_Store", "ant/._1.png", "bee/Thumbs.db", "ant/a.tif", "bee/b.GIF"):
        (root / name).touch()
    os.mkfifo(root / "bee" / "p\x1b[2J.png")
    (root / "loose.png").touch()
    read_folder(root)
    read_folder(root)
    assert capsys.readouterr().err.splitlines() == [
        f"note: 2 file(s) in {root} are passed over (.gif, .tif); "
        "edgeosr reads .png, .jpg, .jpeg, .webp, .bmp",
        f"note: passed over in {root}: 2 hidden (.DS_Store, ._1.png); 1 of the system (Thumbs.db); "
        "1 no regular file (p\\x1b[2J.png); 1 beside the class folders (loose.png)",
    ]


def test_a_link_from_one_class_to_another_labels_nothing_twice(write_folder: Write) -> None:
    root = write_folder({"ant": 2, "bee": 3})
    os.symlink("..", root / "ant" / "up")
    os.symlink("../bee", root / "ant" / "bees")
    train, _ = read_folder(root)
    assert train.labels.tolist() == [0, 0, 1, 1, 1]


def test_train_beside_Train_is_refused(write_folder: Write) -> None:  # the name is the point
    with pytest.raises(DataError, match="Train/ and train/, which differ in upper and lower case"):
        read_folder(write_folder({"train/ant": 1, "Train/ant": 2, "test/ant": 1}))


def test_training_joins_train(write_folder: Write) -> None:
    assert len(read_folder(write_folder({"train/ant": 1, "training/ant": 2, "test/ant": 1}))[0]) == 3


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_pictures_straight_in_a_part_are_said_to_lack_class_folders(part: str, write_folder: Write) -> None:
    counts = {"train/ant": 1, "valid/ant": 1, "test/ant": 1, part: 2}
    counts.pop(f"{part}/ant")
    with pytest.raises(DataError, match=f"{part} holds pictures, but no class folders"):
        read_folder(write_folder(counts))


@pytest.mark.parametrize("name", ["a\x1b[31m", "new\nline", os.fsdecode(b"Stra\xdfe"), "\u202eabc"])
def test_a_class_folder_whose_name_cannot_be_printed_is_refused_when_it_is_opened(
    name: str, write_folder: Write
) -> None:
    from edgeosr.data.catalogue import open_image_set

    root = write_folder({name: 1, "bee": 1})
    with pytest.raises(DataError, match="holds control characters or is no text") as caught:
        open_image_set(str(root))
    assert str(caught.value).isprintable()


def test_names_that_are_no_text_are_files_like_others(write_folder: Write) -> None:
    from edgeosr.data.catalogue import open_image_set
    from edgeosr.data.parts import four_parts

    root = write_folder({"ant": 9, "bee": 9})
    (root / "ant" / "000.png").rename(root / "ant" / os.fsdecode(b"\xdf\n.png"))
    moved = root.rename(root.with_name(os.fsdecode(b"Stra\xdfe")))
    image_set = open_image_set(str(moved))
    record = four_parts(image_set).record(image_set.source, image_set.title)
    assert record.title == r"folder Stra\xdfe" and record.source.endswith(r"Stra\xdfe")
    again = open_image_set(record.source)
    assert four_parts(again).digests == record.digests
    assert [again.train.read(i).shape for i in range(18)] == [(6, 6, 3)] * 18


def test_predict_walks_like_the_other_commands(
    write_folder: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder(
        {"real": 2, "@eaDir": 1},
    )
    links = root.with_name("links")
    links.mkdir()
    os.symlink("../images/real", links / "cam1")
    os.symlink("..", links / "loop")
    os.mkfifo(links / "pipe.png")
    source = open_source(str(links))
    assert isinstance(source, ImageFiles)
    assert [path.relative_to(links).as_posix() for path in source.paths] == ["cam1/000.png", "cam1/001.png"]
    assert (
        "1 no regular file (pipe.png); 1 a link to a folder that is read anyway (loop)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "pattern",
    ["photos [2023]/*.png", "photos [2023]/p*", "clip [1]*.png", "photos [2023]", "ph*/p.png", "ph*"],
)
def test_brackets_in_a_path_are_letters_where_there_is_such_a_path(
    pattern: str, write_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder({"photos [2023]": 1})
    (root / "photos [2023]" / "000.png").rename(root / "photos [2023]" / "p.png")
    (root / "clip [1] b.png").touch()
    monkeypatch.chdir(root)
    wanted = "clip [1] b.png" if "clip" in pattern else "photos [2023]/p.png"
    assert open_source(pattern) == ImageFiles((Path(wanted),))


def test_a_pipe_given_by_name_is_refused_unopened(tmp_path: Path) -> None:
    from edgeosr.data.catalogue import open_image_set

    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match="no regular file, folder or camera"):
        open_source(str(tmp_path / "pipe.npz"))
    with pytest.raises(UsageError, match="no folder and no regular file"):
        open_image_set(str(tmp_path / "pipe.npz"))
