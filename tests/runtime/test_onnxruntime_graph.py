"""What a scoring graph gives is held against its frames, and its first answer has a time limit."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeosr.errors import BundleError, InferenceError, UsageError
from edgeosr.runtime import runtime as runtime_module
from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.runtime.runtime import Runtime

PARTS = 5
THREE = np.zeros((3, 4, 4, 3), np.uint8)


def graph_giving(label: NDArray[Any], score: NDArray[Any], values: NDArray[Any]) -> bytes:
    """A graph that declares the contract's shapes and gives these arrays whatever comes in."""
    inputs = [
        helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", "height", "width", 3]),
        helper.make_tensor_value_info("channel_order", TensorProto.INT64, [3]),
    ]
    declared: dict[str, tuple[int, list[Any]]] = {
        "label": (TensorProto.INT64, ["batch"]),
        "score": (TensorProto.FLOAT, ["batch"]),
        "values": (TensorProto.FLOAT, ["batch", PARTS]),
    }
    given = {"label": label.astype(np.int64), "score": score, "values": values}
    nodes = [helper.make_node("Add", [f"c_{name}", f"nil_{name}"], [name]) for name in ("label", "score")]
    # Of the frames, and values with a shape of them too, so that running it alone finds the shapes.
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["float"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "zero"], ["nil_score"]),
        helper.make_node("Cast", ["nil_score"], ["nil"], to=TensorProto.INT64),
        helper.make_node("Add", ["shape", "nil"], ["reshape"]),
        helper.make_node("Cast", ["nil_score"], ["nil_label"], to=TensorProto.INT64),
        *nodes,
        helper.make_node("Reshape", ["c_values", "reshape"], ["values"]),
    ]
    constants = {f"c_{name}": array for name, array in given.items()} | {
        "zero": np.float32(0),
        "shape": np.array(values.shape),
        "channel_order": np.array([0, 1, 2]),
    }
    graph = helper.make_graph(
        nodes,
        "constant",
        inputs,
        [helper.make_tensor_value_info(name, *declared[name]) for name in given],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def test_one_row_a_frame_is_taken() -> None:
    rows = OnnxRuntimeGraph(graph_giving(zeros(3), zeros(3), zeros(3, PARTS)), parts=PARTS).run(THREE)
    assert (rows.label.shape, rows.score.shape, rows.values.shape) == ((3,), (3,), (3, PARTS))


@pytest.mark.parametrize(
    ("shapes", "got"),
    [
        (((7,), (7,), (7, PARTS)), r"\[7\], \[7\], \[7, 5\]"),
        (((2,), (2,), (2, PARTS)), r"\[2\], \[2\], \[2, 5\]"),
        (((3,), (1,), (3, PARTS)), r"\[3\], \[1\], \[3, 5\]"),
        (((3,), (3,), (3, PARTS - 1)), r"\[3\], \[3\], \[3, 4\]"),
        (((3, 1), (3, 1), (3, PARTS)), r"\[3, 1\], \[3, 1\], \[3, 5\]"),
        (((), (), (1, PARTS)), r"\[\], \[\], \[1, 5\]"),
        (((0,), (0,), (0, PARTS)), r"\[0\], \[0\], \[0, 5\]"),
    ],
)
def test_other_than_one_row_a_frame_is_a_bundle_error(shapes: Any, got: str) -> None:
    graph = OnnxRuntimeGraph(graph_giving(*(zeros(*shape) for shape in shapes)), parts=PARTS)
    wanted = rf"for 3 expected label and score \[3\] and values \[3, 5\]; got {got}; export the bundle again"
    with pytest.raises(BundleError, match=wanted):
        graph.run(THREE)


def test_the_check_of_the_rows_costs_next_to_nothing() -> None:
    graph = OnnxRuntimeGraph(graph_giving(zeros(3), zeros(3), zeros(3, PARTS)), parts=PARTS)
    rows = graph.run(THREE)

    class Session:
        @staticmethod
        def run(*_: Any) -> list[NDArray[Any]]:
            return [rows.label, rows.score, rows.values]

    graph._session = Session()
    best = math.inf
    for _ in range(200):
        started = time.perf_counter()
        graph.run(THREE)
        best = min(best, time.perf_counter() - started)
    assert best < 10e-6


def slow_model(small: bytes, steps: int = 200) -> bytes:
    """The tiny bundle's graph with a chain of products of 1024 x 1024, fed by the frames, in its score."""
    model = onnx.load_model_from_string(small)
    nodes, last = [], "seeded"
    nodes.append(helper.make_node("Mul", ["scores", "square"], ["wide"]))
    nodes.append(helper.make_node("Add", ["wide", "square"], ["seeded"]))
    for step in range(steps):
        nodes.append(helper.make_node("MatMul", [last, last], [f"product_{step}"]))
        last = f"product_{step}"
    nodes.append(helper.make_node("ReduceMin", [last], ["slow"], keepdims=0))
    nodes.append(helper.make_node("Add", ["scores", "slow"], ["scores_and_slow"]))
    square = np.full((1024, 1024), 1 / 1024, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(square, "square"))
    squeeze = model.graph.node.pop()
    assert squeeze.op_type == "Squeeze"
    squeeze.input[0] = "scores_and_slow"
    model.graph.node.extend([*nodes, squeeze])
    return bytes(model.SerializeToString())


def test_a_graph_that_takes_too_long_cannot_hang_the_opening(
    make_bundle: Callable[..., Path], graph_bytes: Callable[..., bytes]
) -> None:
    path = make_bundle(model=slow_model(graph_bytes()))
    started = time.process_time()  # a busy machine says nothing of it
    with pytest.raises(InferenceError, match=r"did not judge its first frame within 0\.2 s.*warmup_limit_s"):
        Runtime(path, threads=1, warmup_limit_s=0.2)
    assert time.process_time() - started < 4  # all of it would take ten
    assert runtime_module.WARMUP_LIMIT_S == 60


def test_an_endless_limit_is_one_and_others_are_numbers_above_0(bundle_path: Path) -> None:
    with Runtime(bundle_path, warmup_limit_s=math.inf) as runtime:
        assert runtime(np.zeros((8, 8, 3), np.uint8))
    for wrong in (0, -1, math.nan, "60", None, True):
        with pytest.raises(UsageError, match="warmup_limit_s must be a number"):
            Runtime(bundle_path, warmup_limit_s=wrong)  # type: ignore[arg-type]  # what users may pass


def test_a_graph_that_ends_before_it_can_be_stopped_is_refused_all_the_same(bundle_path: Path) -> None:
    with pytest.raises(InferenceError, match="did not judge its first frame within 1e-06 s"):
        Runtime(bundle_path, threads=1, warmup_limit_s=1e-6)


def test_a_failure_of_a_warm_up_in_time_is_told_as_what_it_is(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise InferenceError("planted")

    monkeypatch.setattr(OnnxRuntimeGraph, "_rows", fails)
    with pytest.raises(InferenceError, match="planted"):
        Runtime(bundle_path)
