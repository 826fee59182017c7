"""Whatever is wrong is a status with words that say what to do; the runtime goes on."""

import ctypes
import os
import re
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from handle import (
    ARGUMENT,
    BUNDLE,
    FRAME,
    NO_PREVIOUS,
    NOT_VERIFIED,
    frame,
    opened,
    options,
    said_on_opening,
    text_at,
)
from onnx import helper, numpy_helper

from edgeosr.bundle.directory import write_bundle
from edgeosr.runtime.native.library import GRAY8, NV12, VERDICT, YUYV, Verification
from edgeosr.scoring.thresholds import ClassThreshold

PIXELS = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def handle(native, bundle_path):
    with opened(native, bundle_path) as made:
        yield made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"struct_bytes": 8}, "the size of edgeosr_options must be 48 bytes; got 8"),
        ({"struct_bytes": 64}, "compile with the header of this library"),
        ({"backend": b"tensorflow"}, "must be auto, onnxruntime, openvino or tensorrt; got tensorflow"),
        ({"threads": 1025}, "threads must be from 1 to 1024"),
        ({"threads": -2}, "or -1 for one a physical core; got -2"),
        ({"warmup_frames": 10_001}, "warmup_frames must be from 1 to 10000"),
        ({"warmup_limit_s": float("nan")}, "warmup_limit_s must be a number of seconds"),
        ({"verify": 2}, "verify must be 0 or 1; got 2"),
        ({"reserved": 7}, "reserved must be 0; got 7"),
    ],
)
def test_options_that_cannot_be_used_are_refused(native, bundle_path, changes, words):
    status, said = said_on_opening(native, bundle_path, options(**changes))
    assert status == ARGUMENT and words in said


def test_words_that_are_cut_end_at_a_letter(native, tmp_path):
    for more in range(3):  # of a letter of three bytes, which may lie across the end in two ways
        path = tmp_path.joinpath("y" + "x" * more, *["\u20ac" * 80] * 9)
        path.mkdir(parents=True)
        status, said = said_on_opening(native, path, options())
        assert status == BUNDLE and 2044 < len(said.encode()) < 2048


def test_nulls_are_refused_by_name(native, handle, bundle_path):
    assert said_on_opening(native, None, None) == (ARGUMENT, "bundle is NULL; pass an address")
    assert native.edgeosr_open(os.fsencode(bundle_path), None, None) == ARGUMENT
    given, said, size = frame(PIXELS), np.zeros(1, VERDICT), VERDICT.itemsize
    pointer = handle.pointer
    for call, word in (
        (lambda: native.edgeosr_judge(None, given.ctypes.data, 1, said.ctypes.data, size), "runtime"),
        (lambda: native.edgeosr_judge(pointer, None, 1, said.ctypes.data, size), "frames"),
        (lambda: native.edgeosr_judge(pointer, given.ctypes.data, 1, None, size), "verdicts"),
        (lambda: native.edgeosr_set_threshold(None, 1.0), "runtime"),
        (lambda: native.edgeosr_set_class_thresholds(pointer, None, 4), "thresholds"),
        (lambda: native.edgeosr_thresholds(pointer, None, 0, None), "count"),
        (lambda: native.edgeosr_thresholds(pointer, None, 5, ctypes.byref(ctypes.c_size_t())), "thresholds"),
        (lambda: native.edgeosr_swap(pointer, None), "bundle"),
        (lambda: native.edgeosr_rollback(None), "runtime"),
        (lambda: native.edgeosr_verify(None, None), "runtime"),
        (lambda: native.edgeosr_warm_up(None, 1, 0.0), "runtime"),
        (lambda: native.edgeosr_info(pointer, None, 9, None), "json"),
    ):
        assert (call(), f"{word} is NULL" in native.edgeosr_last_error().decode()) == (ARGUMENT, True), word
    assert native.edgeosr_part_name(None, 0) is None and native.edgeosr_class_name(pointer, 10**9) is None
    native.edgeosr_close(None)
    assert native.edgeosr_judge(pointer, None, 0, None, size) == 0


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda f: f["plane"].__setitem__((0, 0), 0), ARGUMENT, "plane 0 of frame 0 is NULL; RGB8 needs it"),
        (lambda f: f.__setitem__("format", 5), FRAME, "has the format 5, which is none"),
        (lambda f: f.__setitem__("format", -1), FRAME, "has the format -1"),
        (lambda f: f.__setitem__("height_px", 0), FRAME, "must have at least one pixel; got 0x8"),
        (lambda f: f.__setitem__("width_px", -8), FRAME, "must have at least one pixel"),
        (lambda f: f.__setitem__("width_px", 2**30), FRAME, "at most 33554432 pixels"),
        (lambda f: f.__setitem__("height_px", 2**17 + 1), FRAME, "131072 a side"),
        (lambda f: f["stride_bytes"].__setitem__((0, 0), 23), FRAME, "at least 24 bytes for RGB8 of 8"),
        (lambda f: f["stride_bytes"].__setitem__((0, 0), 8), FRAME, "it counts bytes, not pixels"),
        (lambda f: f["stride_bytes"].__setitem__((0, 0), 2**40), FRAME, "the stride of plane 0"),
        (lambda f: f.__setitem__("format", NV12), ARGUMENT, "plane 1 of frame 0 is NULL; NV12 needs it"),
        (lambda f: f.__setitem__("format", YUYV) or f.__setitem__("width_px", 7), FRAME, "even width; got 7"),
        (lambda f: f.__setitem__("struct_bytes", 0), ARGUMENT, "must be sizeof(edgeosr_frame), 56; got 0"),
        (lambda f: f.__setitem__("struct_bytes", 57), ARGUMENT, "got 57"),
        (lambda f: f.__setitem__("struct_bytes", 112), ARGUMENT, "got 112"),
        (lambda f: f.__setitem__("struct_bytes", 1 << 40), ARGUMENT, "compile with this library's header"),
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_used_is_refused_and_nothing_is_written(handle, change, status, words):
    given = frame(PIXELS)
    change(given)
    found, said = handle.status_of(given)
    assert found == status and words in handle.last_error()
    assert said.tobytes() == bytes(said.nbytes)
    assert handle.judge(frame(PIXELS))["part_count"] == 5
    found, _ = handle.status_of(np.concatenate([frame(PIXELS), given]))
    assert found in (status, FRAME) and "frame 1" in handle.last_error()


