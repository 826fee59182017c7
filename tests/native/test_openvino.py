"""The library on OpenVINO, with its own front end and scoring: it decides like Python on OpenVINO."""

import ctypes
import shutil
import threading
import time
from dataclasses import replace

import body_bundles
import numpy as np
import onnx
import pytest
from handle import FAILED, MEMORY, Handle, frame, opened, options, text_at
from openvino_frames import LIBRARY, OPENVINO, frames_of
from openvino_shim import build_shim

import edgeosr
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.manifest import BODY
from edgeosr.errors import BundleError, InferenceError, MissingDependencyError
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime import openvino_module
from edgeosr.runtime.bands import SAME_GRAPH
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.runtime.native.library import (
    BGR8,
    OPENVINO_VARIABLE,
    RGB8,
)
from edgeosr.runtime.verify import verify_bundle

F32_ASKED = "it was asked for; in float32, because the bundle has no body"
METHODS = (("closed-form", "cosine"), ("closed-form", "external"), ("probes", "cosine"), ("none", "external"))


def require_same_decisions(handle, python, *, apart=SAME_GRAPH):
    for number, one in enumerate(frames_of()):
        color, pixel_format = (("rgb", RGB8), ("bgr", BGR8))[number % 2]
        (said,), expected = handle.judge(frame(one, pixel_format=pixel_format)), python(one, color=color)
        assert abs(said["score"] - expected.score) < apart
        values = said["parts"][: said["part_count"]]
        np.testing.assert_allclose(values, list(expected.parts.values()), atol=apart, rtol=apart)
        if abs(expected.score - expected.threshold) > apart:
            assert text_at(said["label"]) == expected.label
        assert (said["index"], said["threshold"]) == (expected.index, expected.threshold)


@pytest.mark.parametrize(("method", "head"), METHODS)
def test_model_onnx_in_float32_says_what_python_says_on_openvino(native, typed_bundle, method, head):
    path = typed_bundle(method, head).path
    with opened(native, path, **OPENVINO) as handle, edgeosr.Runtime(path, backend="openvino") as python:
        said = handle.info()
        assert (said["backend"], said["graph"], said["why"]) == ("openvino", "model.onnx", F32_ASKED)
        assert said["backend_library"].endswith("f32)")
        require_same_decisions(handle, python)


@pytest.mark.parametrize(("method", "head"), METHODS)
def test_a_body_runs_with_its_own_fusion_and_threshold_and_says_what_python_says(
    native, any_processor, body_bundle, method, head
):
    bundle = body_bundle(method, head)
    python = edgeosr.Runtime(bundle.path, backend="openvino")
    with opened(native, bundle.path, **OPENVINO) as handle, python:
        assert handle.info()["graph"] == python.graph == any_processor
        expected = bundle.manifest.body if any_processor == "body.onnx" else bundle.manifest
        assert handle.thresholds() == [expected.threshold.value]
        require_same_decisions(handle, python)


@pytest.fixture
def any_processor():
    """The graph that a bundle with a body in bf16 runs here."""
    import openvino

    from edgeosr.runtime.openvino_module import why_not

    return "model.onnx" if why_not("bf16", openvino.Core()) else "body.onnx"


