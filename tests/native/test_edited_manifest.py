"""A manifest that was edited after the export is refused, whatever runs here: nothing else is run instead."""

from dataclasses import replace

import pytest

import edgeosr
from edgeosr.bundle.directory import write_bundle
from edgeosr.errors import BundleError
from edgeosr.runtime import runtime
from edgeosr.runtime.golden import read_golden, write_golden

EDITS = {
    "threshold": lambda made: replace(made, threshold=replace(made.threshold, value=9.5)),
    "classes": lambda made: replace(made, classes=made.classes[1::-1] + made.classes[2:]),
    "preprocessing": lambda made: replace(made, preprocessing=replace(made.preprocessing, color="bgr")),
    "body_threshold": lambda made: replace(
        made, body=replace(made.body, threshold=replace(made.body.threshold, value=9.5))
    ),
}


@pytest.fixture
def edited(body_bundle, tmp_path):
    """Makes a bundle with a body whose manifest was edited in one place after the export."""

    def made(place):
        bundle = body_bundle()
        was = bundle.manifest
        limits = {"threshold": was.threshold.value, "body_threshold": was.body.threshold.value}
        golden = replace(
            read_golden(bundle.files["golden.npz"], was),
            **limits, classes=was.classes, preprocessing=was.preprocessing,
        )  # fmt: skip
        files = {**bundle.files, "golden.npz": write_golden(golden)}
        write_bundle(tmp_path / "edited.edgeosr", EDITS[place](was) if place else was, files)
        return tmp_path / "edited.edgeosr"

    return made


@pytest.mark.parametrize("backend", ["native", "auto", "openvino", "onnxruntime"])
@pytest.mark.parametrize("place", EDITS)
def test_an_edited_manifest_is_refused_before_any_network_is_opened(edited, monkeypatch, backend, place):
    def opened(*_, **__):
        raise AssertionError("a network was opened")

    monkeypatch.setattr(runtime, "choose_backend", opened)
    words = {
        "threshold": "threshold must be",
        "classes": "names of classes",
        "preprocessing": "preprocessing",
    }
    with pytest.raises(BundleError, match=words.get(place, "body_threshold must be the manifest's")):
        edgeosr.Runtime(edited(place), backend=backend)


def test_the_same_bundle_unedited_opens_on_every_back_end(as_python_opens_it, edited):
    path = edited(None)
    for backend in ("native", "auto", "openvino", "onnxruntime"):
        edgeosr.Runtime(path, backend=backend).close()
