"""Paths that no file can have, that lead in circles, or that are no text: said in words, never a crash."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeosr.cli import app as application
from edgeosr.data import cifar_binary, idx, packs
from edgeosr.data.catalogue import open_image_set
from edgeosr.errors import DataError, EdgeosrError, StorageError
from edgeosr.runtime.predict import predict_source
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.sources import ImageFiles, Video, open_source
from edgeosr.runtime.verify import verify_bundle
from edgeosr.runtime.video import VideoReader

Run = Callable[..., tuple[int, str]]
TOO_LONG = "x" * 300


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def called(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["edgeosr", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            application.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return called


@pytest.fixture
def circles(tmp_path: Path) -> Path:
    """A folder with a picture's name in each of two folders, and links that lead back into them."""
    for name in ("a.png", "deep/b.png", "deep/er/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "itself").symlink_to(".")
    (tmp_path / "deep" / "up").symlink_to("..")
    (tmp_path / "deep" / "er" / "again").symlink_to("../../deep")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize("pattern", ["**/*.png", "**", "**/**/*.png"])
def test_a_pattern_finds_each_picture_once_whatever_links_lead_in_circles(
    circles: Path, pattern: str
) -> None:
    found = open_source(str(circles / pattern))
    assert isinstance(found, ImageFiles)
    real = sorted(os.path.relpath(os.path.realpath(path), circles) for path in found.paths)
    assert real == ["a.png", "deep/b.png", "deep/er/c.png"]


@pytest.mark.parametrize("source", [TOO_LONG, "/".join(["y" * 200] * 30), "[x]" * 2000, "9" * 5000, "loop"])
def test_what_no_file_can_be_called_is_not_there(circles: Path, source: str, monkeypatch) -> None:
    monkeypatch.chdir(circles)
    with pytest.raises((StorageError, DataError), match=r"there is no|no file matches"):
        open_source(source)


@pytest.mark.parametrize("name", [TOO_LONG, "loop"])
def test_a_bundle_that_cannot_be_there_is_refused_by_every_reader(circles: Path, name: str, run: Run) -> None:
    for read in (Runtime, verify_bundle):
        with pytest.raises(EdgeosrError):
            read(circles / name)
    for command in ("inspect", "verify", "predict"):
        code, said = run(command, circles / name, *(["a.png"] if command == "predict" else []))
        assert code in (1, 2) and said.startswith("error: ") and "defect" not in said


@pytest.mark.parametrize("out", [TOO_LONG, "loop"])
def test_drawings_that_cannot_be_written_cost_no_verdict(
    out: str, circles: Path, bundle_path: Path, picture: Path
) -> None:
    lines: list[str] = []
    summary = predict_source(bundle_path, str(picture), out=circles / out, emit=lines.append)
    assert summary.judged == 1 and not summary.ok and lines


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    import numpy as np
    from PIL import Image

    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_a_path_that_may_not_be_looked_at_is_no_defect(run: Run, monkeypatch, tmp_path: Path) -> None:
    real = os.stat

    def closed(path, *rest, **named):
        if "closed" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "stat", closed)
    code, said = run("predict", "x.edgeosr", tmp_path / "closed" / "\x1b[31m.png")
    assert code == 1
    assert "Permission denied" in said and "check the path" in said and "\x1b" not in said


