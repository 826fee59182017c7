"""A graph of the export runs on as many threads as its size is worth, and on as many as was asked for."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.export import measure, threads
from edgeosr.export.graph.assemble import TANGENTS_NOTE
from edgeosr.export.measure import GraphRunner
from edgeosr.export.threads import ENOUGH_THREADS, SMALL, graph_threads, multiply_adds


def model(nodes, arrays, inputs, outputs, notes=()):
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, dict(notes))
    return onnx.shape_inference.infer_shapes(made)


def convolution(channels=4, side=8, notes=()):
    return model(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        {"w": (channels, 3, 3, 3)},
        {"x": ["n", 3, side, side]},
        {"y": ["n", channels, side, side]},
        notes,
    )


def test_a_convolution_counts_its_weights_once_a_position_whatever_the_batch():
    assert multiply_adds(convolution()) == 4 * 3 * 9 * 64


def test_a_depthwise_convolution_counts_one_channel_a_filter():
    made = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, strides=[2, 2], group=4)],
        {"w": (4, 1, 3, 3)},
        {"x": ["n", 4, 8, 8]},
        {"y": ["n", 4, 4, 4]},
    )
    assert multiply_adds(made) == 4 * 9 * 16


def test_a_transposed_convolution_counts_its_weights_once_an_input_position():
    made = model(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])],
        {"w": (3, 5, 2, 2)},
        {"x": ["n", 3, 8, 8]},
        {"y": ["n", 5, 16, 16]},
    )
    assert multiply_adds(made) == 3 * 5 * 4 * 64


@pytest.mark.parametrize(
    ("node", "inputs", "arrays", "output", "expected"),
    [
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), {"x": ["n", 32]}, {"w": (10, 32)}, 10, 320),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": ["n", 49, 32]}, {"w": (32, 10)}, 10, 49 * 320),
        (
            helper.make_node("MatMul", ["x", "v"], ["y"]),
            {"x": ["n", 49, 32], "v": ["n", 32, 49]},
            {},
            49,
            49 * 49 * 32,
        ),
    ],
    ids=["Gemm", "MatMul", "MatMul of two computed tensors"],
)
def test_a_matrix_product_counts_what_its_factors_have_in_common(node, inputs, arrays, output, expected):
    shape = [*inputs["x"][:-1], output]
    assert multiply_adds(model([node], arrays, inputs, {"y": shape})) == expected


def test_tangents_multiply_the_work():
    assert multiply_adds(convolution(notes={TANGENTS_NOTE: "7"})) == 8 * multiply_adds(convolution())


@pytest.mark.parametrize(("processors", "many"), [(1, 1), (3, 3), (64, ENOUGH_THREADS)])
def test_a_small_graph_gets_one_thread_and_a_large_one_as_many_as_there_are_up_to_four(
    monkeypatch, processors, many
):
    monkeypatch.setattr(threads, "usable_processors", lambda: processors)
    side = 256
    below = (SMALL - 1) // (27 * side * side)
    assert graph_threads(convolution(below, side).SerializeToString()) == 1
    assert graph_threads(convolution(below + 1, side).SerializeToString()) == many


@pytest.mark.parametrize(("asked", "taken"), [(None, 1), (3, 3)])
def test_a_runner_takes_what_was_asked_for_else_what_suits(monkeypatch, asked, taken):
    given = []
    real = measure.open_session

    def noted(data, settings, **named):
        given.append(settings.threads)
        return real(data, settings, **named)

    monkeypatch.setattr(measure, "open_session", noted)
    GraphRunner(convolution().SerializeToString(), threads=asked)
    assert given == [taken]
