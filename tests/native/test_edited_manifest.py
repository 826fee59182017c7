"""A manifest that was edited after the export is refused, whatever runs here: nothing else is run instead."""

import json
from dataclasses import replace

import onnx
import pytest
from handle import BUNDLE, options, said_on_opening

import edgeosr
from edgeosr.bundle.digest import manifest_with_digest
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.errors import BundleError
from edgeosr.files import sha256_of
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


def test_a_network_of_one_size_whose_manifest_says_any_is_refused_in_the_same_words(native, edited, tmp_path):
    path, frame = edited(None), [33, 44]
    bundle = read_bundle(path)
    model = onnx.load_model_from_string(bundle.files["model.onnx"])
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[1:3], frame, strict=True):
        dim.dim_value = size
    data = model.SerializeToString()
    document = json.loads(bundle.manifest_data)
    document["files"]["model.onnx"] = {"sha256": sha256_of(data), "bytes": len(data)}
    (path / "model.onnx").write_bytes(data)
    (path / "manifest.json").write_bytes(manifest_with_digest({**document, "frame": None}))
    said = (
        f"model.onnx of {path} is not run, because frames must have the shape [any, any, any, 3]; got "
        "[any, 33, 44, 3]; export the bundle again, or get it again from where you trust it"
    )
    with pytest.raises(BundleError) as error:
        edgeosr.Runtime(path)
    assert str(error.value) == said
    assert said_on_opening(native, path, options()) == (BUNDLE, said)
    (path / "manifest.json").write_bytes(manifest_with_digest({**document, "frame": frame}))
    assert read_bundle(path).manifest.frame == (33, 44)


def edit_of_text(path, way, value):
    """Edit a manifest as with a text editor; returns what is refused of it, by Python."""
    document = json.loads((path / "manifest.json").read_bytes())
    node = document
    for key in way[:-1]:
        node = node[key]
    assert node[way[-1]] != value
    node[way[-1]] = value
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (path / "manifest.json").write_text(text, "utf-8")
    with pytest.raises(BundleError) as error:
        read_bundle(path)
    return str(error.value)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("body", "precision"), "int8"),
        (("body", "gate", "agreement"), 0.1),
        (("threshold", "value"), 9.5),
        (("threshold", "interval"), [0.0, 0.01]),
        (("head", "temperature"), 3.5),
        (("frame",), [480, 640]),
        (("preprocessing", "color"), "bgr"),
        (("name",), "another"),
    ],
)
def test_an_edit_of_any_field_is_refused_in_the_same_words(native, edited, way, value):
    path = edited(None)
    good = json.loads((path / "manifest.json").read_bytes())["digest"]
    said = edit_of_text(path, way, value)
    assert f"{path}/manifest.json was edited after the export: its digest must be " in said
    assert said.endswith(f"...; got {good[:12]}...; export the bundle again, or copy it again")
    for asked in (options(), options(verify=1)):
        assert said_on_opening(native, path, asked) == (BUNDLE, said)
    for backend in ("native", "auto", "openvino", "onnxruntime"):
        with pytest.raises(BundleError) as error:
            edgeosr.Runtime(path, backend=backend)
        assert str(error.value) == said
