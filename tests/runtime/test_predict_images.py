"""predict on images: upright, converted by the stated rules, unreadable ones named and passed over."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeosr.errors import DeviceError, UsageError
from edgeosr.runtime.annotate import ACCEPTED_RGB, UNKNOWN_RGB
from edgeosr.runtime.predict import predict_source
from edgeosr.runtime.runtime import Runtime

Frames = NDArray[np.uint8]


@pytest.fixture
def photos(tmp_path: Path, frames: Frames) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / ("more" if i % 2 else ".") / f"{i}.png")
    return folder


def test_every_image_of_a_folder_gets_its_verdict(
    bundle_path: Path, photos: Path, frames: Frames, expected_of: Callable[[Frames], Any]
) -> None:
    lines: list[str] = []
    summary = predict_source(bundle_path, str(photos), json_lines=True, emit=lines.append)
    expected, rows = expected_of(frames), [json.loads(line) for line in lines]
    assert len(rows) == summary.judged == summary.accepted + summary.unknown == len(frames)
    for row in rows:
        i = int(Path(row["source"]).stem)
        assert row["score"] == pytest.approx(expected.score[i], abs=1e-5)
        assert row["index"] == expected.label[i]
    assert summary.accepted == sum(row["accepted"] for row in rows) == sum(summary.labels.values())
    assert summary.median_latency_ms is not None and summary.median_latency_ms > 0
    assert summary.written is None and summary.ok and not summary.interrupted


def test_the_threshold_of_the_call_decides(bundle_path: Path, photos: Path) -> None:
    lines: list[str] = []
    everything = predict_source(bundle_path, str(photos), threshold=1e9, emit=lines.append)
    nothing = predict_source(bundle_path, str(photos), threshold=-1e9, emit=lines.append)
    assert (everything.accepted, nothing.accepted, nothing.threshold) == (9, 0, -1e9)
    assert [line.split()[0] for line in lines[9:]] == ["unknown"] * 9


def test_text_lines_are_cut_and_say_so(bundle_path: Path, photos: Path) -> None:
    lines: list[str] = []
    predict_source(bundle_path, str(photos), shown=2, emit=lines.append)
    assert len(lines) == 3 and lines[-1] == "... and 7 more; --json shows all"
    lines.clear()
    assert predict_source(bundle_path, str(photos), limit=2, emit=lines.append).judged == 2
    with pytest.raises(UsageError, match="limit must be a whole number from 1"):
        predict_source(bundle_path, str(photos), limit=0)


def test_grey_transparent_and_16_bit_images_follow_the_stated_rules(
    bundle_path: Path, tmp_path: Path, expected_of: Callable[[Frames], Any]
) -> None:
    grey = np.full((8, 8), 90, np.uint8)
    see_through = np.zeros((8, 8, 4), np.uint8)
    see_through[:] = (200, 100, 50, 128)
    on_black = np.zeros((8, 8, 3), np.uint8)
    on_black[:] = (100, 50, 25)
    cases = {
        "grey.png": (grey, np.repeat(grey[..., None], 3, axis=2)),
        "alpha.png": (see_through, on_black),
        "deep.png": (np.full((8, 8), 200 * 257, np.uint16), np.full((8, 8, 3), 200, np.uint8)),
    }
    for name, (stored, seen) in cases.items():
        Image.fromarray(stored).save(tmp_path / name)
        lines: list[str] = []
        predict_source(bundle_path, str(tmp_path / name), json_lines=True, emit=lines.append)
        assert json.loads(lines[0])["score"] == pytest.approx(expected_of(seen[None]).score[0], abs=1e-5)


def test_exif_orientation_is_honoured(
    make_bundle: Callable[..., Path], tmp_path: Path, frames: Frames
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    Image.fromarray(frames[0]).save(tmp_path / "phone.jpg", exif=exif)
    upright = make_bundle(frame=(frames.shape[2], frames.shape[1]))
    assert predict_source(upright, str(tmp_path / "phone.jpg"), emit=lambda _: None).failed == 0
    lying = make_bundle(frame=frames.shape[1:3])
    assert predict_source(lying, str(tmp_path / "phone.jpg"), emit=lambda _: None).failed == 1


def test_unreadable_images_are_named_counted_and_passed_over(
    bundle_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:200])
    (photos / "empty.jpg").touch()
    lines: list[str] = []
    summary = predict_source(bundle_path, str(photos), json_lines=True, emit=lines.append)
    assert (summary.judged, summary.failed, summary.ok) == (9, 2, True)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "broken.png" in errors[0] and "empty.jpg" in errors[1]
    failed = [json.loads(line) for line in lines if "error" in json.loads(line)]
    assert [Path(row["source"]).name for row in failed] == ["broken.png", "empty.jpg"]
    alone = predict_source(bundle_path, str(photos / "empty.jpg"), emit=lines.append)
    assert (alone.judged, alone.failed, alone.ok) == (0, 1, False)


def test_a_score_that_is_not_finite_is_null_in_json(bundle_path: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "white").save(tmp_path / "white.png")
    lines: list[str] = []
    summary = predict_source(bundle_path, str(tmp_path / "white.png"), json_lines=True, emit=lines.append)
    row = json.loads(lines[0])
    assert (row["score"], row["finite"], row["label"], summary.unknown) == (None, False, "unknown", 1)
    assert json.loads(json.dumps(summary.as_json(), allow_nan=False))["judged"] == 1


def test_drawn_copies_keep_their_place_and_show_the_decision(
    bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    out = tmp_path / "drawn"
    summary = predict_source(bundle_path, str(photos), out=out, json_lines=True, emit=lines.append)
    assert summary.written == out
    assert {str(path.relative_to(out)) for path in out.rglob("*.png")} == {
        f"more/{i}.png.png" if i % 2 else f"{i}.png.png" for i in range(9)
    }
    for row in map(json.loads, lines):
        drawn = np.asarray(Image.open(out / Path(row["source"]).relative_to(photos).with_suffix(".png.png")))
        assert drawn.shape == (160, 240, 3)  # 20 x 30, enlarged eight times
        assert tuple(drawn[0, 0]) == (ACCEPTED_RGB if row["accepted"] else UNKNOWN_RGB)
    with pytest.raises(UsageError, match="--out is a folder"):
        predict_source(bundle_path, str(photos), out=photos / "0.png")


@pytest.mark.parametrize("inside", [".", "drawn"])
def test_drawings_are_not_written_among_the_images(bundle_path: Path, photos: Path, inside: str) -> None:
    with pytest.raises(UsageError, match="lies in the folder the images come from"):
        predict_source(bundle_path, str(photos), out=photos / inside)
    assert sum(1 for path in photos.rglob("*") if path.is_file()) == 9


def test_copies_that_cannot_be_written_cost_no_verdict(
    bundle_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    lines: list[str] = []
    out = tmp_path / "file" / "drawn"
    summary = predict_source(bundle_path, str(photos), out=out, json_lines=True, emit=lines.append)
    assert len(lines) == summary.judged == 9
    assert (summary.ok, summary.written) == (False, None)
    (error,) = summary.errors
    assert error.startswith("no copies are drawn any more: cannot write") and error.endswith("verdicts go on")
    assert capsys.readouterr().err == f"error: {error}\n"


def test_ctrl_c_keeps_the_verdicts_so_far(bundle_path: Path, photos: Path) -> None:
    lines: list[str] = []

    def stop_at_the_third(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            raise KeyboardInterrupt

    summary = predict_source(bundle_path, str(photos), json_lines=True, emit=stop_at_the_third)
    assert summary.interrupted and summary.ok and summary.judged == len(lines) == 3


def test_a_failure_in_the_middle_keeps_the_verdicts_so_far(
    bundle_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, call = iter(range(4)), Runtime.__call__

    def fails_late(self: Runtime, *arguments: Any, **named: Any) -> Any:
        if next(left, None) is None:
            raise DeviceError("planted")
        return call(self, *arguments, **named)

    monkeypatch.setattr(Runtime, "__call__", fails_late)
    lines: list[str] = []
    summary = predict_source(bundle_path, str(photos), json_lines=True, emit=lines.append)
    assert (len(lines), summary.ok, summary.errors) == (4, False, ("after 4 images: planted",))
    with pytest.raises(DeviceError, match="planted"):
        predict_source(bundle_path, str(photos))
