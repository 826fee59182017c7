"""Times of frames are those of the container; a file that gives less than it announces is told of."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from videos import (
    cut,
    index_first,
    ticks_of,
    with_dropped_frames,
    with_edit,
    with_hole,
    with_steps,
    write_video,
)

from edgeosr.errors import DataError
from edgeosr.runtime.announced_frames import SPARE_FRAMES, AnnouncedFrames, announced_frames
from edgeosr.runtime.frame_times import FrameTimes
from edgeosr.runtime.predict import predict_source
from edgeosr.runtime.prediction_summary import PredictionSummary
from edgeosr.runtime.sources import Video
from edgeosr.runtime.video import VideoReader
from edgeosr.runtime.video_container import Container, read_container

FRAMES = 40
SUFFIXES = (".avi", ".mp4", ".mkv", ".webm", ".ts", ".flv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A whole video of 40 small frames at 25 Hz, by its suffix."""
    folder = tmp_path_factory.mktemp("whole")
    made = {suffix: write_video(folder / f"a{suffix}", FRAMES, height=64, width=64) for suffix in SUFFIXES}
    return made.__getitem__


def judged(bundle: Path, video: Path) -> tuple[PredictionSummary, list[dict[str, Any]]]:
    lines: list[str] = []
    summary = predict_source(bundle, str(video), video=False, json_lines=True, emit=lines.append)
    return summary, [json.loads(line) for line in lines]


def problem_of(path: Path) -> tuple[int, str | None]:
    """Frames that can be read, and what is said of them."""
    video, count, seconds = Video(str(path), path.stem, False), 0, 0.0
    with VideoReader(video) as reader:
        for picture in reader.pictures():
            count, seconds = count + 1, picture.seconds
        announced = announced_frames(video, reader.length, read=count)
        return count, announced.problem(count, seconds=seconds, rate=reader.rate)