@pytest.mark.parametrize(
    "settings",
    [{"fit": "stretch"}, {"fit": "letterbox"}, {"fit": "crop", "resize": 11}, {"crop_fraction": 0.875}],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_fit_is_judged_like_in_the_graph(native, manifest, tmp_path, monkeypatch, settings):
    module = body_bundles.typed_bundles()
    monkeypatch.setattr(module, "ExportSettings", lambda: ExportSettings(**settings, color="bgr"))
    path = module.write_typed_bundle(tmp_path / "fit.edgeosr", manifest, "closed-form", "fp32", "external")
    python = edgeosr.Runtime(path, backend="onnxruntime", threads=1)
    with opened(native, path, **OPENVINO) as handle, python:
        require_same_decisions(handle, python)


def test_a_batch_is_judged_like_its_frames_and_a_threshold_holds(native, typed_bundle):
    one, other = frames_of()[3], frames_of(seed=4)[3]
    with opened(native, typed_bundle().path, **OPENVINO) as handle:
        alone = [handle.judge(frame(each))[0] for each in (one, other)]
        together = handle.judge(frame(one), frame(other))
        assert [each["score"] for each in together] == [each["score"] for each in alone]
        handle.set_threshold(-np.inf)
        assert text_at(handle.judge(frame(one))[0]["label"]) == "unknown"


def test_after_the_first_frame_of_a_size_the_library_allocates_nothing(native, body_bundle):
    with opened(native, body_bundle().path, **OPENVINO) as handle:
        frames = [frame(one) for one in frames_of()[3:5]]
        for one in frames:
            handle.judge(one)
        before = native.edgeosr_test_allocations()
        for one in frames:
            handle.judge(one)
        assert native.edgeosr_test_allocations() == before


def test_after_a_call_without_memory_for_its_rows_the_next_one_has_room_for_them(native, typed_bundle):
    with opened(native, typed_bundle().path, **OPENVINO) as handle:
        one = frame(frames_of()[1])
        alone = handle.judge(one)["score"][0]
        many = np.concatenate([one] * 4096)
        native.edgeosr_test_allow(ctypes.c_size_t(4096 * 8))  # the labels, not the parts' values
        try:
            assert handle.status_of(many)[0] == MEMORY
        finally:
            native.edgeosr_test_allow(ctypes.c_size_t(-1))
        assert handle.judge(*[one] * 4096)["score"].tolist() == [alone] * 4096


@pytest.mark.parametrize("bundle", ["there", "removed meanwhile"])
def test_threads_judge_at_once_and_nobody_gets_anothers_verdict(native, typed_bundle, tmp_path, bundle):
    path = tmp_path / "copy.edgeosr"
    shutil.copytree(typed_bundle().path, path)
    frames = frames_of()[:6]
    found = {index: set() for index in range(len(frames))}
    with opened(native, path, **OPENVINO) as handle:
        if bundle == "removed meanwhile":  # a further network cannot be made: calls wait for the first
            shutil.rmtree(path)
        alone = [float(handle.judge(frame(one))[0]["score"]) for one in frames]

        def judge(index):
            for _ in range(20):
                found[index].add(float(handle.judge(frame(frames[index]))[0]["score"]))

        threads = [threading.Thread(target=judge, args=(index,)) for index in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {index: {score} for index, score in enumerate(alone)}


@pytest.fixture
def gone(native, typed_bundle, tmp_path):
    """Opens a bundle that is then taken from the disk, so that no further network can be made."""

    def of(library):
        path = tmp_path / "gone.edgeosr"
        shutil.copytree(typed_bundle().path, path)
        handle = Handle(native, path, options(**{**OPENVINO, "backend_library": library}))
        shutil.rmtree(path)
        return handle

    return of


def test_after_a_time_limit_the_only_network_goes_on(native, gone):
    handle, one = gone(LIBRARY), frame(frames_of()[3])
    before = handle.judge(one)["score"]
    assert native.edgeosr_warm_up(handle.pointer, 1, 1e-9) == FAILED
    assert "did not judge a frame within 1e-09 s" in handle.last_error()
    assert handle.judge(one)["score"] == before and native.edgeosr_warm_up(handle.pointer, 1, 60.0) == 0
    handle.close()


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return ctypes.CDLL(str(build_shim(tmp_path_factory.mktemp("shim"), LIBRARY.decode())))


def test_threads_that_wait_for_a_network_that_fails_are_told_and_it_goes_on_later(gone, shim):
    handle, one = gone(shim._name.encode()), frame(frames_of()[3])
    before, said = handle.judge(one)["score"], []
    shim.shim_set(1)
    threads = [
        threading.Thread(target=lambda: said.append(handle.status_of(one)[0]), daemon=True) for _ in range(4)
    ]
    ran = shim.shim_inside()
    threads[0].start()
    while shim.shim_inside() == ran:
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.2)
    shim.shim_set(2)
    for thread in threads:
        thread.join(20)
    assert said == [FAILED] * 4
    shim.shim_set(0)
    assert handle.judge(one)["score"] == before
    handle.close()


def test_pythons_native_backend_runs_the_body_with_its_threshold(
    as_python_opens_it, any_processor, body_bundle
):
    bundle = body_bundle()
    record = bundle.manifest.body if any_processor == BODY else bundle.manifest
    python = edgeosr.Runtime(bundle.path, backend="openvino" if any_processor == BODY else "onnxruntime")
    with python, edgeosr.Runtime(bundle.path, backend="native") as runtime:
        assert (runtime.backend, runtime.graph) == ("native", any_processor)
        assert runtime.threshold == record.threshold.value == python.threshold
        for one in frames_of()[:6]:
            said, expected = runtime(one), python(one)
            assert abs(said.score - expected.score) < SAME_GRAPH
        said = runtime(np.stack([frames_of()[3]] * 3), color="bgr")
        assert len({verdict.score for verdict in said}) == 1
    assert verify_bundle(bundle.path, backends=["native"]).passed


@pytest.mark.parametrize("why", ["the processor has no bf16", "the golden frames differ", "no library"])
def test_where_the_body_cannot_run_pythons_native_backend_runs_model_onnx_and_says_why(
    as_python_opens_it, body_bundle, monkeypatch, tmp_path, why
):
    bundle = body_bundle()
    if why == "the processor has no bf16":
        monkeypatch.setattr(openvino_module, "why_not", lambda precision, core: why)
    elif why == "no library":
        monkeypatch.setenv(OPENVINO_VARIABLE, str(tmp_path / "none.so"))
    else:
        golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
        label = golden.body.label
        other = replace(golden.body, label=(label + 1) % 4, second=(label + 2) % 4)
        files = {**bundle.files, "golden.npz": write_golden(replace(golden, body=other))}
        write_bundle(tmp_path / "b.edgeosr", bundle.manifest, files)
        bundle = read_bundle(tmp_path / "b.edgeosr")
    words = {"no library": "OpenVINO was not found", "the golden frames differ": "does not decide here"}
    with (
        edgeosr.Runtime(bundle.path, backend="onnxruntime", threads=1) as python,
        edgeosr.Runtime(bundle.path, backend="native", threads=1) as runtime,
    ):
        for one in frames_of()[:6]:
            assert runtime(one).score == python(one).score
        assert (runtime.graph, runtime.threshold) == ("model.onnx", bundle.manifest.threshold.value)
        assert "model.onnx on onnxruntime, because openvino: " in runtime.why
        assert words.get(why, why) in runtime.why and "onnxruntime" in runtime.providers[0]
    report = verify_bundle(bundle.path, backends=["native"])
    assert words.get(why, why) in report.as_text()  # and a body that decides otherwise is no success
    assert report.passed == report.checks[0].passed == (why != "the golden frames differ")


def refused(native, path, error, words, **changes):
    with pytest.raises(error, match=words):
        Handle(native, path, options(**{**OPENVINO, **changes}))


def test_what_cannot_be_opened_says_what_was_looked_for(native, bundle_path, typed_bundle, monkeypatch):
    path = typed_bundle().path
    monkeypatch.delenv(OPENVINO_VARIABLE, raising=False)
    refused(native, path, MissingDependencyError, "looked for libopenvino_c.so .*wheel", backend_library=None)
    refused(
        native, path, MissingDependencyError, r"no OpenVINO .* ov_get_openvino", backend_library=b"libm.so.6"
    )
    refused(native, path, InferenceError, r"within 1e-09 s.*warmup_limit_s", warmup_limit_s=1e-9)
    refused(native, bundle_path, InferenceError, r"'pixels'.*back end onnxruntime")
    monkeypatch.setenv(OPENVINO_VARIABLE, LIBRARY.decode())
    with opened(native, path, **{**OPENVINO, "backend_library": None}) as handle:
        assert handle.info()["backend"] == "openvino"


def test_auto_takes_the_body_if_openvino_is_here_else_onnxruntime_and_says_why(
    native, any_processor, body_bundle, typed_bundle, monkeypatch
):
    path = body_bundle().path
    monkeypatch.setenv("EDGEOSR_ONNXRUNTIME", options().backend_library.decode())
    monkeypatch.setenv(OPENVINO_VARIABLE, LIBRARY.decode())
    with opened(native, path, backend_library=None) as handle:
        assert handle.info()["graph"] == any_processor
        handle.swap(typed_bundle().path)
        said = handle.info()
        assert said["backend"] == "onnxruntime" and said["why"].endswith(" and no body for OpenVINO")
        handle.rollback()
        assert handle.info()["graph"] == any_processor
    monkeypatch.setenv(OPENVINO_VARIABLE, "/nowhere/libopenvino_c.so")
    with opened(native, path, backend_library=None) as handle:
        said = handle.info()
        assert (said["backend"], said["graph"]) == ("onnxruntime", "model.onnx")
        assert said["why"].startswith("openvino: OpenVINO was not found; looked for /nowhere")


def turned_round(data):
    """Return a graph with its first convolution's weights turned round: other decisions, the same shapes."""
    model = onnx.load_model_from_string(data)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[1])
    array = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array[::-1]), weight.name))
    return bytes(model.SerializeToString())


