"""A source is what exists on disk first, then a camera, a stream or a pattern; else near names are named."""

import re
from pathlib import Path

import pytest

from edgeosr.errors import DataError, EdgeosrError
from edgeosr.runtime.sources import ImageFiles, Video, open_source

STREAM = "rtsp://me:secret@10.0.0.7:554/live?x=1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "deep/er/c.webp", ".trash/d.png", "clip.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_its_images_at_any_depth_in_a_fixed_order(folder: Path) -> None:
    found = open_source(str(folder))
    assert isinstance(found, ImageFiles)
    assert [str(path.relative_to(folder)) for path in found.paths] == ["a.png", "b.JPG", "deep/er/c.webp"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.png", ImageFiles((Path("a.png"),))),
        ("*.png", ImageFiles((Path("a.png"),))),
        ("**/c.*", ImageFiles((Path("deep/er/c.webp"),))),
        ("clip.mp4", Video("clip.mp4", "clip", False)),
        ("*.mp4", Video("clip.mp4", "clip", False)),
        ("0", Video(0, "camera-0", True)),
        ("12", Video(12, "camera-12", True)),
        ("/dev/null", Video("/dev/null", "null", True)),
        (STREAM, Video(STREAM, "10.0.0.7-554", True)),
    ],
)  # fmt: skip
def test_each_kind_of_source_is_recognised(folder: Path, source: str, expected: object) -> None:
    assert open_source(source) == expected


def test_a_file_called_0_is_a_file(folder: Path) -> None:
    (folder / "0").touch()
    assert open_source("0") == ImageFiles((Path("0"),))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a.pgn", "there is no image, folder, video or camera 'a.pgn'; did you mean 'a.png'"),
        ("nowhere/a.png", "the folder nowhere does not exist"),
        ("-1", "there is no image"),
        ("x*.png", "no file matches 'x*.png'"),
        ("*", "matches 1 video(s) among 4 files; give one video at a time"),
        ("rstp://10.0.0.7/", "the scheme of a stream must be one of rtsp"),
        ("rstp://10.0.0.7/", "did you mean 'rtsp'"),
    ],
)
def test_what_is_no_source_is_refused_with_the_way_out(folder: Path, source: str, said: str) -> None:
    with pytest.raises(EdgeosrError, match=re.escape(said)):
        open_source(source)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no images \(\.png"):
        open_source(str(tmp_path))


def test_pictures_of_kinds_that_are_not_read_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.gif", "c.TIFF", "notes.txt"):
        (tmp_path / name).touch()
    assert open_source(str(tmp_path)) == ImageFiles((tmp_path / "a.png",))
    assert f"2 file(s) in {tmp_path} are passed over (.gif, .tiff)" in capsys.readouterr().err
