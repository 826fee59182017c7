"""A back end that is named is the only one; what keeps one from running, "auto" passes over and says so."""

import ctypes
import os
import shutil

import pytest
from body_bundles import add_engine_of_no_machine
from handle import MEMORY, NO_BACKEND, frame, opened, options, said_on_opening
from openvino_frames import LIBRARY, frames_of
from openvino_shim import build_shim

import edgeosr
from edgeosr.errors import InferenceError
from edgeosr.runtime import openvino_module
from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, OPENVINO_VARIABLE
from edgeosr.runtime.openvino_graph import OpenVinoGraph

NO_ROOM, OF_SHIM = 3, "std::bad_alloc"


@pytest.fixture
def runs_the_body():
    """Skips where no body in bf16 runs, which is what ``auto`` would take."""
    import openvino

    if openvino_module.why_not("bf16", openvino.Core()):
        pytest.skip("this processor has no bf16 instructions")


@pytest.fixture
def shim(monkeypatch, tmp_path):
    """OpenVINO that has no memory from ``shim_set(3)`` on; onnxruntime is the one of every test."""
    made = ctypes.CDLL(str(build_shim(tmp_path, LIBRARY.decode())))
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, options().backend_library.decode())
    monkeypatch.setenv(OPENVINO_VARIABLE, made._name)
    return made


def test_auto_passes_over_an_openvino_without_memory_and_says_so(native, runs_the_body, body_bundle, shim):
    bundle = body_bundle()
    shim.shim_set(NO_ROOM)
    with opened(native, bundle.path, backend=b"auto", backend_library=None) as handle:
        said = handle.info()
        assert (said["backend"], said["graph"]) == ("onnxruntime", "model.onnx")
        assert said["why"].startswith("openvino: OpenVINO ") and OF_SHIM in said["why"]
        assert handle.thresholds() == [bundle.manifest.threshold.value]


def test_a_named_openvino_without_memory_is_refused(native, body_bundle, shim):
    shim.shim_set(NO_ROOM)
    status, said = said_on_opening(
        native, body_bundle().path, options(backend=b"openvino", backend_library=None)
    )
    assert status == MEMORY and OF_SHIM in said


def test_a_swap_from_a_body_takes_nothing_less_for_lack_of_memory(native, runs_the_body, body_bundle, shim):
    path, one = os.fsencode(body_bundle().path), frame(frames_of()[3])
    with opened(native, body_bundle().path, backend=b"auto", backend_library=None) as handle:
        before = handle.judge(one)[0]["score"]
        shim.shim_set(NO_ROOM)
        assert native.edgeosr_swap(handle.pointer, path) == MEMORY and OF_SHIM in handle.last_error()
        shim.shim_set(0)
        assert (handle.info()["graph"], handle.judge(one)[0]["score"]) == ("body.onnx", before)


@pytest.mark.parametrize("where", ["_networks", "run"])
@pytest.mark.parametrize(("words", "told"), [("std::bad_alloc", "std::bad_alloc"), ("", "nothing more")])
def test_python_does_the_same(runs_the_body, body_bundle, monkeypatch, where, words, told):
    def full(*_arguments, **_options):
        raise MemoryError(words)

    monkeypatch.setattr(OpenVinoGraph, where, full)
    with edgeosr.Runtime(body_bundle().path, trial=False) as runtime:
        assert (runtime.backend, runtime.graph) == ("onnxruntime", "model.onnx")
        assert runtime.why.startswith(f"openvino: openvino has not enough memory ({told}")
    with pytest.raises(InferenceError, match=r"has not enough memory .*; give the process more, "):
        edgeosr.Runtime(body_bundle().path, backend="openvino", trial=False)


@pytest.fixture
def engine_alone(typed_bundle, tmp_path):
    """A bundle with an engine and no body."""
    path = tmp_path / "engine.edgeosr"
    shutil.copytree(typed_bundle().path, path)
    add_engine_of_no_machine(path)
    return path


def test_a_named_openvino_swaps_to_what_it_runs_of_a_bundle_with_an_engine_and_no_body(
    native, body_bundle, engine_alone
):
    why = "it was asked for; in float32, because the bundle has no body"
    with opened(native, body_bundle().path, backend=b"openvino", backend_library=LIBRARY) as handle:
        handle.swap(engine_alone)
        said = handle.info()
        assert (said["backend"], said["graph"], said["why"]) == ("openvino", "model.onnx", why)
    with edgeosr.Runtime(engine_alone, backend="openvino") as runtime:
        assert (runtime.backend, runtime.graph, runtime.why) == ("openvino", "model.onnx", why)


def test_auto_swaps_from_a_body_to_no_less_than_the_engine_of_such_a_bundle(
    native, runs_the_body, body_bundle, engine_alone, shim
):
    with opened(native, body_bundle().path, backend=b"auto", backend_library=None) as handle:
        assert native.edgeosr_swap(handle.pointer, os.fsencode(engine_alone)) == NO_BACKEND
        assert "TensorRT was not found" in handle.last_error() or "plug-in" in handle.last_error()
        assert (handle.info()["graph"], handle.info()["generation"]) == ("body.onnx", 1)