def test_frames_of_one_call_are_of_one_size_and_format(handle):
    grey = np.zeros((8, 8), np.uint8)
    for other in (frame(np.zeros((8, 9, 3), np.uint8)), frame(grey, pixel_format=GRAY8)):
        found, _ = handle.status_of(np.concatenate([frame(PIXELS), other]))
        assert found == FRAME and "frame 1 is another than frame 0" in handle.last_error()
    found, _ = handle.status_of(frame(PIXELS), verdict_bytes=VERDICT.itemsize - 8)
    assert found == ARGUMENT and "the size of edgeosr_verdict must be" in handle.last_error()


@pytest.mark.parametrize("count", [(1 << 20) + 1, 2**32 - 1, 2**64 - 1])
def test_a_count_that_is_none_is_told_before_a_frame_is_read(native, handle, count):
    given, said = frame(PIXELS), np.zeros(1, VERDICT)
    status = native.edgeosr_judge(
        handle.pointer, given.ctypes.data, count, said.ctypes.data, VERDICT.itemsize
    )
    assert status == ARGUMENT and said.tobytes() == bytes(said.nbytes)
    assert (
        handle.last_error()
        == f"count must be at most 1048576 frames in one call; got {count}: judge them in several calls"
    )


def test_a_bundle_for_one_size_refuses_frames_of_another(native, make_bundle, tiny):
    with opened(native, make_bundle(frame=(20, 30))) as fixed:
        assert fixed.info()["frame"] == [20, 30]
        found, _ = fixed.status_of(frame(PIXELS))
        assert found == FRAME and "takes frames of 20x30 only (height x width); got 8x8" in fixed.last_error()
        assert fixed.judge(frame(tiny.sample_frames(1)[0]))["part_count"] == 5


def test_thresholds_are_set_for_all_or_for_each_class(native, make_bundle, manifest, tiny):
    with opened(native, make_bundle()) as handle:
        (calibrated,) = handle.thresholds()
        assert calibrated == manifest.threshold.value
        frames = [frame(one) for one in tiny.sample_frames(9)]
        handle.set_threshold(np.inf)
        assert handle.judge(*frames)["accepted"].all() and handle.info()["thresholds"] == ["inf"]
        limits = [np.inf, -np.inf, 0.5, 1.5]
        handle.set_class_thresholds(limits)
        after = handle.judge(*frames)
        assert handle.thresholds() == limits and len(set(after["index"].tolist())) > 2
        assert (after["threshold"] == np.array(limits)[after["index"]]).all()
        assert (after["accepted"] == (after["score"] <= after["threshold"])).all()
        assert native.edgeosr_set_threshold(handle.pointer, np.nan) == ARGUMENT
        assert "got NaN" in handle.last_error()
        three = np.zeros(3)
        assert native.edgeosr_set_class_thresholds(handle.pointer, three.ctypes.data, 3) == ARGUMENT
        assert "4 classes; got 3" in handle.last_error() and handle.thresholds() == limits