def test_a_variable_frame_rate_gives_the_times_of_the_container(
    bundle_path: Path, whole: Callable[[str], Path]
) -> None:
    ticks = ticks_of(whole(".mp4"))[1]
    steps = [ticks // 25] * 20 + [ticks // 5] * 20
    summary, rows = judged(bundle_path, with_steps(whole(".mp4"), steps))
    expected = [sum(steps[:i]) / ticks for i in range(FRAMES)]
    assert [row["seconds"] for row in rows] == pytest.approx(expected, abs=2e-3)
    assert {row["time_from"] for row in rows} == {"container"} == {summary.time_from}
    assert summary.ok and summary.announced == FRAMES


def test_frames_without_usable_stamps_are_timed_by_the_frame_rate_and_that_is_said(
    bundle_path: Path, whole: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutStamps:
        def __init__(self, address: str) -> None:
            self._capture = real(address)

        def get(self, what: int) -> float:
            return 0.0 if what == cv2.CAP_PROP_POS_MSEC else float(self._capture.get(what))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._capture, name)

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", WithoutStamps)
    summary, rows = judged(bundle_path, whole(".avi"))
    assert [row["seconds"] for row in rows] == [round(i / 25, 3) for i in range(FRAMES)]
    assert summary.time_from == "frame rate" == rows[1]["time_from"] and summary.ok


@pytest.mark.parametrize(
    ("stamps", "seconds", "by_rate"),
    [
        ((0, 40, 80), (0, 0.04, 0.08), ()),
        ((500, 540), (0.5, 0.54), ()),  # the beginning could not be read
        ((0, 40, 0), (0, 0.04, 0.08), (2,)),  # the last frame without a stamp
        ((0, 40, 40, 120), (0, 0.04, 0.08, 0.12), (2,)),
        ((0, 20, math.nan, 60), (0, 0.02, 0.04, 0.06), (2,)),  # the container is faster than its rate
        ((0, math.inf, 80), (0, 0.04, 0.08), (1,)),
        ((-40, 0, 40), (0, 0.04, 0.08), (0, 1, 2)),
        ((0, 1000, 0, 40), (0, 1, 1.04, 1.08), (2, 3)),  # two recordings in one file
    ],
)
def test_times_never_go_back(
    stamps: tuple[float, ...], seconds: tuple[float, ...], by_rate: tuple[int, ...]
) -> None:
    times = FrameTimes(25)
    found = [times.of(stamp) for stamp in stamps]
    assert [time for time, _ in found] == pytest.approx(seconds, abs=1e-9)
    assert [i for i, (_, source) in enumerate(found) if source == "frame rate"] == list(by_rate)


def test_a_live_source_is_timed_by_the_clock(
    whole: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, clock = cv2.VideoCapture, iter((100.0, 100.5, 103.25))
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: real(str(whole(".avi"))))
    monkeypatch.setattr("edgeosr.runtime.frame_times.time.monotonic", lambda: next(clock))
    video = Video(0, "camera-0", True)
    with VideoReader(video) as reader:
        reader.length = None
        found = [(each.seconds, each.time_from) for each in itertools.islice(reader.pictures(), 3)]
    assert found == [(0.0, "clock"), (0.5, "clock"), (3.25, "clock")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_file_is_not_called_damaged(whole: Callable[[str], Path], suffix: str) -> None:
    assert problem_of(whole(suffix)) == (FRAMES, None)


def test_frames_that_a_camera_dropped_are_not_missing_but_a_cut_after_them_is(
    bundle_path: Path, whole: Callable[[str], Path]
) -> None:
    dropped = with_dropped_frames(whole(".avi"), every=5)
    summary, rows = judged(bundle_path, dropped)
    assert summary.ok and summary.announced == len(rows) == FRAMES * 4 // 5
    read, problem = problem_of(cut(dropped, 0.6))
    assert 5 < read < 25 and problem is not None and "the file is cut" in problem


def test_lists_in_lists_without_end_are_gone_through_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "deep.avi"
    nested = b"".join(b"RIFF" + (0x7FFFFFF0).to_bytes(4, "little") + b"AVI " for _ in range(3000))
    path.write_bytes(nested + b"00dc\0\0\0\0" * 7)
    assert read_container(path).empty == 7


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".webm", ".flv"])
def test_a_cut_file_is_told_of(whole: Callable[[str], Path], suffix: str) -> None:
    read, problem = problem_of(cut(whole(suffix), 0.5))
    assert 5 < read < 30 and problem is not None
    about = "" if suffix == ".avi" else "about "
    assert problem.startswith(f"{read} of {about}{FRAMES} announced frames could be read: the file is cut")


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv", ".webm", ".flv", ".ts"])
def test_a_file_with_a_hole_is_told_of(whole: Callable[[str], Path], suffix: str) -> None:
    read, problem = problem_of(with_hole(whole(suffix), 0.35, 0.65))
    assert 5 < read < 38 and problem is not None


def test_a_cut_mp4_for_the_web_is_told_of(whole: Callable[[str], Path]) -> None:
    first = index_first(whole(".mp4"))
    assert problem_of(first) == (FRAMES, None)
    read, problem = problem_of(cut(first, 0.6))
    assert 5 < read < 38 and problem is not None


