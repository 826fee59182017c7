"""How libedgeosr finds the plug-in for TensorRT, and works by its table alone: with a plug-in in C.

In a process of its own (``test_tensorrt.py``): the plug-in that was opened stays. Tests are in this order.
"""

import ctypes
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from handle import BUNDLE, FAILED, FRAME, MEMORY, NO_BACKEND, Handle, frame, options, said_on_opening

from edgeosr import __version__
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.files import sha256_of
from edgeosr.runtime.engines.store import add_engine, engine_lock
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.runtime.native.build import HERE
from edgeosr.runtime.native.library import BGR8, ONNXRUNTIME_VARIABLE, onnxruntime_library
from edgeosr.scoring.scorer_file import read_scorer, write_scorer
from edgeosr.scoring.thresholds import ClassThreshold

VARIABLE = "EDGEOSR_TENSORRT_PLUGIN"
NAMED = {"backend": b"tensorrt", "backend_library": None, "warmup_frames": -1}
SIZE = (21, 30)  # not that of the golden frames, which a plug-in of nothing would not judge right


@pytest.fixture(scope="module")
def in_c(tmp_path_factory):
    """The plug-in in C, compiled as C99."""
    out = tmp_path_factory.mktemp("plugin") / "double.so"
    source = HERE.parents[2] / "tests" / "native" / "tensorrt" / "plugin_double.c"
    command = [
        "gcc",
        "-std=c99",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        str(source),
    ]
    command += [
        f'-DEDGEOSR_VERSION="{__version__}"',
        f"-I{HERE / 'src'}",
        f"-I{HERE / 'include'}",
        "-o",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def path(engine_bundle, tmp_path_factory):
    """A bundle with an engine."""
    copy = tmp_path_factory.mktemp("engine") / "tiny.edgeosr"
    shutil.copytree(engine_bundle().path, copy)
    manifest = read_bundle(copy).manifest
    record = EngineRecord(
        file="a.plan", sha256=sha256_of(b"plan"), bytes=4, builder="tensorrt", version="10.3.0",
        device="Orin", targets=("sm_87",), precision="fp16", batch=(1, 1, 4), frame=SIZE,
        backbone=manifest.files[BACKBONE].sha256, created="2026-02-01T00:00:00Z", seconds=1.0,
    )  # fmt: skip
    with engine_lock(copy):
        add_engine(copy, record, b"plan")
    return copy


def test_the_abi_is_valid_c_of_one_size_everywhere(in_c):
    assert ctypes.CDLL(str(in_c)).edgeosr_tensorrt_open_plugin is not None


def test_without_a_plug_in_it_says_where_it_looked_and_how_to_build_it(native, built, path):
    status, said = said_on_opening(native, path, options(**NAMED))
    assert status == NO_BACKEND
    assert said.startswith("the plug-in that runs TensorRT was not found; looked for ")
    assert f"{built.parent}/libedgeosr_tensorrt.so (" in said and "; libedgeosr_tensorrt.so (" in said
    assert "build it where TensorRT's headers are (docs/embed-c.md)" in said and VARIABLE in said
    no_driver = (
        "; nor is there an NVIDIA driver here (libcuda.so.1 cannot be loaded), without which no engine"
    )
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert no_driver in said
    else:
        assert no_driver not in said


def test_a_variable_names_it_alone(native, path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/nowhere/plugin.so")
    status, said = said_on_opening(native, path, options(**NAMED))
    assert (
        status == NO_BACKEND and said.count("libedgeosr_tensorrt.so") == 0 and "/nowhere/plugin.so (" in said
    )


def test_another_library_and_another_abi_are_refused(native, built, in_c, path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(built))
    status, said = said_on_opening(native, path, options(**NAMED))
    assert status == NO_BACKEND and f"{built} is no plug-in of edgeosr; build both from one version" in said
    monkeypatch.setenv(VARIABLE, str(in_c))
    double = ctypes.CDLL(str(in_c))
    version = (ctypes.c_char * 40).in_dll(double, "double_version")
    version.value = b"0.0.9"
    status, said = said_on_opening(native, path, options(**NAMED))
    words = f"{in_c} is of another version than this library: expected {__version__}; got "
    assert status == NO_BACKEND and f"{words}0.0.9; build both" in said
    version.value = __version__.encode()
    ctypes.c_int.in_dll(double, "double_abi").value = 1
    status, said = said_on_opening(native, path, options(**NAMED))
    assert status == NO_BACKEND and f"{words}another interface; build both" in said


def test_auto_says_why_no_engine_ran_where_nothing_else_opens_either(native, in_c, path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(in_c))
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, "/nowhere/libonnxruntime.so")
    status, said = said_on_opening(native, path, options(**{**NAMED, "backend": b"auto"}))
    assert status == NO_BACKEND and said.startswith("no library that runs networks was found")
    assert f"; before that, tensorrt: {in_c} is of another version" in said


class Double:
    """The plug-in's numbers, for the test to set and read."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        self.status = (ctypes.c_int * 4).in_dll(self.library, "double_status")
        self["abi"], self["height"], self["width"] = 2, *SIZE
        self.status[:] = [0, 0, 0, 0]

    def __getitem__(self, name):
        return ctypes.c_int.in_dll(self.library, f"double_{name}").value

    def __setitem__(self, name, value):
        ctypes.c_int.in_dll(self.library, f"double_{name}").value = value


@pytest.fixture
def double(in_c, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(in_c))
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, str(onnxruntime_library()))
    made = Double(in_c)
    yield made
    assert made["runs"] == 0, "a share was not ended"
    assert made["open"] == 0, "an engine was not closed"


@pytest.fixture
def handle(native, path, double):
    made = Handle(native, path, options(**NAMED))
    yield made
    made.close()


def marked(label, score):
    """A frame of which the double says this."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[0, 0, :2] = label, score
    return pixels


def test_it_gets_the_manifest_and_info_shows_what_it_says(handle, path, double):
    seen = (ctypes.c_char * 4000).in_dll(double.library, "double_seen").value
    assert (path / "manifest.json").read_bytes().startswith(seen) and len(seen) > 1000
    info = handle.info()
    assert (info["backend"], info["graph"]) == ("tensorrt", "backbone.onnx")
    assert (info["backend_library"], info["frame"]) == ("a double (of nothing)", list(SIZE))


def test_a_batch_goes_through_in_pieces_and_each_frame_keeps_its_verdict(handle, double):
    handle.set_threshold(5.0)
    frames = [marked(index % 4, index) for index in range(8)]  # 3, 3 and 2 at once
    said = handle.judge(*(frame(one, pixel_format=BGR8) for one in frames))
    assert said["index"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3] and said["score"].tolist() == list(range(8))
    assert said["accepted"].tolist() == [1] * 6 + [0] * 2 and double["bgr"] == 1
    assert said["parts"][:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1] and said["parts"][1, 1] == 11
    handle.judge(frame(frames[0]))
    assert double["bgr"] == 0


def test_a_class_that_is_none_is_refused(handle):
    status, _ = handle.status_of(frame(marked(4, 0)))
    assert status == BUNDLE and "gave class 4, but its manifest names 4 classes" in handle.last_error()


@pytest.mark.parametrize(("call", "status"), [(1, FRAME), (2, MEMORY), (3, FAILED), (3, 99)])
def test_what_it_refuses_comes_as_a_status_with_its_words(handle, double, call, status):
    double.status[call] = status
    got, said = handle.status_of(frame(marked(0, 0)))
    assert (
        got == (status if status < 11 else 10)
        and handle.last_error() == "the double was told to fail; do nothing"
    )
    assert said["accepted"][0] == 0
    double.status[call] = 0
    assert handle.judge(frame(marked(1, 0)))["index"] == 1


def test_auto_takes_it_first_and_goes_on_where_it_does_not_open(native, path, double):
    chosen = options(**{**NAMED, "backend": b"auto"})
    opened = Handle(native, path, chosen)
    assert opened.info()["backend"] == "tensorrt"
    double.status[0] = FAILED
    other = Handle(native, path, chosen)
    info = other.info()
    assert info["backend"] == "onnxruntime"
    assert info["why"] == "tensorrt: the double was told to fail; do nothing"
    other.close()
    opened.close()


def test_verifying_says_that_its_frames_are_others(native, path, handle):
    status, _ = handle.verify()
    words = "its engine takes frames of 21x30, and the golden frames are of 20x30: build one for these"
    assert status == 6 and words in handle.last_error()
    status, said = said_on_opening(native, path, options(**NAMED, verify=1))
    assert status == 6 and words in said


def test_a_bundle_without_a_backbone_is_refused(native, engine_bundle, tmp_path):
    bundle = engine_bundle()
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    files = {name: bundle.files[name] for name in ("model.onnx", "scorer.npz")}
    files["golden.npz"] = write_golden(replace(golden, typed=None, rounding=None))
    plain = tmp_path / "plain.edgeosr"
    write_bundle(plain, replace(bundle.manifest, backbone=None, engines=()), files)
    status, said = said_on_opening(native, plain, options(**NAMED))
    assert (
        status == NO_BACKEND and "has no typed backbone, so there is no engine of it; export it with" in said
    )
    status, said = said_on_opening(native, bundle.path, options(**NAMED))
    assert status == NO_BACKEND and said.startswith(
        f"{bundle.path} has no engine of TensorRT (those of TensorRT-RTX run in Python alone); build one"
    )


def written(path, bundle, **changes):
    """Write a bundle of other fields of the manifest, and of another scorer if one is given."""
    files = {name: bundle.files[name] for name in ("model.onnx", "scorer.npz", "golden.npz", BACKBONE)}
    files |= changes.pop("files", {})
    write_bundle(path, replace(bundle.manifest, **changes), files)
    return path


def test_a_backbone_that_was_calibrated_anew_brings_its_own_threshold_and_model_onnx_keeps_the_bundles(
    native, path, double, tmp_path
):
    bundle = read_bundle(path)
    manifest, backbone = bundle.manifest, bundle.manifest.backbone
    fusion = replace(manifest.fusion, means=tuple(mean + 0.25 for mean in manifest.fusion.means))
    own = replace(manifest.threshold, value=2.0)
    assert manifest.threshold.value != own.value
    record = replace(backbone, fusion=fusion, threshold=own, gate=replace(backbone.gate, recalibrated=True))
    scorer = replace(read_scorer(bundle.files["scorer.npz"]), threshold=2.0, fusion=fusion)
    anew = written(
        tmp_path / "anew.edgeosr", bundle, backbone=record, files={"scorer.npz": write_scorer(scorer)}
    )
    for backend, limit in ((b"tensorrt", 2.0), (b"onnxruntime", manifest.threshold.value)):
        handle = Handle(native, anew, options(**{**NAMED, "backend": backend}))
        assert handle.thresholds() == [limit]
        handle.close()


def test_a_bundle_with_a_threshold_for_each_class_runs_no_engine(native, path, double, tmp_path):
    bundle = read_bundle(path)
    limit = bundle.manifest.threshold
    limits = tuple(
        ClassThreshold(value=float(value), interval=limit.interval, groups=60, images=60)
        for value in range(len(bundle.manifest.classes))
    )
    scorer = replace(
        read_scorer(bundle.files["scorer.npz"]), class_thresholds=tuple(one.value for one in limits)
    )
    by_class = written(
        tmp_path / "by_class.edgeosr",
        bundle,
        threshold=replace(limit, by_class=limits),
        files={"scorer.npz": write_scorer(scorer)},
    )
    status, said = said_on_opening(native, by_class, options(**NAMED))
    assert status == NO_BACKEND and "has a threshold a class, which engines do not take; export it" in said
    assert "--threshold-rule common --engine fp16, or take the back end onnxruntime" in said
    handle = Handle(native, by_class, options(**{**NAMED, "backend": b"auto"}))
    assert (handle.info()["backend"], len(handle.thresholds())) == ("onnxruntime", len(limits))
    assert "tensorrt" not in handle.info()["why"]
    handle.close()


def test_an_unknown_back_end_is_told_all_names(native, path):
    status, said = said_on_opening(native, path, options(**{**NAMED, "backend": b"tensorr"}))
    assert status == 1 and "must be auto, onnxruntime, openvino or tensorrt; got tensorr" in said