def test_a_body_that_decides_otherwise_is_refused_and_auto_leaves_it(
    native, any_processor, body_bundle, tmp_path, monkeypatch
):
    if any_processor != "body.onnx":
        pytest.skip("this processor has no bf16 instructions")
    bundle = body_bundle()
    path = tmp_path / "changed.edgeosr"
    write_bundle(
        path, bundle.manifest, {**bundle.files, "body.onnx": turned_round(bundle.files["body.onnx"])}
    )
    refused(native, path, InferenceError, r"golden verdicts differ.*OpenVINO .*bf16")
    monkeypatch.setenv("EDGEOSR_ONNXRUNTIME", options().backend_library.decode())
    monkeypatch.setenv(OPENVINO_VARIABLE, LIBRARY.decode())
    with opened(native, path, backend_library=None) as handle:
        said = handle.info()
        assert said["backend"] == "onnxruntime" and "golden verdicts differ" in said["why"]
        assert handle.thresholds() == [bundle.manifest.threshold.value]
        handle.swap(path)  # nothing is lost by it
    with pytest.raises(InferenceError, match="golden verdicts differ"):
        Handle(native, path, options(backend_library=None, verify=1))
    with opened(native, bundle.path, backend_library=None) as handle:
        with pytest.raises(InferenceError, match="golden verdicts differ"):
            handle.swap(path)
        assert (handle.info()["graph"], handle.info()["generation"]) == ("body.onnx", 1)