def test_a_video_that_was_trimmed_without_rewriting_is_whole(whole: Callable[[str], Path]) -> None:
    movie, track = ticks_of(whole(".mp4"))
    trimmed = with_edit(whole(".mp4"), movie // 2, track)  # half a second, from the first second on
    read, problem = problem_of(trimmed)
    assert read < 20 and problem is None
    assert read_container(trimmed) == Container(frames=12, exact=False, whole=True)


def test_a_cut_file_makes_the_command_fail_and_keeps_its_verdicts(
    bundle_path: Path, whole: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    summary, rows = judged(bundle_path, cut(whole(".avi"), 0.5))
    assert not summary.ok and len(rows) == summary.judged > 5
    assert (summary.announced, summary.as_json()["announced"]) == (FRAMES, FRAMES)
    assert summary.as_text().startswith(f"Judged {summary.judged} of {FRAMES} frames: ")
    (error,) = summary.errors
    assert "cut or damaged" in error and f"error: {error}\n" == capsys.readouterr().err


def test_what_the_user_ended_is_not_called_damaged(bundle_path: Path, whole: Callable[[str], Path]) -> None:
    summary = predict_source(bundle_path, str(cut(whole(".avi"), 0.5)), video=False, limit=3)
    assert summary.ok and (summary.judged, summary.announced) == (3, FRAMES)


@pytest.mark.parametrize(
    ("container", "judged", "seconds", "short"),
    [
        (Container(frames=100), 98, 3.9, False),
        (Container(frames=100), 97, 3.9, True),
        (Container(frames=100, exact=False), 88, 3.9, False),
        (Container(frames=100, exact=False), 87, 3.9, True),
        (Container(whole=True), 40, 1.6, False),
        (Container(whole=False), 97, 3.9, True),
        (Container(whole=False), 98, 3.9, False),
        (Container(), 40, 3.0, False),  # nothing but a duration: 4 seconds
        (Container(), 40, 2.9, True),
    ],
)
def test_the_rule_says_how_much_may_be_missing(
    container: Container, judged: int, seconds: float, short: bool
) -> None:
    announced = AnnouncedFrames(100, container)
    assert (announced.problem(judged, seconds=seconds - 1 / 25, rate=25) is not None) == short


def test_a_count_that_opencv_does_not_go_by_is_not_announced(whole: Callable[[str], Path]) -> None:
    video = Video(str(whole(".mp4")), "a", False)
    assert announced_frames(video, FRAMES, read=FRAMES).counted == FRAMES
    for computed in (1, FRAMES + 1, None):
        assert announced_frames(video, computed, read=1).counted is None


def test_what_announces_nothing_cannot_fall_short(tmp_path: Path) -> None:
    assert AnnouncedFrames(None, Container()).problem(1, seconds=0, rate=25) is None
    for content in (b"", b"RIFF", b"RIFF....AVI ", b"\x1aE\xdf\xa3", b"....moov", b"G" * 189, b"FLV\x01"):
        (tmp_path / "odd").write_bytes(content)
        assert read_container(tmp_path / "odd").frames is None
    assert read_container(tmp_path / "missing") == Container()


def test_a_frame_that_opencv_fails_on_ends_the_video_and_keeps_what_was_judged(
    bundle_path: Path, whole: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, address: str) -> None:
            self._capture, self._read = real(address), 0

        def read(self) -> Any:
            self._read += 1
            if self._read > 3:
                raise cv2.error("planted")
            return self._capture.read()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._capture, name)

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Failing)
    summary, rows = judged(bundle_path, whole(".avi"))
    assert (len(rows), summary.ok) == (3, False)
    path = whole(".avi")
    assert summary.errors[0].startswith(f"{path} was judged up to frame 3: OpenCV cannot decode a frame of")
    monkeypatch.setattr(Failing, "read", lambda _: (_ for _ in ()).throw(cv2.error("planted")))
    with pytest.raises(DataError, match="cannot decode a frame"):
        judged(bundle_path, whole(".avi"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_changed_file_is_never_more_than_unknown(
    whole: Callable[[str], Path], tmp_path: Path, suffix: str
) -> None:
    data, random = whole(suffix).read_bytes(), np.random.default_rng(0)
    odd = tmp_path / f"odd{suffix}"
    for _ in range(50):
        changed = bytearray(data[: int(random.integers(1, len(data)))] if random.random() < 0.3 else data)
        # Above all where boxes and tables are: near both ends.
        for at in random.integers(0, 2000, 6).tolist():
            side = 1 if random.random() < 0.5 else -1
            changed[side * min(at, len(changed) - 1)] = int(random.choice([0, 1, 255]))
        odd.write_bytes(changed)
        found = read_container(odd)
        assert found.frames is None or found.frames >= 0


def test_damaged_pixels_are_mended_by_the_decoder_and_not_told(
    bundle_path: Path, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    """As docs/commands.md says: what is told is missing frames and cut containers."""
    data = bytearray(whole(".mp4").read_bytes())
    start = data.index(b"mdat") + 100
    data[start : start + 20] = bytes(20)
    (tmp_path / "damaged.mp4").write_bytes(data)
    summary, rows = judged(bundle_path, tmp_path / "damaged.mp4")
    _, as_recorded = judged(bundle_path, whole(".mp4"))
    assert summary.ok and summary.errors == () and len(rows) >= len(as_recorded) - SPARE_FRAMES
    assert [row["score"] for row in rows] != [row["score"] for row in as_recorded][: len(rows)]
