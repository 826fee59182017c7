"""What libedgeosr says of frames: as Python with the same onnxruntime, bit by bit, in any form of a frame."""

import math
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from handle import ARGUMENT, frame, opened, text_at

import edgeosr
from edgeosr.bundle.manifest import manifest_bytes
from edgeosr.errors import BundleError, FrameError, InferenceError, MissingDependencyError, UsageError
from edgeosr.runtime.golden import read_golden
from edgeosr.runtime.native import library
from edgeosr.runtime.native.library import BGR8, GRAY8, NV12, YUYV, load_library
from edgeosr.runtime.verify import verify_bundle


@pytest.fixture(scope="module")
def handle(native, bundle_path):
    with opened(native, bundle_path) as made:
        yield made


@pytest.fixture(scope="module")
def python(bundle_path):
    with edgeosr.Runtime(bundle_path, backend="onnxruntime", threads=1) as made:
        yield made


def same(verdict, said):
    """Every number of the two is the same in its bits."""
    values = [said["score"], *said["parts"][: said["part_count"]]]
    expected = [np.float32(verdict.score), *map(np.float32, verdict.parts.values())]
    return (
        np.array(values).tobytes() == np.array(expected).tobytes()
        and (text_at(said["label"]), text_at(said["nearest"])) == (verdict.label, verdict.nearest)
        and (said["accepted"], said["finite"], said["index"])
        == (verdict.accepted, verdict.finite, verdict.index)
        and (said["threshold"], len(values) - 1) == (verdict.threshold, len(verdict.parts))
    )


@pytest.mark.parametrize(("pixel_format", "color"), [(0, "rgb"), (BGR8, "bgr")])
def test_a_frame_gets_pythons_verdict_bit_by_bit(handle, python, tiny, pixel_format, color):
    decisions = set()
    for height, width in ((1, 1), (7, 31), (20, 30), (1, 640), (480, 1)):
        for one in tiny.sample_frames(6, height, width, seed=height):
            (said,) = handle.judge(frame(one, pixel_format=pixel_format))
            assert same(python(one, color=color), said)
            decisions.add(bool(said["accepted"]))
    assert decisions == {True, False}


def test_frames_that_are_not_finite_are_told_and_not_accepted(handle, python):
    for one in (np.full((4, 4, 3), 255, np.uint8), np.zeros((4, 4, 3), np.uint8)):
        (said,) = handle.judge(frame(one))
        assert not said["finite"] and not said["accepted"] and text_at(said["label"]) == "unknown"
        assert same(python(one), said)


def test_a_batch_gets_the_verdicts_of_pythons_batch_and_numbers_for_each(handle, python, tiny):
    frames = tiny.sample_frames(17, 12, 14)
    said = handle.judge(*(frame(one) for one in frames))
    assert len(said) == 17 and all(same(*pair) for pair in zip(python(frames), said, strict=True))
    assert np.isnan(said["parts"][:, 5:]).all() and len(set(said["latency_ns"].tolist())) == 1


def test_rows_may_be_longer_than_what_is_in_them(handle, tiny):
    for more in (1, 2, 3, 64):
        wide = np.full((11, 9 * 3 + more), 200, np.uint8)
        one = tiny.sample_frames(1, 11, 9)[0]
        wide[:, :27] = one.reshape(11, 27)
        expected, found = handle.judge(frame(one)), handle.judge(frame(wide, size=(11, 9)))
        assert found["score"] == expected["score"]
    pair = handle.judge(frame(wide, size=(11, 9)), frame(one))
    assert pair["score"][0] == pair["score"][1] == expected["score"][0]


def converted(y, u, v):
    """BT.601 of limited range in whole numbers, the rule of front_end.h."""
    y, u, v = (plane.astype(np.int64) - middle for plane, middle in ((y, 16), (u, 128), (v, 128)))
    channels = (76309 * y + 104597 * v, 76309 * y - 25675 * u - 53279 * v, 76309 * y + 132201 * u)
    return np.ascontiguousarray(
        np.stack([np.clip((each + 32768) >> 16, 0, 255) for each in channels], axis=2), np.uint8
    )


