"""predict on video: every frame judged and drawn, Ctrl-C finishes the file, a failure leaves none."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeosr.errors import DataError, MissingDependencyError, StorageError, UsageError
from edgeosr.runtime.drawn_video import VideoWriter
from edgeosr.runtime.predict import predict_source

Frames = NDArray[np.uint8]
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (120, 120, 120))  # RGB


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve frames of 240 x 320 at 25 Hz, a colour each, written by OpenCV itself."""
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for i in range(12):
        writer.write(np.full((240, 320, 3), COLOURS[i % 4][::-1], np.uint8))
    writer.release()
    return tmp_path / "clip.avi"


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


@pytest.mark.parametrize("failure", ["disk", "network"])
def test_a_failure_leaves_no_half_video(
    bundle_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    if failure == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(1, 1, 2**20))
        with pytest.raises(StorageError, match="only 1 MiB are free"):
            predict_source(bundle_path, "clip.avi")
    else:
        with pytest.raises(ZeroDivisionError):
            predict_source(bundle_path, "clip.avi", json_lines=True, emit=lambda _: print(1 / 0))
    assert list(Path("predictions").iterdir()) == []


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
    for source in ("noise.mp4", "77"):
        with pytest.raises(DataError, match="cannot open the"):
            predict_source(bundle_path, source)
    assert not Path("predictions").exists()


def test_without_opencv_the_error_holds_the_install_line(
    bundle_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeosr\[video\]'"):
        predict_source(bundle_path, "clip.avi")