def test_a_body_that_gives_other_tensors_than_the_scorer_takes_is_refused(native, body_bundle, tmp_path):
    bundle = body_bundle("none", "external")
    record = replace(bundle.manifest.body, logits=False)
    data = body_bundles.body_bytes(bundle.files["model.onnx"], record.outputs)
    path = tmp_path / "less.edgeosr"
    write_bundle(path, replace(bundle.manifest, body=record), {**bundle.files, "body.onnx": data})
    assert read_bundle(path).manifest.body.outputs == ("embedding",)
    refused(native, path, BundleError, r"takes: expected .* and logits; got an embedding; export the bundle")


def test_an_edited_threshold_of_a_body_is_noticed_by_both_readers(native, body_bundle, tmp_path):
    bundle = body_bundle()
    limits = {
        "threshold": bundle.manifest.threshold.value,
        "body_threshold": bundle.manifest.body.threshold.value,
    }
    golden = replace(read_golden(bundle.files["golden.npz"], bundle.manifest), **limits)
    for name, change in (("good", 0.0), ("edited", 50.0)):
        body = bundle.manifest.body
        body = replace(body, threshold=replace(body.threshold, value=body.threshold.value + change))
        write_bundle(
            tmp_path / f"{name}.edgeosr",
            replace(bundle.manifest, body=body),
            {**bundle.files, "golden.npz": write_golden(golden)},
        )
    with opened(native, tmp_path / "good.edgeosr", **OPENVINO) as handle:
        assert handle.verify()[0] == 0
    refused(native, tmp_path / "edited.edgeosr", BundleError, "body_threshold must be the manifest's")
    assert verify_bundle(tmp_path / "good.edgeosr").passed
    with pytest.raises(BundleError, match="body_threshold must be the manifest's"):
        verify_bundle(tmp_path / "edited.edgeosr")


def test_the_programs_stack_for_signals_stays_its_own(native, typed_bundle):
    # OpenVINO puts another there, which it takes away some day: the next signal would end the program.
    class Stack(ctypes.Structure):
        _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    def now():
        found = Stack()
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
        return found.address, found.flags, found.size

    before = now()
    with opened(native, typed_bundle("closed-form", "cosine").path, **OPENVINO) as handle:
        handle.judge(frame(frames_of()[3]))
        assert now() == before
    assert now() == before