def wrong_golden(tiny):
    """Golden verdicts of another network: every score is another one."""
    golden = tiny.golden_verdicts()
    return replace(golden, portable=replace(golden.portable, score=golden.portable.score + np.float32(0.5)))


def test_a_swap_to_a_bundle_that_decides_otherwise_leaves_the_old_one_at_work(
    native, make_bundle, manifest, tiny, tmp_path
):
    from edgeosr.runtime.golden import write_golden
    from edgeosr.scoring.scorer_file import write_scorer

    bad = tmp_path / "bad.edgeosr"
    files = {"model.onnx": tiny.build_graph(), "scorer.npz": write_scorer(tiny.scorer_of(manifest))}
    write_bundle(bad, manifest, {**files, "golden.npz": write_golden(wrong_golden(tiny))})
    one = frame(tiny.sample_frames(1)[0])
    with opened(native, make_bundle()) as handle:
        before = handle.judge(one)
        for path, status, words in (
            (bad, NOT_VERIFIED, "bad.edgeosr does not decide here as where it was made ("),
            (tmp_path, BUNDLE, "is no bundle: it has no manifest.json"),
        ):
            assert native.edgeosr_swap(handle.pointer, os.fsencode(path)) == status
            assert words in handle.last_error()
            after = handle.judge(one)
            assert after["generation"] == 1 and after["score"] == before["score"]
        assert native.edgeosr_rollback(handle.pointer) == NO_PREVIOUS
        assert "roll back after a swap only" in handle.last_error()
    status, said = said_on_opening(native, bad, options(verify=1))
    assert status == NOT_VERIFIED and "golden frame" in said
    with opened(native, bad) as handle:  # opened unasked; it says so when it is asked
        status, out = handle.verify()
        assert (
            (status, out.verdicts) == (NOT_VERIFIED, 128) and out.differing > 8 and out.score_distance > 0.4
        )


def test_golden_frames_that_prove_too_little_are_told_from_a_fault_in_c_and_in_python(
    native, manifest, tiny, tmp_path
):
    from edgeosr.errors import InferenceError
    from edgeosr.runtime.golden import write_golden
    from edgeosr.runtime.runtime import Runtime
    from edgeosr.scoring.scorer_file import write_scorer

    golden = tiny.golden_verdicts()
    gap = golden.portable.gap.copy()
    gap[:40] = 0
    golden = replace(golden, portable=replace(golden.portable, gap=gap))
    files = {"model.onnx": tiny.build_graph(), "scorer.npz": write_scorer(tiny.scorer_of(manifest))}
    path = tmp_path / "few.edgeosr"
    write_bundle(path, manifest, {**files, "golden.npz": write_golden(golden)})
    words = (
        "few.edgeosr cannot be shown to decide here as where it was made (0 of 128 golden verdicts differ)"
    )
    status, said = said_on_opening(native, path, options(verify=1))
    assert status == NOT_VERIFIED and words in said and "prove too little" in said
    with pytest.raises(InferenceError, match=re.escape(words) + r": \d+ of 128 .* prove too little"):
        Runtime(path, backend="openvino")


