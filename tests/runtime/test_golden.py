"""golden.npz: every field is checked when it is read; frames are enlarged, judged and put back in order."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeosr.bundle.backbone import BackboneRecord, GateRecord
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.manifest import Manifest
from edgeosr.errors import BundleError
from edgeosr.preprocessing import LARGEST_FRAME
from edgeosr.runtime import batch_size
from edgeosr.runtime.batch_size import frames_at_once
from edgeosr.runtime.golden import (
    LARGEST_GOLDEN,
    LEAST_FRAMES,
    Expected,
    Golden,
    Rounding,
    enlarged,
    judged,
    read_golden,
    runner_up,
    write_golden,
)
from edgeosr.runtime.verify import verify_bundle

COUNT, PARTS = LEAST_FRAMES + 3, 5
GATE = GateRecord(
    known=900, unknown=100, ties=0, agreement=1.0, labels=1.0, decisions=1.0, minimum=0.995,
    score_distance=(0.001, 1.6), auroc=None, recalibrated=False,
)  # fmt: skip


def said(seed: int, classes: int = 4) -> Expected:
    random = np.random.default_rng(seed)
    return Expected(
        label=random.integers(0, classes, COUNT),
        second=random.integers(0, classes, COUNT),
        gap=random.uniform(0, 2, COUNT).astype(np.float32),
        score=random.normal(0, 1, COUNT).astype(np.float32),
        values=random.normal(0, 1, (COUNT, PARTS)).astype(np.float32),
    )


def one_wrong(value: float, *parts: int) -> NDArray[np.float32]:
    array = np.zeros((COUNT, *parts), np.float32)
    array[2] = value if not parts else [0.0] * (parts[0] - 1) + [value]
    return array


@pytest.fixture
def sample() -> Golden:
    frames = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 8, 3), np.uint8)
    return Golden(
        frames=frames, size=(12, 16), bgr=np.arange(COUNT) % 2 == 1, portable=said(1), typed=said(2),
        rounding=Rounding(0.25, 0.5, (0.125,) * PARTS),
    )  # fmt: skip


@pytest.fixture
def typed_manifest(manifest: Manifest) -> Manifest:
    record = BackboneRecord(
        precision="fp16", ending="map", logits=False, dtype="float16", converter="none", fusion=None,
        threshold=None, gate=GATE,
    )  # fmt: skip
    files = {**manifest.files, "backbone.onnx": manifest.files["model.onnx"]}
    return replace(manifest, backbone=record, files=files)


def with_changes(golden: Golden, **changes: Any) -> bytes:
    """The file with fields exchanged; None leaves one out."""
    with np.load(io.BytesIO(write_golden(golden))) as file:
        arrays = {**file, **changes}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def assert_equal(one: Expected | None, other: Expected | None) -> None:
    assert one is not None and other is not None
    for name, array in vars(one).items():
        np.testing.assert_array_equal(array, getattr(other, name))


def test_what_is_written_reads_back(sample: Golden, manifest: Manifest, typed_manifest: Manifest) -> None:
    found = read_golden(write_golden(sample), typed_manifest)
    assert_equal(found.portable, sample.portable)
    assert_equal(found.typed, sample.typed)
    np.testing.assert_array_equal(found.frames, sample.frames)
    np.testing.assert_array_equal(found.bgr, sample.bgr)
    assert (found.size, len(found)) == ((12, 16), COUNT)
    assert found.rounding == sample.rounding
    plain = read_golden(write_golden(replace(sample, typed=None, rounding=None)), manifest)
    assert plain.typed is None and plain.rounding is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": None}, "holds no frames with their verdicts"),
        ({"gap": None, "size": None}, "holds no frames with their verdicts"),
        ({"frames": np.array(["pickled", None], object)}, "holds no frames"),
        ({"frames": np.zeros((COUNT, 8, 8, 3), np.float32)}, r"frames must be uint8 .* got float32 \[67, 8"),
        ({"frames": np.zeros((COUNT, 8, 8), np.uint8)}, "frames must be uint8"),
        ({"frames": np.zeros((COUNT, 0, 8, 3), np.uint8)}, "frames must be uint8"),
        ({"frames": np.zeros((4, 8, 8, 3), np.uint8)}, "at least 64: fewer prove too little"),
        ({"frames": np.zeros((COUNT - 1, 8, 8, 3), np.uint8)}, r"bgr must be bool \[66\]"),
        ({"size": np.array([12, 0])}, r"size must be .* got int64 \[2\] \[12, 0\]"),
        ({"size": np.array([12, 16385])}, "size must be"),
        ({"size": np.array([12])}, "size must be"),
        ({"size": np.array([16384, 2049])}, "size must be of at most 33554432 pixels"),
        ({"frames": np.zeros((1025, 8, 8, 3), np.uint8)}, "frames must be at most 1024"),
        ({"more": np.zeros(3, np.float32)}, "an entry that edgeosr does not know, 'more'"),
        ({"more": np.array(["abc"])}, "an entry that edgeosr does not know, 'more'"),
        ({"body_label": np.zeros(COUNT, np.int64)}, "does not know, 'body_label'"),
        ({"bgr": np.zeros(COUNT, bool)}, r"of both channel orders; got bool \[67\], 0 of them true;"),
        ({"bgr": np.ones(COUNT, bool)}, r"of both channel orders; got bool \[67\], 67 of them true;"),
        ({"bgr": np.zeros(COUNT, np.uint8)}, "bgr must be bool"),
        ({"label": np.full(COUNT, 4)}, r"from 0 to 3, int64 \[67\]; got int64 \[67\], from 4 to 4;"),
        ({"label": np.full(COUNT, -1)}, "label must be classes"),
        ({"label": np.zeros(COUNT, np.int32)}, "label must be classes"),
        ({"score": np.zeros(3, np.float32)}, r"score must be float32 \[67\]; got float32 \[3\]"),
        ({"score": np.zeros(COUNT)}, "score must be float32"),
        ({"score": one_wrong(np.nan)}, r"score must be numbers, .*, from 0 to 0, 1 of them not finite"),
        ({"score": one_wrong(-np.inf)}, r"score must be numbers, .* got float32 \[67\], from 0 to 0, 1 of"),
        ({"typed_score": one_wrong(np.nan)}, "typed_score must be finite numbers"),
        ({"typed_score": one_wrong(np.inf)}, "typed_score must be finite numbers"),
        ({"values": one_wrong(np.nan, PARTS)}, "values must be finite numbers"),
        ({"values": one_wrong(np.inf, PARTS)}, "values must be finite numbers"),
        ({"typed_values": one_wrong(-np.inf, PARTS)}, "typed_values must be finite numbers"),
        ({"typed_values": np.full((COUNT, PARTS), np.nan, np.float32)}, r"\[67, 5\], 335 of them not finite"),
        ({"second": np.full(COUNT, 4)}, r"second must be classes from 0 to 3, int64 \[67\]"),
        ({"second": None}, "holds no frames with their verdicts"),
        ({"values": None}, "holds no frames with their verdicts"),
        ({"values": np.zeros((COUNT, PARTS))}, "values must be float32"),
        ({"values": np.zeros((COUNT, PARTS - 1), np.float32)}, r"values must be float32 \[67, 5\]"),
        ({"gap": np.full(COUNT, -0.1, np.float32)}, "gap must be numbers from 0"),
        ({"gap": np.full(COUNT, np.nan, np.float32)}, "gap must be numbers from 0"),
        ({"typed_label": None}, "holds no frames with their verdicts"),
        ({"typed_label": np.full(COUNT, 4)}, "typed_label must be classes"),
        ({"typed_score": np.zeros(3, np.float32)}, "typed_score must be float32"),
        ({"typed_gap": np.full(COUNT, -1, np.float32)}, "typed_gap must be numbers"),
        ({"typed_second": np.full(COUNT, -1)}, "typed_second must be classes"),
        ({"typed_values": np.zeros((1, PARTS), np.float32)}, "typed_values must be float32"),
        ({"rounding": np.full(7, np.inf, np.float32)}, "rounding must be finite numbers"),
        ({"rounding": np.full(7, -0.1, np.float32)}, "rounding must be finite numbers"),
        ({"rounding": np.full(2, 0.1, np.float32)}, r"rounding must be .*float32 \[7\]; got float32 \[2\]"),
    ],
)
def test_a_field_that_is_wrong_is_refused(
    sample: Golden, typed_manifest: Manifest, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BundleError, match=words) as refusal:
        read_golden(with_changes(sample, **changes), typed_manifest)
    assert str(refusal.value).endswith(("; export the bundle again", "export the bundle again with this one"))


def test_the_score_of_a_frame_that_the_model_itself_calls_unknown_is_infinite(
    sample: Golden, typed_manifest: Manifest
) -> None:
    read = read_golden(with_changes(sample, score=one_wrong(np.inf)), typed_manifest)
    assert read.portable.score[2] == np.inf and np.isfinite(np.delete(read.portable.score, 2)).all()


def test_frames_of_another_size_than_the_bundles_are_refused(sample: Golden, manifest: Manifest) -> None:
    data = write_golden(replace(sample, typed=None, rounding=None))
    assert read_golden(data, replace(manifest, frame=(12, 16))).size == (12, 16)
    with pytest.raises(
        BundleError, match=r"size must be that of the bundle's frames, 16x12; got .* \[12, 16"
    ):
        read_golden(data, replace(manifest, frame=(16, 12)))


def test_a_threshold_that_was_edited_in_the_manifest_is_noticed(sample: Golden, manifest: Manifest) -> None:
    limit = manifest.threshold.value
    plain = replace(sample, typed=None, rounding=None)
    assert read_golden(write_golden(plain), manifest).threshold is None
    data = write_golden(replace(plain, threshold=limit))
    assert read_golden(data, manifest).threshold == limit
    edited = replace(manifest, threshold=replace(manifest.threshold, value=50.0))
    with pytest.raises(BundleError, match=r"threshold must be the manifest's 50\.0, which was edited"):
        read_golden(data, edited)
    for wrong in (np.array([limit, limit]), np.array([limit], np.float32), np.array(limit)):
        with pytest.raises(BundleError, match="threshold must be the manifest's"):
            read_golden(with_changes(plain, threshold=wrong), manifest)
    with pytest.raises(BundleError, match="does not know, 'body_threshold'"):
        read_golden(with_changes(plain, body_threshold=np.array([limit])), manifest)


def test_names_of_classes_that_were_exchanged_in_the_manifest_are_noticed(
    sample: Golden, manifest: Manifest
) -> None:
    plain = replace(sample, typed=None, rounding=None)
    assert read_golden(write_golden(plain), manifest).classes is None  # as older files are
    data = write_golden(replace(plain, classes=manifest.classes))
    assert read_golden(data, manifest).classes == manifest.classes
    first, second, *others = manifest.classes
    for names in ((second, first, *others), (first + second, "", *others), (f"{first} ", second, *others)):
        with pytest.raises(BundleError, match=r"classes must be the digest .* which were edited"):
            read_golden(data, replace(manifest, classes=names))
    for wrong in (np.zeros(64, np.uint8), np.zeros(63, np.uint8), np.zeros(64, np.int64)):
        with pytest.raises(BundleError, match="classes must be the digest"):
            read_golden(with_changes(plain, classes=wrong), manifest)


def test_a_preprocessing_that_was_edited_in_the_manifest_is_noticed(
    sample: Golden, manifest: Manifest
) -> None:
    plain, made = replace(sample, typed=None, rounding=None), manifest.preprocessing
    assert read_golden(write_golden(plain), manifest).preprocessing is None  # as older files are
    data = write_golden(replace(plain, preprocessing=made))
    assert read_golden(data, manifest).preprocessing == made
    last = (*made.mean[:2], made.mean[2] + 1e-9)
    for change in (
        {"height": made.height + 1}, {"width": made.width + 1}, {"fit": "stretch"}, {"crop_fraction": 0.5},
        {"resize_to": max(made.height, made.width)}, {"mean": last}, {"std": (*made.std[:2], 2.0)},
        {"color": "bgr"},
    ):  # fmt: skip
        edited = replace(manifest, preprocessing=replace(made, **change))
        words = f"preprocessing must be the manifest's, whose {next(iter(change))} was edited after"
        with pytest.raises(BundleError, match=words):
            read_golden(data, edited)
    for wrong in (np.zeros(12), np.zeros(11), np.zeros(12, np.float32)):
        with pytest.raises(BundleError, match="preprocessing must be the manifest's"):
            read_golden(with_changes(plain, preprocessing=wrong), manifest)


def test_what_is_wrong_with_the_file_of_a_bundle_names_the_bundle(make_bundle, manifest, tmp_path) -> None:
    files = read_bundle(make_bundle()).files
    damaged = tmp_path / "damaged.edgeosr"
    for file in ("golden.npz", "scorer.npz"):
        write_bundle(damaged, manifest, {**files, file: b"PK"})
        with pytest.raises(BundleError, match=rf"^{damaged}/{file} .*; export the bundle again"):
            verify_bundle(damaged)


def test_a_file_of_an_older_edgeosr_is_refused(manifest: Manifest) -> None:
    old = io.BytesIO()
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    np.savez(old, frames=frames, label=np.zeros(4, np.int64), score=np.zeros(4, np.float32))
    with pytest.raises(BundleError, match=r"holds no frames with their verdicts.*export the bundle again"):
        read_golden(old.getvalue(), manifest)


def test_a_file_above_the_limit_is_refused_unread(
    sample: Golden, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = with_changes(sample, more=np.zeros(LARGEST_GOLDEN, np.uint8))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(BundleError, match=r"it has .* bytes, more than 8000000"):
        read_golden(large, manifest)
    for damaged in (b"", b"PK\x03\x04", large[:-30]):
        with pytest.raises(BundleError, match="holds no frames"):
            read_golden(damaged, manifest)


def test_enlarging_repeats_pixels_and_changes_none() -> None:
    frames = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    large = enlarged(frames, (4, 9))
    assert np.array_equal(large, frames.repeat(2, axis=1).repeat(3, axis=2))
    assert np.array_equal(enlarged(frames, (2, 3)), frames)
    uneven = enlarged(frames, (5, 4))
    assert uneven.shape == (2, 5, 4, 3) and set(uneven.ravel()) == set(frames.ravel())


def test_a_frame_of_8k_video_is_no_too_large_one(sample: Golden, manifest: Manifest) -> None:
    assert LARGEST_FRAME >= 4320 * 7680
    large = replace(sample, size=(4320, 7680), typed=None, rounding=None)
    assert read_golden(write_golden(large), manifest).size == (4320, 7680)


def test_frames_that_would_take_hours_to_judge_are_refused(sample: Golden, manifest: Manifest) -> None:
    count = 1024
    rows = {name: np.resize(each, (count, *each.shape[1:])) for name, each in vars(said(1)).items()}
    rows |= {"frames": np.zeros((count, 1, 1, 3), np.uint8), "bgr": np.arange(count) % 2 == 1}

    def of(width: int) -> bytes:
        return with_changes(replace(sample, size=(2048, width), typed=None, rounding=None), **rows)

    assert len(read_golden(of(2048), manifest)) == count  # of 4 MP each: as much as is allowed
    with pytest.raises(BundleError, match="of at most 4194304 pixels with 1024 frames"):
        read_golden(of(2049), manifest)


@pytest.mark.parametrize(("tangents", "most"), [(0, 64), (20, 3), (64, 1)])
def test_batches_are_of_one_order_and_answers_go_back_to_their_frames(
    tangents: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (11, 2, 2, 3), np.uint8)
    bgr = random.random(11) < 0.4
    seen: list[int] = []

    def judge(batch: np.ndarray, blue_first: bool) -> tuple[np.ndarray, ...]:
        seen.append(len(batch))
        assert batch.shape[1:] == (4, 6, 3)
        return batch[:, 0, 0].astype(int), np.full(len(batch), blue_first)

    first, order = judged(frames, bgr, (4, 6), judge, most=frames_at_once((4, 6), tangents))
    assert np.array_equal(first, frames[:, 0, 0]) and np.array_equal(order, bgr)
    assert max(seen) <= most
    monkeypatch.setattr(batch_size, "BATCH_PIXELS", 48)
    seen.clear()
    judged(frames, bgr, (4, 6), judge, most=frames_at_once((4, 6)))
    assert max(seen) == 2


def test_the_gap_is_between_the_first_two_classes_in_deviations_of_the_logits() -> None:
    logits = np.array([[0.0, 3.0, 1.0], [2.0, 2.0, -1.0], [np.nan, 1.0, 0.0]])
    label = np.array([1, 0, 0])
    second, gaps = runner_up(logits, label)
    assert second[:2].tolist() == [2, 1]
    spread = logits[:2].std()
    np.testing.assert_allclose(gaps, [2 / spread, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(runner_up(logits * 1000, label)[1], gaps, rtol=1e-6)
    assert runner_up(np.ones((2, 1)), np.zeros(2, np.int64))[1].tolist() == [np.inf, np.inf]
    assert runner_up(np.ones((2, 3)), np.zeros(2, np.int64))[1].tolist() == [0, 0]


def test_the_second_class_is_another_one_than_the_graph_named_though_rounding_swapped_the_two() -> None:
    logits = np.array([[1.0, 1.0 + 1e-12, 0.0]] * 2)
    assert runner_up(logits, np.array([0, 1]))[0].tolist() == [1, 0]


def test_a_bundle_decides_as_recorded_alone_and_in_batches(bundle_path: Path) -> None:
    report = verify_bundle(bundle_path, backends=("onnxruntime",))
    (check,) = report.checks
    assert report.passed and check.frames == 2 * LEAST_FRAMES
    assert check.agreed + check.ties == check.frames and check.ties <= 4
    assert check.score_distance[1] < 1e-4


def test_a_graph_that_mistakes_the_order_of_the_channels_fails(
    make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph

    run = OnnxRuntimeGraph.run
    monkeypatch.setattr(OnnxRuntimeGraph, "run", lambda self, frames, *, bgr: run(self, frames))
    report = verify_bundle(make_bundle(), backends=("onnxruntime",))
    assert not report.passed
    differences = report.checks[0].differences
    assert any("(bgr) alone" in line for line in differences)
    assert not any("(rgb)" in line for line in differences)


def test_a_golden_file_of_another_bundle_is_refused(make_bundle: Callable[..., Path]) -> None:
    path = make_bundle()
    data = read_bundle(path).files["golden.npz"]
    with pytest.raises(BundleError, match="label must be classes from 0 to 1"):
        read_golden(data, replace(read_bundle(path).manifest, classes=("a", "b")))
