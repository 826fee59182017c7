"""predict on video: every frame judged and drawn, Ctrl-C finishes the file, a failure costs no verdict."""

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from videos import write_video

from edgeosr.cli.app import main
from edgeosr.errors import DataError, InferenceError, MissingDependencyError, StorageError, UsageError
from edgeosr.runtime.drawn_video import VideoWriter
from edgeosr.runtime.predict import predict_source
from edgeosr.runtime.runtime import Runtime

Frames = NDArray[np.uint8]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve frames of 240 x 320 at 25 Hz, a colour each, written by OpenCV itself."""
    monkeypatch.chdir(tmp_path)
    return write_video(tmp_path / "clip.avi", 12)


def read_video(path: Path) -> tuple[list[Frames], float]:
    capture = cv2.VideoCapture(str(path))
    frames: list[Frames] = []
    while True:
        found, frame = capture.read()
        if not found:
            return frames, float(capture.get(cv2.CAP_PROP_FPS))
        frames.append(np.asarray(frame, np.uint8))


def test_every_frame_is_judged_in_the_right_colours_and_written_drawn(
    bundle_path: Path, clip: Path, expected_of: Callable[[Frames], Any]
) -> None:
    lines: list[str] = []
    summary = predict_source(bundle_path, "clip.avi", json_lines=True, emit=lines.append)
    assert summary.judged == 12 and summary.written == Path("predictions/clip.mp4")
    rows = [json.loads(line) for line in lines]
    assert [(row["frame"], row["seconds"]) for row in rows] == [(i, i / 25) for i in range(12)]
    seen, _ = read_video(clip)
    expected = expected_of(np.stack(seen)[..., ::-1])
    assert [row["index"] for row in rows] == expected.label.tolist() == [0, 1, 2, 3] * 3
    assert [row["score"] for row in rows] == pytest.approx(expected.score.tolist(), abs=1e-4)
    drawn, rate = read_video(summary.written)
    assert (len(drawn), rate, drawn[0].shape) == (12, 25.0, (240, 320, 3))
    for row, frame, source in zip(rows, drawn, seen, strict=True):
        _, green, red = frame[2:5, 2:5].mean(axis=(0, 1))  # the label's background
        assert (green > red) == row["accepted"]
        assert np.abs(frame[60:].astype(int) - source[60:]).mean() < 6  # below it the picture is as it was
    assert [path.name for path in Path("predictions").iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("out", "written"), [("x/y.avi", "x/y.avi"), ("z.mp4", "z.mp4"), ("d", "d/clip.mp4")]
)
def test_the_drawn_video_goes_where_out_says(bundle_path: Path, clip: Path, out: str, written: str) -> None:
    summary = predict_source(bundle_path, "clip.avi", out=Path(out), limit=3)
    assert summary.written == Path(written)
    assert len(read_video(Path(written))[0]) == 3


def test_other_suffixes_and_the_source_itself_are_refused(bundle_path: Path, clip: Path) -> None:
    before = clip.read_bytes()
    with pytest.raises(UsageError, match=r"suffix of a video must be one of \.mp4, \.avi; got '\.gif'"):
        predict_source(bundle_path, "clip.avi", out=Path("x.gif"))
    with pytest.raises(UsageError, match="is the source itself"):
        predict_source(bundle_path, "clip.avi", out=clip)
    assert clip.read_bytes() == before


def test_a_pipe_is_not_drawn_over_and_a_link_stays_a_link(bundle_path: Path, clip: Path) -> None:
    os.mkfifo("pipe.mp4")
    lines: list[str] = []
    with pytest.raises(StorageError, match=r"cannot write pipe\.mp4: it is a pipe, a device or a socket"):
        predict_source(bundle_path, "clip.avi", out=Path("pipe.mp4"), json_lines=True, emit=lines.append)
    assert Path("pipe.mp4").is_fifo() and lines == []
    Path("far").mkdir()
    Path("link.mp4").symlink_to("far/drawn.mp4")
    predict_source(bundle_path, "clip.avi", out=Path("link.mp4"), limit=3)
    assert os.readlink("link.mp4") == "far/drawn.mp4"
    assert len(read_video(Path("far/drawn.mp4"))[0]) == 3 and len(list(Path("far").iterdir())) == 1
    Path("today.mp4").symlink_to("far/drawn")  # the kind of video is that of the name that was asked for
    predict_source(bundle_path, "clip.avi", out=Path("today.mp4"), limit=3)
    assert len(read_video(Path("far/drawn"))[0]) == 3 and Path("today.mp4").is_symlink()


def test_ctrl_c_finishes_the_file_with_the_frames_so_far(bundle_path: Path, clip: Path) -> None:
    def stop_at_the_fifth(line: str) -> None:
        if json.loads(line)["frame"] == 4:
            raise KeyboardInterrupt

    summary = predict_source(bundle_path, "clip.avi", json_lines=True, emit=stop_at_the_fifth)
    assert summary.interrupted and summary.judged == 5
    assert summary.written is not None and len(read_video(summary.written)[0]) == 5


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full from the second time on that it is looked at."""
    real = shutil.disk_usage
    answers = iter([real, lambda _: _Usage(1, 1, 2**20)])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: next(answers)(path))