def test_a_swap_brings_the_new_bundle_and_a_rollback_the_old_one_with_its_thresholds(
    native, make_bundle, manifest, tiny
):
    names = ("cat", "dog", "bird", "fish")
    limits = tuple(
        ClassThreshold(value=value, interval=(0.01, 0.2), groups=60, images=60)
        for value in (3.0, 2.0, 1.0, 0.0)
    )
    other = make_bundle(
        classes=names,
        data=replace(manifest.data, known=names),
        threshold=replace(manifest.threshold, by_class=limits),
    )
    one = frame(tiny.sample_frames(1)[0])
    with opened(native, make_bundle()) as handle:
        first = handle.judge(one)[0]
        handle.set_threshold(7.0)
        handle.swap(other)
        second = handle.judge(one)[0]
        assert second["generation"] == 2 and text_at(second["nearest"]) in names
        assert handle.thresholds() == [3.0, 2.0, 1.0, 0.0]
        handle.rollback()
        third = handle.judge(one)[0]
        assert third["generation"] == 3 and third["threshold"] == 7.0 and third["nearest"] == first["nearest"]
        handle.rollback()
        assert handle.judge(one)[0]["generation"] == 4 and text_at(first["nearest"]) == text_at(
            third["nearest"]
        )
        status, out = handle.verify()
        assert (status, out.verdicts, out.differing) == (0, 128, 0) and out.agreed + out.ties == 128
        assert handle.info()["classes"] == list(names)
        assert native.edgeosr_class_name(handle.pointer, 2) == b"bird"
        assert native.edgeosr_part_name(handle.pointer, 0).decode() == manifest.parts[0]


def test_frames_are_judged_while_bundles_are_swapped(native, make_bundle, manifest, tiny):
    names = ("cat", "dog", "bird", "fish")
    paths = [make_bundle(), make_bundle(classes=names, data=replace(manifest.data, known=names))]
    kept = tiny.sample_frames(1)[0]
    done, seen, wrong = threading.Event(), set(), []
    with opened(native, paths[0]) as handle:
        expected = handle.judge(frame(kept))[0]["score"]

        def work():
            while not done.is_set():
                (said,) = handle.judge(frame(kept))
                label = text_at(said["nearest"])
                seen.add(int(said["generation"]))
                if said["score"] != expected or (label in names) != (said["generation"] % 2 == 0):
                    wrong.append((label, said["generation"]))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(4):
            handle.swap(paths[(turn + 1) % 2])
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == [] and len(seen) > 2


def test_a_network_that_gives_a_class_nobody_named_is_a_bundle_that_cannot_be_used(
    native, make_bundle, graph_of
):
    with opened(native, make_bundle(model=graph_of(7)), warmup_frames=-1) as handle:
        found, said = handle.status_of(frame(PIXELS))
        assert found == BUNDLE and "gave class 7, but its manifest names 4 classes" in handle.last_error()
        assert said.tobytes() == bytes(said.nbytes)
        assert handle.verify()[0] == BUNDLE


@pytest.fixture(scope="module")
def graph_of(tiny):
    """A scoring graph whose label is always the same number."""

    def make(label):
        import onnx

        model = onnx.load_model_from_string(tiny.build_graph())
        (node,) = [each for each in model.graph.node if "label" in each.output]
        node.output[0] = "top_class"
        made = [
            helper.make_node("Mul", ["top_class", "nothing"], ["zeros"]),
            helper.make_node("Add", ["zeros", "that"], ["label"]),
        ]
        model.graph.node.extend(made)
        for name, value in (("nothing", 0), ("that", label)):
            model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
        return model.SerializeToString()

    return make


def test_what_a_runtime_says_of_itself_is_json_whatever_its_path_and_thresholds(
    native, bundle_path, tmp_path
):
    path = os.fsencode(tmp_path) + b'/a"\\\x01\xc3\xa9\xe2\x82\xff.edgeosr'
    shutil.copytree(os.fsencode(bundle_path), path)
    with opened(native, path) as handle:
        handle.set_threshold(0.1 + 1e-12)
        said = handle.info()
        assert said["path"] == f'{tmp_path}/a"\\\x01\u00e9\ufffd\ufffd\ufffd.edgeosr'
        assert said["thresholds"] == [0.1 + 1e-12]
        for limit, text in ((np.inf, "inf"), (-np.inf, "-inf")):  # null would not tell all from none
            handle.set_threshold(limit)
            assert handle.info()["thresholds"] == [text] and handle.thresholds() == [limit]


def test_errors_are_of_the_thread_that_made_them(native, handle):
    native.edgeosr_set_threshold(handle.pointer, np.nan)
    others = []
    thread = threading.Thread(target=lambda: others.append(native.edgeosr_last_error()))
    thread.start()
    thread.join()
    assert others == [b""] and b"NaN" in native.edgeosr_last_error()


def test_a_verification_of_another_size_is_refused(native, handle):
    out = Verification(struct_bytes=1)
    assert native.edgeosr_verify(handle.pointer, ctypes.byref(out)) == ARGUMENT
    assert native.edgeosr_verify(handle.pointer, None) == 0
