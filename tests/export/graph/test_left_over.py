"""What is written leaves nothing to be computed while it is loaded, and a bundle's reader takes it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.export.graph.left_over import with_nothing_left_over
from edgeosr.runtime.sessions import open_session, run_session


def model(*nodes, **constants):
    """A graph of images [n, 2, h, w] whose nodes make ``out``."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [helper.make_empty_tensor_value_info("out")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def written(proto):
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    return with_nothing_left_over(copied)


def kinds(proto):
    return [each.op_type for each in proto.graph.node]


def outputs(proto, image):
    return run_session(open_session(proto.SerializeToString()), None, {"image": image})[0]


IMAGE = np.arange(2 * 2 * 3 * 4, dtype=np.float32).reshape(2, 2, 3, 4)


def test_what_is_made_of_constants_is_kept_as_what_it_is():
    made = [
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["w", "half"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["image", "turned"], ["out"]),
    ]
    proto = model(*made, w=np.arange(8, dtype=np.float32).reshape(2, 4, 1) + np.zeros((2, 4, 3), np.float32))
    changed = written(proto)
    assert kinds(changed) == ["Mul"] and [each.name for each in changed.graph.initializer] == ["turned"]
    assert np.array_equal(outputs(proto, IMAGE), outputs(changed, IMAGE))


def test_weights_of_8_bits_stay_so():
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["weights"]),
        helper.make_node("Conv", ["image", "weights"], ["out"]),
    ]
    changed = written(model(*nodes, w=np.ones((3, 2, 1, 2), np.int8), scale=np.float32(0.5)))
    assert kinds(changed) == ["DequantizeLinear", "Conv"]
    assert list(changed.graph.node[1].attribute[0].ints) == [1, 2]


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_convolution_says_its_kernel(op):
    proto = model(helper.make_node(op, ["image", "w"], ["out"]), w=np.ones((2, 2, 3, 1), np.float32))
    changed = written(proto)
    (said,) = changed.graph.node[0].attribute
    assert said.name == "kernel_shape" and list(said.ints) == [3, 1]
    assert np.array_equal(outputs(proto, IMAGE), outputs(changed, IMAGE))
    assert written(changed) == changed


SIZE = [helper.make_node("Shape", ["image"], ["s"]), helper.make_node("Gather", ["s", "two"], ["side"])]


@pytest.mark.parametrize(
    ("made", "guarded"),
    [
        ([helper.make_node("Identity", ["side"], ["by"])], True),
        ([helper.make_node("Mul", ["side", "two"], ["by"])], True),
        ([helper.make_node("Mul", ["side", "minus"], ["by"])], False),
        ([helper.make_node("Sub", ["side", "two"], ["by"])], False),
        (
            [helper.make_node("Cast", ["side"], ["f"], to=1), helper.make_node("Cast", ["f"], ["by"], to=7)],
            False,
        ),
    ],
)
def test_a_divisor_of_sizes_is_from_1_on_for_everybody_to_see(made, guarded):
    nodes = [*SIZE, *made, helper.make_node("Div", ["seven", "by"], ["out"])]
    proto = model(*nodes, two=np.array([2]), minus=np.array([-1]), seven=np.array([7, 8]))
    changed = written(proto)
    assert ("Max" in kinds(changed)) == guarded
    assert np.array_equal(outputs(proto, IMAGE), outputs(changed, IMAGE))


def test_numbers_are_kept_as_bytes():
    proto = model(helper.make_node("Mul", ["image", "w"], ["out"]))
    proto.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0]))
    assert proto.graph.initializer[0].float_data
    changed = written(proto)
    assert changed.graph.initializer[0].raw_data and not changed.graph.initializer[0].float_data
    assert np.array_equal(outputs(proto, IMAGE), outputs(changed, IMAGE))


@pytest.mark.parametrize("kind", [TensorProto.INT32, TensorProto.INT64])
def test_sizes_of_either_type_divide_each_other(kind):
    nodes = [
        helper.make_node("Shape", ["image"], ["sizes"], start=2, end=2**63 - 1),
        helper.make_node("Cast", ["sizes"], ["cast"], to=kind),
        helper.make_node("ReduceProd", ["cast"], ["product"], keepdims=0),
        helper.make_node("Div", ["product", "cast"], ["others"]),
        helper.make_node("Cast", ["others"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["image", "sum"], ["out"]),
    ]
    proto = model(*nodes)
    changed = written(proto)
    assert np.array_equal(outputs(changed, IMAGE), IMAGE * 7)
    assert "Max" in kinds(changed)
    # Typed graphs are cut out of one that was written before.
    assert written(changed).SerializeToString() == changed.SerializeToString()


def test_what_is_left_out_at_the_end_and_what_nobody_reads_is_no_hindrance():
    nodes = [
        helper.make_node("ReduceMean", ["image", ""], ["mean"], keepdims=1),
        helper.make_node("Dropout", ["mean", "", ""], ["same", ""]),
        helper.make_node("Split", ["image"], ["", "unread"], axis=1, num_outputs=2),
        helper.make_node("TopK", ["image", "two"], ["", "places"], axis=3),
        helper.make_node("Cast", ["places"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["floats", "same"], ["out"]),
    ]
    proto = model(*nodes, two=np.array([2]))
    changed = written(proto)
    assert all(name for node in changed.graph.node for name in (*node.input, *node.output))
    expected = np.array([3, 2]) + IMAGE.mean()
    assert np.allclose(outputs(changed, IMAGE), np.broadcast_to(expected, (2, 2, 3, 2)))