def not_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("predictions").write_text("a file", encoding="utf-8")


def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    real = cv2.VideoWriter
    monkeypatch.setattr(
        cv2, "VideoWriter", type("None", (), {"fourcc": real.fourcc, "__new__": lambda *_: real()})
    )


def too_large_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is lost without a word, as where a quota ends."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    monkeypatch.setattr(resource, "before", before, raising=False)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (no_room, "only 1 MiB are free"),
        (not_a_folder, "cannot write predictions/clip.mp4: "),
        (no_encoder, "OpenCV cannot write predictions/clip.mp4"),
        (too_large_a_file, "could not be written whole"),
    ],
)
def test_where_no_video_can_be_written_the_verdicts_go_on_and_it_is_told(
    bundle_path: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Callable[[pytest.MonkeyPatch], None],
    words: str,
) -> None:
    lines: list[str] = []
    failure(monkeypatch)
    try:
        summary = predict_source(bundle_path, "clip.avi", json_lines=True, emit=lines.append)
    finally:
        if failure is too_large_a_file:
            resource.setrlimit(resource.RLIMIT_FSIZE, resource.before)  # type: ignore[attr-defined]  # above
    assert len(lines) == summary.judged == 12
    assert (summary.ok, summary.written) == (False, None)
    (error,) = summary.errors
    assert words in error and error.endswith("; the verdicts go on")
    assert capsys.readouterr().err == f"error: {error}\n"
    assert failure is not_a_folder or list(Path("predictions").iterdir()) == []


