"""What opening looks at and says: the path, the manifest beside the other files, and the back end."""

import ctypes
import json
import os
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
from handle import BUNDLE, FAILED, frame, opened, options, said_on_opening
from openvino_shim import build_shim

from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.runtime.native.library import openvino_library


def test_paths_that_are_no_bundle_are_told(native, tmp_path, bundle_path):
    for path, words in (
        (tmp_path / "none.edgeosr", f"there is no bundle at '{tmp_path}/none.edgeosr'"),
        ("", "there is no bundle at ''; name a bundle: a directory NAME.edgeosr"),
        (tmp_path, f"{tmp_path} is no bundle: it has no manifest.json; name a directory NAME.edgeosr"),
        (bundle_path / "model.onnx", "model.onnx' is a file; name a bundle: a directory NAME.edgeosr"),
    ):
        status, said = said_on_opening(native, path, options())
        assert status == BUNDLE and words in said


def test_what_onnxruntime_cannot_load_is_told_to_need_a_newer_one_and_no_smaller_frame(
    native, make_bundle, tiny
):
    model = onnx.load_model_from_string(tiny.build_graph())
    next(node for node in model.graph.node if node.op_type == "Neg").op_type = "Not"  # of a number
    status, said = said_on_opening(native, make_bundle(model=model.SerializeToString()), options())
    assert status == FAILED and " cannot load model.onnx: " in said
    assert "; a newer one may: pip install -U onnxruntime" in said and "frame" not in said


def test_auto_says_that_a_body_is_left_for_a_library_that_was_given(native, body_bundle):
    with opened(native, body_bundle().path, backend=b"auto") as handle:
        said = handle.info()
    assert said["backend"] == "onnxruntime"
    assert said["why"] == "backend_library was given, which auto takes for onnxruntime's alone"


def test_auto_says_what_a_bundle_lacks_for_the_ways_before_model_onnx(
    native, bundle_path, typed_bundle, monkeypatch
):
    monkeypatch.setenv("EDGEOSR_ONNXRUNTIME", options().backend_library.decode())
    for path, engine in (
        (bundle_path, ""),
        (typed_bundle().path, " yet (edgeosr build makes one, on the device)"),
    ):
        with opened(native, path, backend_library=None) as handle:
            why = handle.info()["why"]
        lacks = f"the bundle has no engine of TensorRT{engine} and no body for OpenVINO"
        assert why == f"it runs everywhere; {lacks}"


def test_of_a_body_that_does_not_run_the_engine_that_was_not_built_is_told_too(
    native, typed_bundle, body_bundle, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGEOSR_ONNXRUNTIME", options().backend_library.decode())
    monkeypatch.setenv("EDGEOSR_OPENVINO", "/nowhere/libopenvino_c.so")
    typed, body, both = typed_bundle(), body_bundle(), tmp_path / "both.edgeosr"
    made_of = replace(body.manifest, backbone=typed.manifest.backbone)
    of_typed, of_body = (read_golden(each.files["golden.npz"], each.manifest) for each in (typed, body))
    golden = write_golden(replace(of_body, typed=of_typed.typed, rounding=of_typed.rounding))
    write_bundle(both, made_of, {**typed.files, **body.files, "golden.npz": golden})
    with opened(native, both, backend_library=None) as handle:
        why = handle.info()["why"]
    assert why.startswith(
        "the bundle has no engine of TensorRT yet (edgeosr build makes one, on the device); "
    )
    assert "; openvino: OpenVINO was not found; looked for /nowhere" in why


def test_a_path_is_kept_from_the_root_for_programs_that_change_their_folder(
    native, bundle_path, tmp_path, monkeypatch
):
    shutil.copytree(bundle_path, tmp_path / "a.edgeosr")
    monkeypatch.chdir(tmp_path)
    with opened(native, "a.edgeosr") as handle:
        assert handle.info()["path"] == f"{tmp_path}/a.edgeosr"
        handle.swap("./a.edgeosr")
        assert handle.info()["path"] == f"{tmp_path}/./a.edgeosr"
    status, said = said_on_opening(native, "b.edgeosr", options())
    assert status == BUNDLE and f"there is no bundle at '{tmp_path}/b.edgeosr'" in said


def test_calls_on_openvino_run_at_once_after_the_program_changed_its_folder(
    native, typed_bundle, tmp_path, monkeypatch
):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor runs one network")
    path = typed_bundle().path
    shim = ctypes.CDLL(str(build_shim(tmp_path, openvino_library())))
    monkeypatch.chdir(path.parent)
    with opened(native, path.name, backend=b"openvino", backend_library=os.fsencode(shim._name)) as handle:
        monkeypatch.chdir("/")
        one = frame(np.zeros((20, 30, 3), np.uint8))
        before = shim.shim_inside()  # runs that began
        shim.shim_set(1)  # a run waits, so that a second call needs a network of its own
        calls = [threading.Thread(target=handle.judge, args=(one,)) for _ in range(2)]
        for call in calls:
            call.start()
        end = time.monotonic() + 60
        while shim.shim_inside() < before + 2 and time.monotonic() < end:
            time.sleep(0.01)
        at_once = shim.shim_inside() - before
        shim.shim_set(0)
        for call in calls:
            call.join()
    assert at_once == 2


def with_manifest(path, to, **changes):
    """Copy a bundle without a digest, as of before 2026-11-27, its manifest edited as with a text editor."""
    shutil.copytree(path, to)
    document = json.loads((to / "manifest.json").read_bytes())
    del document["digest"]
    for where, value in changes.items():
        *way, last = where.split("__")
        node = document
        for key in way:
            node = node[key]
        node[last] = value
    (to / "manifest.json").write_text(json.dumps(document), "utf-8")
    return to


@pytest.mark.parametrize("value", [50.0, -5.0, 0.2])
def test_an_edited_threshold_is_found_on_opening_and_by_a_swap(native, bundle_path, tmp_path, value):
    edited = with_manifest(bundle_path, tmp_path / "edited.edgeosr", threshold__value=value)
    status, said = said_on_opening(native, edited, options())
    assert status == BUNDLE
    assert f"{edited}/scorer.npz is not the scorer" in said and f"must be {value:g}; got" in said
    assert said_on_opening(native, edited, options(verify=1)) == (BUNDLE, said)
    with opened(native, bundle_path) as handle:
        assert native.edgeosr_swap(handle.pointer, os.fsencode(edited)) == BUNDLE


def test_exchanged_names_of_classes_and_an_edited_preprocessing_are_found_on_opening(
    native, bundle_path, tmp_path
):
    bundle = read_bundle(bundle_path)
    manifest = bundle.manifest
    golden = replace(
        read_golden(bundle.files["golden.npz"], manifest),
        classes=manifest.classes,
        preprocessing=manifest.preprocessing,
    )
    whole = tmp_path / "whole.edgeosr"
    write_bundle(whole, manifest, {**bundle.files, "golden.npz": write_golden(golden)})
    with opened(native, whole) as handle:
        assert handle.info()["classes"] == list(manifest.classes)
    for name, changes, words in (
        ("names", {"classes": list(manifest.classes[::-1])}, "golden.npz: classes must be the digest"),
        ("input", {"preprocessing__mean": [0.1, 0.2, 0.3]}, "golden.npz: preprocessing must be the manifest"),
    ):
        edited = with_manifest(whole, tmp_path / f"{name}.edgeosr", **changes)
        status, said = said_on_opening(native, edited, options())
        assert status == BUNDLE and f"{edited}/{words}" in said