@pytest.mark.parametrize(("height", "width"), [(2, 2), (6, 10), (5, 8), (1, 2), (7, 9), (1, 1)])
def test_the_formats_of_cameras_are_the_rgb_frames_that_the_rule_makes_of_them(handle, height, width):
    random = np.random.default_rng(height * 100 + width)
    luma = random.integers(0, 256, (height, width), np.uint8)
    chroma = random.integers(0, 256, ((height + 1) // 2, (width + 1) // 2, 2), np.uint8)
    rows, columns = np.arange(height)[:, None] // 2, np.arange(width)[None] // 2
    rgb = converted(luma, chroma[rows, columns, 0], chroma[rows, columns, 1])
    expected = handle.judge(frame(rgb))["score"]
    assert handle.judge(frame(luma, chroma, pixel_format=NV12))["score"] == expected
    grey = np.repeat(luma[..., None], 3, axis=2)
    expected = handle.judge(frame(grey))["score"]
    assert handle.judge(frame(luma, pixel_format=GRAY8))["score"] == expected
    if width % 2 == 0:
        packed = random.integers(0, 256, (height, width // 2, 4), np.uint8)
        luma = packed[:, :, ::2].reshape(height, width)
        u, v = (np.repeat(packed[:, :, place], 2, axis=1) for place in (1, 3))
        rgb, rows = converted(luma, u, v), packed.reshape(height, 2 * width)
        expected = handle.judge(frame(rgb))["score"]
        given = frame(rows, size=(height, width), pixel_format=YUYV)
        assert handle.judge(given)["score"] == expected


def test_threads_judge_at_once_and_nobody_gets_anothers_verdict(handle, python, tiny):
    frames = tiny.sample_frames(24, 9, 9, seed=8)
    expected = [np.float32(python(one).score) for one in frames]
    wrong = []

    def work(first):
        for turn in range(60):
            index = (first + turn) % len(frames)
            (said,) = handle.judge(frame(frames[index]))
            if said["score"] != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_after_the_first_frame_of_a_size_the_library_allocates_nothing(handle, native, tiny):
    one = tiny.sample_frames(1, 40, 50)[0]
    wide = np.zeros((40, 160), np.uint8)
    for given in (frame(one), frame(wide, size=(40, 50)), np.concatenate([frame(one)] * 3)):
        handle.judge(given)
        before = native.edgeosr_test_allocations()
        for _ in range(5):
            handle.judge(given)
        assert native.edgeosr_test_allocations() == before
    handle.judge(*[frame(one)] * 4)
    assert native.edgeosr_test_allocations() > before


def test_pythons_runtime_takes_it_as_a_backend(built, bundle_path, python, tiny, monkeypatch):
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(built))
    frames = tiny.sample_frames(5)
    with edgeosr.Runtime(bundle_path, backend="native", threads=1) as runtime:
        assert runtime.backend == "native" and runtime.why == "it was asked for"
        assert "libonnxruntime.so" in runtime.providers[0]
        for color in ("rgb", "bgr"):
            pairs = zip(runtime(frames, color=color), python(frames, color=color), strict=True)
            assert all(one.score == other.score and one.parts == other.parts for one, other in pairs)
        runtime.threshold = math.inf
        assert runtime(frames[0]).accepted
        with pytest.raises(FrameError):
            runtime(frames.astype(np.float32))
    with pytest.raises(UsageError, match="is closed"):
        runtime(frames)
    with pytest.raises(InferenceError, match="within 1e-09 s"):
        edgeosr.Runtime(bundle_path, backend="native", warmup_limit_s=1e-9)
    report = verify_bundle(bundle_path, backends=("onnxruntime",), native=True, threads=1)
    assert report.passed and report.required == ("onnxruntime", "native")
    assert report.checks[1].score_distance[1] == report.checks[0].score_distance[1]


def test_without_the_library_or_its_onnxruntime_python_says_what_to_do(
    bundle_path, built, monkeypatch, tmp_path
):
    load_library.cache_clear()
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(MissingDependencyError, match=r"build it .*edgeosr\.runtime\.native\.build"):
        edgeosr.Runtime(bundle_path, backend="native")
    load_library.cache_clear()
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(built))
    monkeypatch.setattr(library, "ABI", 2)
    with pytest.raises(MissingDependencyError, match="install both of one version"):
        edgeosr.Runtime(bundle_path, backend="native")
    monkeypatch.setattr(library, "ABI", 1)
    load_library.cache_clear()
    monkeypatch.setenv(library.ONNXRUNTIME_VARIABLE, str(tmp_path / "libonnxruntime.so"))
    with pytest.raises(MissingDependencyError, match="no library that runs networks was found; looked for"):
        edgeosr.Runtime(bundle_path, backend="native")
    report = verify_bundle(bundle_path, backends=("native",))
    assert not report.passed and not report.checks[0].available
    load_library.cache_clear()


def test_a_bundle_that_is_replaced_between_the_two_readers_is_not_mixed_up(built, make_bundle, monkeypatch):
    from edgeosr.bundle.directory import read_bundle
    from edgeosr.runtime.backends import native as backend

    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(built))
    path = make_bundle()
    before = read_bundle(path)
    after = replace(before.manifest, created="2026-02-01T00:00:00Z")
    (path / "manifest.json").write_bytes(manifest_bytes(after))
    with pytest.raises(BundleError, match="was replaced while it was opened"):
        backend.NativeBackend(before)


def test_what_a_runtime_says_of_itself_may_have_grown_when_it_is_read(built, make_bundle, monkeypatch):
    from edgeosr.bundle.directory import read_bundle
    from edgeosr.runtime.backends import native as backend

    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(built))
    before, longer = read_bundle(make_bundle()), make_bundle()
    after = replace(read_bundle(longer).manifest, name="a" * 60)
    (longer / "manifest.json").write_bytes(manifest_bytes(after))
    handle = backend.NativeBackend(before)._handle
    assert len(handle.info()["name"]) < 60
    asked = []

    class Swapping:
        """The library, where another thread swaps behind the first question."""

        def __getattr__(self, name):
            return getattr(load_library(), name)

        def edgeosr_info(self, pointer, *room):
            status = load_library().edgeosr_info(pointer, *room)
            if not asked:
                assert load_library().edgeosr_swap(pointer, os.fsencode(longer)) == 0
            asked.append(status)
            return status

    monkeypatch.setattr(handle, "_library", Swapping())
    assert handle.info()["name"] == "a" * 60
    assert asked == [0, ARGUMENT, 0]


def test_a_bundle_with_a_body_runs_model_onnx_on_onnxruntime_with_its_threshold(native, body_bundle):
    bundle = body_bundle()
    frames = read_golden(bundle.files["golden.npz"], bundle.manifest).frames[:12]
    limit = bundle.manifest.threshold.value
    assert limit != bundle.manifest.body.threshold.value
    with opened(native, bundle.path, verify=1) as handle:
        assert handle.info()["backend"] == "onnxruntime" and handle.thresholds() == [limit]
        with edgeosr.Runtime(bundle.path, backend="onnxruntime", threads=1) as python:
            for one in frames:
                (said,) = handle.judge(frame(one))
                assert same(python(one), said)
    assert verify_bundle(bundle.path, backends=["native"]).passed