def test_a_failure_of_ours_leaves_no_half_video(bundle_path: Path, clip: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        predict_source(bundle_path, "clip.avi", json_lines=True, emit=lambda _: print(1 / 0))
    assert list(Path("predictions").iterdir()) == []


def test_a_frame_that_cannot_be_judged_ends_the_video_and_keeps_what_was(
    bundle_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, call = iter(range(4)), Runtime.__call__

    def fails_late(self: Runtime, *arguments: Any, **named: Any) -> Any:
        if next(left, None) is None:
            raise InferenceError("planted")
        return call(self, *arguments, **named)

    monkeypatch.setattr(Runtime, "__call__", fails_late)
    lines: list[str] = []
    summary = predict_source(bundle_path, "clip.avi", json_lines=True, emit=lines.append)
    assert (len(lines), summary.judged, summary.ok) == (4, 4, False)
    assert summary.errors == ("clip.avi was judged up to frame 4: planted",)
    assert summary.written is not None and len(read_video(summary.written)[0]) == 4
    with pytest.raises(InferenceError, match="planted"):
        predict_source(bundle_path, "clip.avi")


def test_without_a_video_none_is_drawn(bundle_path: Path, clip: Path) -> None:
    summary = predict_source(bundle_path, "clip.avi", video=False)
    assert (summary.judged, summary.written, summary.ok) == (12, None, True)
    assert not Path("predictions").exists()
    with pytest.raises(UsageError, match="--no-video draws nothing"):
        predict_source(bundle_path, "clip.avi", video=False, out=Path("x.mp4"))


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ([], "predictions/clip.mp4"),
        (["--json"], "predictions/clip.mp4"),
        (["--jsonl"], None),
        (["--no-video"], None),
        (["--jsonl", "--out", "x.mp4"], "x.mp4"),
        (["--jsonl", "--video"], "predictions/clip.mp4"),
    ],
)
def test_the_command_draws_a_video_but_not_beside_json_lines(
    bundle_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], drawn: str | None
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["edgeosr", "predict", str(bundle_path), "clip.avi", "--limit", "2", *options]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert [str(path) for path in Path().rglob("*.mp4")] == ([] if drawn is None else [drawn])


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_another_writes_is_not(
    bundle_path: Path, clip: Path
) -> None:
    leftover = Path("predictions/.clip.mp4.abcd1234.part.mp4")
    leftover.parent.mkdir()
    leftover.write_bytes(b"half a video")
    with VideoWriter(Path("predictions/clip.mp4"), 25, 0) as other:
        other.write(np.zeros((64, 64, 3), np.uint8))
        predict_source(bundle_path, "clip.avi", limit=2)
        assert not leftover.exists()
        assert other.finish() is not None
    assert [path.name for path in Path("predictions").iterdir()] == ["clip.mp4"]


def test_a_drawn_video_has_the_permissions_of_any_new_file(bundle_path: Path, clip: Path) -> None:
    written = predict_source(bundle_path, "clip.avi", limit=2).written
    Path("plain").touch()
    assert written is not None and written.stat().st_mode == Path("plain").stat().st_mode


def test_where_mp4_cannot_be_written_an_avi_is(
    bundle_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutMp4:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __new__(cls, path: str, *rest: Any) -> Any:
            return real() if path.endswith(".mp4") else real(path, *rest)

    real = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", WithoutMp4)
    summary = predict_source(bundle_path, "clip.avi", limit=2)
    assert summary.written == Path("predictions/clip.avi")
    assert len(read_video(summary.written)[0]) == 2


def test_a_video_that_does_not_read_back_is_not_called_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(StorageError, match="could not be written whole"),
        VideoWriter(tmp_path / "x.mp4", 25, 0) as w,
    ):
        w.write(np.zeros((64, 64, 3), np.uint8))
        real = cv2.VideoCapture
        monkeypatch.setattr(cv2, "VideoCapture", lambda _: real())
        w.finish()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_refused_and_nothing_written(bundle_path: Path, clip: Path) -> None:
    Path("noise.mp4").write_bytes(bytes(range(256)) * 20)
    Path("0.mp4").write_bytes(b"1")
    shown = {
        "noise.mp4": "the video noise.mp4",
        "./0.mp4": "the video 0.mp4",
        "77": "the camera or stream camera-77",
    }
    for source, name in {**shown, "/dev/null": "the camera or stream /dev/null"}.items():
        with pytest.raises(DataError, match=f"cannot open {name}: "):
            predict_source(bundle_path, source)
    with pytest.raises(DataError, match=r"cannot open the camera or stream 127\.0\.0\.1-9: "):
        predict_source(bundle_path, "tcp://user:secret@127.0.0.1:9/x")
    assert not Path("predictions").exists()


def test_without_opencv_the_error_holds_the_install_line(
    bundle_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeosr\[video\]'"):
        predict_source(bundle_path, "clip.avi")


def test_a_source_that_changes_its_frame_size_ends_the_drawing(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "x.mp4", 25, 0) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
        with pytest.raises(StorageError, match=r"changed its frame size from \(64, 64\) to \(64, 96\)"):
            writer.write(np.zeros((64, 96, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