def test_a_bundle_that_may_not_be_looked_into_is_not_called_none(
    run: Run, monkeypatch, tmp_path: Path
) -> None:
    folder = tmp_path / "closed.edgeosr"
    folder.mkdir()
    real = os.lstat

    def closed(path, *rest, **named):
        if "closed.edgeosr/" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "lstat", closed)
    with pytest.raises(
        StorageError, match=r"closed\.edgeosr may not be looked into: Permission denied; check"
    ):
        Runtime(folder)
    code, said = run("inspect", folder)
    assert code == 1 and "may not be looked into: Permission denied" in said and "no bundle" not in said


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_bundle_on_a_disk_that_fails_is_not_called_none(
    run: Run, monkeypatch, tmp_path: Path, number: int
) -> None:
    real = os.lstat

    def failing(path, *rest, **named):
        if "away.edgeosr/" in os.fspath(path):
            raise OSError(number, os.strerror(number), os.fspath(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "lstat", failing)
    words = f"away.edgeosr cannot be looked into: {os.strerror(number)}; check the disk"
    with pytest.raises(StorageError, match=words):
        Runtime(tmp_path / "away.edgeosr")
    code, said = run("inspect", tmp_path / "away.edgeosr")
    assert code == 1 and "cannot be looked into" in said and "no bundle" not in said


def test_the_parser_leaves_a_path_that_may_not_be_read_to_who_says_what_to_do(
    run: Run, monkeypatch, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"none")
    monkeypatch.setattr(os, "access", lambda *_arguments, **_named: False)  # to root too
    for arguments in (("inspect", "closed"), ("verify", "closed"), ("export", "model.onnx")):
        code, said = run(*arguments[:-1], tmp_path / arguments[-1])
        assert code == 1 and "is not readable" not in said and "; " in said


@pytest.mark.parametrize("name", ["pack.npz", "cifar-10-binary.tar.gz", "train-images-idx3-ubyte"])
def test_a_file_of_a_set_that_may_not_be_read_is_told_with_what_to_check(
    monkeypatch, tmp_path: Path, name: str
) -> None:
    for each in (name, "train-labels-idx1-ubyte"):
        (tmp_path / each).write_bytes(b"some")

    def closed(path, *_rest, **_named):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    for module in (packs, cifar_binary, idx):
        monkeypatch.setattr(module, "require_readable", closed)
    place = tmp_path if name.startswith("train") else tmp_path / name
    words = f"cannot read {tmp_path}/.*: Permission denied; check the file and its permissions, or copy it"
    with pytest.raises(DataError, match=words):
        open_image_set(str(place))


def test_a_folder_of_images_that_may_not_be_looked_into_is_told_by_its_own_name(
    run: Run, monkeypatch, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir()
    real = os.stat

    def closed(path, *rest, **named):
        if "closed/" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "stat", closed)
    code, said = run("train", "--data", tmp_path / "closed")
    assert code == 1 and f"cannot read the folder {tmp_path}/closed: Permission denied; check its" in said
    assert "data_batch" not in said


def test_an_error_of_the_system_about_a_path_is_told_without_a_traceback(run: Run, monkeypatch) -> None:
    def gone(*_):
        raise FileNotFoundError(2, "No such file or directory", b"gone\xff.png")

    monkeypatch.setattr("edgeosr.bundle.directory.newest_bundle", gone)
    code, said = run("inspect")
    assert code == 1
    assert said.startswith("error: cannot use gone\\xff.png: No such file or directory; check the path")


def test_an_error_of_the_system_that_names_no_path_stays_a_defect(run: Run, monkeypatch) -> None:
    def broken(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("edgeosr.bundle.directory.newest_bundle", broken)
    code, said = run("inspect")
    assert code == 70 and "defect of edgeosr" in said


def test_a_video_and_its_drawing_may_have_any_name(bundle_path: Path, tmp_path: Path) -> None:
    from videos import write_video

    video = tmp_path / os.fsdecode(b"Stra\xdfe.avi")
    shutil.move(write_video(tmp_path / "plain.avi", 5), video)
    lines: list[str] = []
    out = tmp_path / os.fsdecode(b"dr\xffwn.mp4")
    summary = predict_source(bundle_path, str(video), out=out, json_lines=True, emit=lines.append)
    assert summary.ok and summary.judged == len(lines) == 5
    assert summary.written == out and out.stat().st_size > 1000
    assert r"Stra\\xdfe.avi" in lines[0]


@pytest.mark.parametrize("address", ["rtsp://\udcff@", 999_999_999_999, f"/dev/{os.fsdecode(bytes([255]))}"])
def test_an_address_that_opencv_cannot_take_is_told(address: str | int) -> None:
    with pytest.raises(DataError, match="cannot open the camera or stream"):
        VideoReader(Video(address, "one", True))
