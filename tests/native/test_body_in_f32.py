"""A body in float32: for every processor, by the library's own front end and scoring."""

import numpy as np
import pytest
from body_bundles import write_body_bundle
from handle import frame, opened, options
from openvino_frames import LIBRARY, frames_of

import edgeosr
from edgeosr.runtime import openvino_module
from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, OPENVINO_VARIABLE


@pytest.fixture(scope="module")
def in_f32(typed_bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("f32") / "f32.edgeosr"
    return write_body_bundle(path, typed_bundle(), precision="f32")


def test_auto_takes_it_in_c_and_in_python_with_its_own_threshold(native, in_f32, monkeypatch):
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, options().backend_library.decode())
    monkeypatch.setenv(OPENVINO_VARIABLE, LIBRARY.decode())
    with (
        opened(native, in_f32.path, backend=b"auto", backend_library=None) as handle,
        edgeosr.Runtime(in_f32.path) as runtime,
    ):
        said = handle.info()
        assert (said["graph"], runtime.backend, runtime.graph) == ("body.onnx", "openvino", "body.onnx")
        assert said["why"] == runtime.why == "any processor runs its f32 body"
        assert said["backend_library"].endswith(", f32)") and runtime.providers[0].endswith(", f32")
        assert handle.thresholds() == [runtime.threshold] == [in_f32.manifest.body.threshold.value]
        for one in frames_of():
            verdict, expected = handle.judge(frame(one))[0], runtime(one)
            assert abs(verdict["score"] - expected.score) < 1e-4  # float32 on both sides
            assert verdict["index"] == expected.index


def test_no_processor_is_too_old_for_it(in_f32, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(openvino_module, "processor_flags", lambda: frozenset({"sse2"}))
        patch.setattr(openvino_module.Core, "get_property", lambda core, device, name: ["FP32"])
        assert openvino_module.why_not("f32", openvino_module.Core()) == ""
        assert all(openvino_module.why_not(other, openvino_module.Core()) for other in ("bf16", "int8"))
    with edgeosr.Runtime(in_f32.path, backend="openvino") as runtime:
        assert (runtime.graph, runtime.why) == ("body.onnx", "it was asked for")


def test_its_score_is_its_own_and_its_parts_are_those_of_model_onnx(native, in_f32):
    one = frame(frames_of()[3])
    with (
        opened(native, in_f32.path, backend=b"openvino", backend_library=LIBRARY) as body,
        opened(native, in_f32.path, backend=b"onnxruntime") as plain,
    ):
        there, here = body.judge(one)[0], plain.judge(one)[0]
        assert abs(there["score"] - here["score"]) > 1e-3
        np.testing.assert_allclose(there["parts"], here["parts"], rtol=1e-4, atol=1e-4, equal_nan=True)
