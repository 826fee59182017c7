"""onnxruntime sessions are made in one place; what onnxruntime cannot do is an InferenceError."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.bundle.tensors import feed_of
from edgeosr.errors import EdgeosrError, InferenceError, UsageError
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session
from edgeosr.runtime.verify import verify_bundle

ROOT = Path(__file__).parents[2]


def test_every_session_of_the_product_is_made_in_one_place() -> None:
    makers = [
        path.relative_to(ROOT).as_posix()
        for room in ("edgeosr", "export", "kernels", "bench")
        for path in sorted((ROOT / room).rglob("*.py"))
        if re.search(r"\bInferenceSession\(", path.read_text(encoding="utf-8"))
    ]
    assert makers == ["edgeosr/runtime/sessions.py"]


# Whatever else is run by a method of this name; timing loops time the bare call.
NO_BARE_RUN = {
    ("bench/fresh_process.py", "session"),
    ("bench/gpu_rung/clocks.py", "subprocess"),
    ("bench/gpu_rung/pack.py", "subprocess"),
    ("bench/fresh_process.py", "subprocess"),
    ("bench/latency.py", "session"),
    ("bench/reliability/fuzz.py", "subprocess"),
    ("bench/tangent_costs.py", "session"),
    ("edgeosr/runtime/backends/engine_runner.py", "self"),
    ("edgeosr/runtime/backends/onnxruntime.py", "self._graph"),
    ("edgeosr/runtime/backends/open_engine.py", "runner"),
    ("edgeosr/runtime/runtime.py", "backend"),
    ("edgeosr/runtime/sessions.py", "session"),
    ("export/closed_form/activations.py", "evaluator"),
    ("export/measure.py", "self"),
    ("kernels/build/toolchain.py", "subprocess"),
    ("kernels/counting/launch.py", "machine"),
    ("kernels/counting/machine.py", "one"),
    ("export/foreign/agreement.py", "runner"),
    ("bench/x86.py", "front"),
    ("bench/x86.py", "graph"),
    ("export/golden.py", "body.runner"),
    ("bench/cpp_program.py", "subprocess"),
    ("bench/native_opening.py", "subprocess"),
    ("bench/x86.py", "self._front"),
    ("edgeosr/runtime/backends/native.py", "self"),
    ("edgeosr/runtime/backends/openvino.py", "self._graph"),
    ("edgeosr/runtime/native/build.py", "subprocess"),
}


def test_every_session_of_the_product_is_run_in_one_place_so_that_a_failure_is_an_inference_error() -> None:
    found = [
        (path.relative_to(ROOT).as_posix(), call)
        for room in ("edgeosr", "export", "kernels", "bench")
        for path in sorted((ROOT / room).rglob("*.py"))
        for call in re.findall(r"([\w.\[\]]+)\.run\(", path.read_text(encoding="utf-8"))
    ]
    assert set(found) == NO_BARE_RUN
    # Two of them in sessions.py: the second lets go of memory, and its failure is none.
    assert len([call for _, call in found if call.endswith("session")]) == 5


def test_a_file_that_is_no_graph_is_an_inference_error_that_names_it() -> None:
    with pytest.raises(InferenceError, match=r"onnxruntime [\d.]+ cannot load the plan: .*a newer one may"):
        open_session(b"not a graph", SessionSettings(), name="the plan")


def test_a_run_that_fails_names_the_shapes_that_went_in(graph_bytes: Callable[..., bytes]) -> None:
    session = open_session(graph_bytes())
    frames = np.zeros((1, 4, 6, 2), np.uint8)
    with pytest.raises(InferenceError, match=r"could not run the graph on frames \[1, 4, 6, 2\]: "):
        run_session(session, ["label"], {"frames": frames})
    assert len(run_session(session, None, feed_of(np.zeros((1, 4, 6, 3), np.uint8)))) == 3


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2"])
def test_threads_are_checked_when_settings_are_made(threads: int) -> None:
    with pytest.raises(UsageError, match=r"threads must be a whole number from 1 to 1024; got"):
        SessionSettings(threads=threads)


def test_a_graph_that_does_not_run_is_no_damaged_bundle(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    with Runtime(bundle_path) as runtime:
        monkeypatch.setattr(runtime._backend._graph._session, "run", fails)  # type: ignore[union-attr]
        with pytest.raises(
            InferenceError, match=r"could not run model\.onnx on frames .*: out of memory"
        ) as error:
            runtime(np.zeros((8, 8, 3), np.uint8))
    assert error.value.exit_code == 1 and isinstance(error.value, EdgeosrError)


def test_verify_calls_a_graph_that_does_not_load_a_failure_not_an_absence(
    make_bundle: Callable[..., Path], graph_bytes: Callable[..., bytes]
) -> None:
    model = onnx.load_model_from_string(graph_bytes())
    next(node for node in model.graph.node if node.op_type == "Neg").op_type = "Not"  # of a number
    report = verify_bundle(make_bundle(model=model.SerializeToString()), backends=("onnxruntime",))
    (check,) = report.checks
    assert check.failed and not check.available and not report.passed
    assert "cannot load model.onnx" in check.detail
    assert "onnxruntime   FAILED" in report.as_text()


def test_nothing_is_computed_while_a_graph_is_loaded() -> None:
    # Loaded with its constants folded it would ask for 64 TiB, where no time limit is looked at.
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array([1 << 44]), "many")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = open_session(model.SerializeToString())
    with pytest.raises(InferenceError):
        run_session(session, None, {"x": np.zeros(1, np.float32)})
