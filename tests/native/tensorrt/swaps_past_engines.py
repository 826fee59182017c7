"""Swaps where an engine cannot judge the golden frames: past it to a body, from one such engine to another.

In a process of its own, with the plug-in in C (``table_in_c.py``), which judges nothing right.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import body_bundles
import pytest
from handle import NOT_VERIFIED, Handle, options, said_on_opening
from table_in_c import SIZE, VARIABLE, Double, in_c

from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.runtime.native.library import (
    ONNXRUNTIME_VARIABLE,
    OPENVINO_VARIABLE,
    onnxruntime_library,
    openvino_library,
)

__all__ = ["in_c"]  # the fixture
AUTO = {"backend": b"auto", "backend_library": None}
GOLDEN = (20, 30)
UNVERIFIED = "it was not verified: its engine takes frames of 21x30, and the golden frames are of 20x30"


@pytest.fixture(scope="module")
def paths(manifest, tmp_path_factory):
    """Bundles of one network: plain, with a body, with an engine, and with both."""
    folder = tmp_path_factory.mktemp("ways")
    module = body_bundles.typed_bundles()
    typed = read_bundle(
        module.write_typed_bundle(folder / "plain.edgeosr", manifest, "closed-form", "fp32", "cosine")
    )
    body = body_bundles.write_body_bundle(folder / "body.edgeosr", typed, precision="f32")
    golden = read_golden(typed.files["golden.npz"], typed.manifest)
    own = read_golden(body.files["golden.npz"], body.manifest)
    golden = replace(golden, body=own.body, body_rounding=own.body_rounding)
    files = {**body.files, BACKBONE: typed.files[BACKBONE], "golden.npz": write_golden(golden)}
    write_bundle(folder / "both.edgeosr", replace(body.manifest, backbone=typed.manifest.backbone), files)
    shutil.copytree(typed.path, folder / "engine.edgeosr")
    for name in ("both", "engine"):
        body_bundles.add_engine_of_no_machine(folder / f"{name}.edgeosr")
    return {name: folder / f"{name}.edgeosr" for name in ("plain", "body", "both", "engine")}


@pytest.fixture
def double(in_c, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(in_c))
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, str(onnxruntime_library()))
    monkeypatch.setenv(OPENVINO_VARIABLE, str(openvino_library()))
    made = Double(in_c)
    made["classes"] = 4  # those of the bundles: whatever the frame, one of them
    return made


@pytest.fixture
def running(native, paths):
    """Opens a bundle as ``auto`` does, and says which graph runs."""
    made = []

    def opened(name, **more):
        handle = Handle(native, Path(paths[name]), options(**AUTO, **more))
        made.append(handle)
        return handle

    yield opened
    for handle in made:
        handle.close()


def swapped(handle, path):
    return handle.library.edgeosr_swap(handle.pointer, os.fsencode(path))


@pytest.mark.parametrize("size", [GOLDEN, SIZE], ids=["decides otherwise", "cannot judge them"])
@pytest.mark.parametrize("old", ["body", "plain"])
def test_a_swap_goes_past_an_engine_to_the_body_of_the_same_bundle(running, paths, double, old, size):
    double["height"], double["width"] = size
    handle = running(old)
    assert handle.info()["graph"] == {"body": "body.onnx", "plain": "model.onnx"}[old]
    handle.swap(paths["both"])
    said = handle.info()
    assert (said["graph"], said["generation"]) == ("body.onnx", 2)
    assert "tensorrt: " in said["why"] and "golden" in said["why"]


@pytest.mark.parametrize("size", [GOLDEN, SIZE], ids=["decides otherwise", "cannot judge them"])
def test_a_swap_from_a_body_goes_past_an_engine_to_nothing_less(running, paths, double, size):
    double["height"], double["width"] = size
    handle = running("body")
    assert swapped(handle, paths["engine"]) == NOT_VERIFIED
    assert (handle.info()["graph"], handle.info()["generation"]) == ("body.onnx", 1)


def test_an_engine_that_was_never_verified_has_one_of_the_same_size_as_its_successor(running, paths, double):
    double["height"], double["width"] = SIZE
    handle = running("engine")
    assert UNVERIFIED in handle.info()["why"]
    for name in ("both", "engine"):
        handle.swap(paths[name])
        said = handle.info()
        assert said["graph"] == "backbone.onnx" and said["why"].count(UNVERIFIED) == 1
    handle.rollback()
    handle.swap(paths["engine"])
    assert handle.info()["graph"] == "backbone.onnx"


def test_who_asks_to_verify_gets_neither(native, paths, double, running):
    for size in (GOLDEN, SIZE):
        double["height"], double["width"] = size
        assert said_on_opening(native, paths["both"], options(**AUTO, verify=1))[0] == NOT_VERIFIED
        assert swapped(running("body", verify=1), paths["both"]) == NOT_VERIFIED
