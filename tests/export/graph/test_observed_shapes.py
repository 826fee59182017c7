"""Shapes that only a run shows."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeosr.export.graph.observed_shapes import observe_shapes
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.tangents.differentiate import add_tangents


def hidden_rank():
    """[batch, 6] -> [batch, 2, 3] -> [2 * batch, 3], by targets that shape inference cannot follow."""
    node = helper.make_node
    nodes = [
        node("Shape", ["input"], ["sizes"]),
        node("Mod", ["sizes", "large"], ["same"]),
        node("Slice", ["same", "zero", "one"], ["batch"]),
        node("Concat", ["batch", "two", "three"], ["target"], axis=0),
        node("Reshape", ["input", "target"], ["stack"]),
        node("Mul", ["batch", "two"], ["double"]),
        node("Concat", ["double", "three", "one"], ["long"], axis=0),
        node("Mod", ["two", "large"], ["count"]),
        node("Slice", ["long", "zero", "count"], ["flat_target"]),
        node("Reshape", ["stack", "flat_target"], ["rows"]),
        node("Reshape", ["rows", "whole"], ["embedding"]),
    ]
    constants = {"large": [100], "zero": [0], "one": [1], "two": [2], "three": [3], "whole": [-1, 6]}
    graph = helper.make_graph(
        nodes,
        "hidden_rank",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["images", 6])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["images", 6])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def tensors(model):
    return {value.name: value for node in model.graph for value in node.outputs}


def sizes_of(model, name):
    return static_shape(tensors(model)[name])


def test_sizes_that_do_not_change_are_fixed_and_others_follow_the_batch():
    model = hidden_rank()
    assert sizes_of(model, "stack") == (None, None, None)
    assert tensors(model)["rows"].shape is None
    observe_shapes(model.graph, tensors(model).values())
    shapes = {name: str(value.shape) for name, value in tensors(model).items()}
    assert shapes["stack"] == "[images,2,3]"
    assert shapes["rows"] == "[2*images,3]"
    assert tensors(model)["stack"].dtype == ir.DataType.FLOAT


def test_only_what_was_asked_for_changes_and_no_node_or_output_does():
    model = hidden_rank()
    before = [node.name for node in model.graph], [value.name for value in model.graph.outputs]
    observe_shapes(model.graph, [tensors(model)["stack"]])
    assert sizes_of(model, "stack") == (None, 2, 3)
    assert tensors(model)["rows"].shape is None
    assert ([node.name for node in model.graph], [value.name for value in model.graph.outputs]) == before


@pytest.mark.parametrize("breaks", ["open sizes", "does not run"])
def test_a_model_that_cannot_be_run_is_left_as_it_is(breaks):
    model = hidden_rank()
    if breaks == "open sizes":
        model.graph.inputs[0].shape = ir.Shape(["images", "width"])
    else:
        model.graph.initializers["three"].const_value = ir.tensor(np.array([4]))
    observe_shapes(model.graph, tensors(model).values())
    assert sizes_of(model, "stack") == (None, None, None)


def test_a_graph_with_sizes_that_inference_loses_can_be_differentiated():
    model = hidden_rank()
    directions = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    name = add_tangents(model, cut="input", embedding="embedding", seeds=directions)
    model.graph.outputs.append(tensors(model)[name])
    images = np.ones((3, 6), np.float32)
    _, got = ReferenceEvaluator(ir.to_proto(model)).run(None, {"input": images})
    np.testing.assert_array_equal(got, np.broadcast_to(directions[:, None], (2, 3, 6)))
