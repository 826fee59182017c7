"""What a graph would compute of constants while it is loaded: nothing; sizes are read where they stand."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graphs import CONTRACT, good, node

from edgeosr.bundle.onnx.constants import LARGEST_CONSTANTS, LARGEST_RESULT
from edgeosr.bundle.onnx.operators import LEAST_INPUTS, OPERATORS
from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.tensors import values_of_tensor
from edgeosr.bundle.onnx.wire import MODEL, WireError, parse

BIG = 1 << 20
PIXELS = [node("Cast", ["frames"], ["f"], to=1)]
PLANES = [*PIXELS, node("Transpose", ["f"], ["planes"], perm=[0, 3, 1, 2])]


def whole(*values):
    return np.array(values, np.int64)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def held(**constants):
    return [numpy_helper.from_array(array, name) for name, array in constants.items()]


def refusal(*nodes, opset=17, **constants):
    model = good(*nodes, more=held(**constants))
    model.opset_import[0].version = opset
    with pytest.raises(WireError) as error:
        require_graph(model.SerializeToString(), CONTRACT)
    return str(error.value)


def read(*nodes, **constants):
    require_graph(good(*nodes, more=held(**constants)).SerializeToString(), CONTRACT)


# Each was let through by a reader that followed what constants make, and made gigabytes, or ended the
# process, while onnxruntime loaded it.
FOUND = {
    "a Conv behind a Tile": (
        [node("Tile", ["k", "t"], ["p"]), node("Conv", ["p", "w"], ["y"], kernel_shape=[1, 1])],
        {"k": zeros(1, 1, 100, 1), "t": whole(1, 1, 10, 1000), "w": zeros(3000, 1, 1, 1)},
    ),
    "a row and a column behind a Tile": (
        [node("Tile", ["k", "t"], ["p"]), node("Add", ["p", "row"], ["y"])],
        {"k": zeros(100, 1), "t": whole(1000, 1), "row": zeros(1, 2000)},
    ),
    "a sum of no numbers": (
        [node("ReduceSum", ["k", "last"], ["y"])],
        {"k": zeros(1 << 14, 1 << 13, 0), "last": whole(2)},
    ),
    "a logarithm of no numbers": (
        [node("ReduceLogSumExp", ["k"], ["y"], axes=[2])],
        {"k": zeros(9, 1 << 13, 0)},
    ),
    "a border around no numbers": (
        [node("Pad", ["k", "p"], ["y"])],
        {"k": zeros(1 << 20, 1 << 9, 0), "p": whole(0, 0, 1, 0, 0, 0)},
    ),
    "a product of no numbers": (
        [node("Concat", ["k", "k"], ["c"], axis=0), node("MatMul", ["c", "r"], ["y"])],
        {"k": zeros(1 << 13, 0), "r": zeros(0, 1 << 14)},
    ),
    "a kernel that is cut out": (
        [
            node("Slice", ["wl", "st", "en", "ax"], ["w"]),
            node("Conv", ["k", "w"], ["y"], pads=[30000] * 4, dilations=[60000] * 2),
        ],
        {
            "wl": zeros(8, 1, 3, 3),
            "st": whole(0, 0, 0),
            "en": whole(1, 1, 1),
            "ax": whole(0, 2, 3),
            "k": zeros(1, 1, 1, 1),
        },
    ),
    "a Resize by scales": (
        [node("Resize", ["k", "", "by"], ["y"])],
        {"k": zeros(1, 1, 100, 100), "by": np.array([1, 1, 64, 64], np.float32)},
    ),
    "an Expand of what is joined": (
        [node("Concat", ["a", "a"], ["c"], axis=0), node("Expand", ["c", "s"], ["y"])],
        {"a": zeros(4000, 1), "s": whole(1, 1 << 20)},
    ),
    "a division": ([node("Div", ["a", "b"], ["y"])], {"a": whole(-(1 << 63)), "b": whole(3)}),
    "a size": (
        [node("Shape", ["k"], ["s"]), node("ConstantOfShape", ["s"], ["y"])],
        {"k": zeros(8, 8)},
    ),
    "an Einsum without inputs": ([node("Einsum", [], ["y"], equation="->")], {}),
}


@pytest.mark.parametrize("found", FOUND)
def test_a_node_of_constants_alone_is_refused(found):
    nodes, constants = FOUND[found]
    said = refusal(*nodes, **constants)
    assert "computes on constants alone" in said or "has the equation" in said


def test_no_operator_computes_on_constants_but_those_that_keep_weights_small():
    for op in sorted(set(OPERATORS) - {"Constant", "DequantizeLinear", "Einsum"}):
        said = {"kernel_shape": [1]} if "kernel_shape" in OPERATORS[op] else {}
        given = ["weights"] * max(2, LEAST_INPUTS.get(op, 1))
        found = refusal(node(op, given, ["y"], **said))
        assert "computes on constants alone" in found, op


def test_weights_of_8_bits_are_kept_as_such():
    read(node("DequantizeLinear", ["w", "scale"], ["y"]), w=np.zeros((4, 4), np.int8), scale=np.float32(0.5))
    twice = [node("DequantizeLinear", ["w", "scale"], ["y"]), node("DequantizeLinear", ["w", "y"], ["z"])]
    assert "constants alone" in refusal(*twice, w=np.zeros((4, 4), np.int8), scale=np.float32(0.5))


def test_weights_of_8_bits_count_as_what_they_become():
    large = np.zeros((LARGEST_CONSTANTS // 5,), np.int8)
    made = [node("DequantizeLinear", ["w", "scale"], [f"y{i}"]) for i in range(2)]
    read(made[0], w=large[: len(large) // 2], scale=np.float32(0.5))
    assert f"at most {LARGEST_CONSTANTS}" in refusal(*made, w=large, scale=np.float32(0.5))


@pytest.mark.parametrize(
    ("made", "shape", "whole_blocks"),
    [
        (node("Gemm", ["flat", "w"], ["y"]), (1 << 10, 1 << 10), 1),
        (node("MatMul", ["flat", "w"], ["y"]), (1 << 17, 1), 16),
        (node("Conv", ["planes", "w"], ["y"], kernel_shape=[64, 64]), (8, 1, 64, 64), 32),
        (node("Conv", ["planes", "w"], ["y"], kernel_shape=[64, 64], group=8), (8, 1, 64, 64), 2),
        (node("ConvTranspose", ["planes", "w"], ["y"], kernel_shape=[64, 64]), (8, 1, 64, 64), 32),
        (node("Add", ["f", "w"], ["y"]), (1 << 20,), 1),
    ],
)
@pytest.mark.parametrize("small", [False, True], ids=["float32", "8 bits"])
def test_a_constant_counts_for_each_node_that_reads_it(made, shape, whole_blocks, small):
    # onnxruntime lays a weight out anew for each of them: of one of 4 MiB, 600 nodes made gigabytes.
    weight = {"s": np.float32(1), "stored" if small else "w": zeros(*shape).astype("i1" if small else "f4")}
    first = [*PLANES, node("Flatten", ["f"], ["flat"])]
    first += [node("DequantizeLinear", ["stored", "s"], ["w"])] if small else []
    most = LARGEST_CONSTANTS // (4 * int(np.prod(shape)) * whole_blocks)
    many = [helper.make_node(made.op_type, made.input, [f"y{i}"]) for i in range(most + 1)]
    for each in many:
        each.attribute.extend(made.attribute)
    read(*first, *many[: most - 1], **weight)
    assert "counted for each node" in refusal(*first, *many, **weight)


@pytest.mark.parametrize("op", ["Shape", "Size"])
def test_the_size_of_what_no_frame_changes_is_refused(op):
    # The order of the channels has three numbers, and three to the 16th are many.
    turned = [node("Gather", ["channel_order", "back"], ["turned"]), node(op, ["turned"], ["s"])]
    assert "asks for a shape that no frame changes" in refusal(node(op, ["channel_order"], ["s"]))
    assert "asks for a shape that no frame changes" in refusal(*turned, back=whole(2, 1, 0))
    read(turned[0], node(op, ["frames"], ["s"]), back=whole(2, 1, 0))


@pytest.mark.parametrize(
    ("sized", "constants"),
    [
        (node("Expand", ["f", "size"], ["y"]), {"size": whole(BIG, 1, BIG)}),
        (node("Tile", ["f", "size"], ["y"]), {"size": whole(BIG, BIG)}),
        (node("Range", ["zero", "limit", "n"], ["y"]), {"zero": whole(0), "limit": whole(1 << 40)}),
        (node("Pad", ["f", "size"], ["y"]), {"size": whole(BIG, 0, BIG, BIG)}),
        (node("Resize", ["f", "", "", "size"], ["y"]), {"size": whole(BIG, BIG)}),
        (node("Resize", ["f", "", "size"], ["y"]), {"size": np.array([1e6, 1e6], np.float32)}),
        (node("Resize", ["f", "", "size"], ["y"]), {"size": np.array([1, np.nan], np.float32)}),
    ],
)
def test_a_size_from_constants_above_the_limit_is_refused(sized, constants):
    count = node("Size", ["frames"], ["n"])
    assert str(LARGEST_RESULT) in refusal(*PIXELS, count, sized, **constants)
    short = {name: np.minimum(array, 2) for name, array in constants.items()}
    if all(np.isfinite(array).all() for array in short.values()):
        read(*PIXELS, count, sized, **short)


def test_a_size_that_is_no_short_list_of_numbers_is_refused():
    said = "has a size that is no short list of numbers"
    assert said in refusal(*PIXELS, node("Expand", ["f", "s"], ["y"]), s=np.ones(65, np.int64))
    assert said in refusal(*PIXELS, node("Expand", ["f", "s"], ["y"]), s=np.array([True]))


@pytest.mark.parametrize(
    ("made", "constants"),
    [
        (node("QuantizeLinear", ["f", "e"], ["y"]), {"e": zeros(0)}),
        (node("QuantizeLinear", ["f", "s", "e"], ["y"]), {"s": zeros(1), "e": np.zeros(0, np.uint8)}),
        (node("DequantizeLinear", ["frames", "s", "e"], ["y"]), {"s": zeros(1), "e": np.zeros(0, np.uint8)}),
        (node("DequantizeLinear", ["e", "s"], ["y"]), {"s": zeros(1), "e": np.zeros((4, 0), np.int8)}),
        (node("Clip", ["f", "", "e"], ["y"]), {"e": zeros(0)}),
        (node("Conv", ["planes", "e"], ["y"], kernel_shape=[1, 1]), {"e": zeros(0, 3, 1, 1)}),
        (node("Resize", ["f", "", "", "e"], ["y"]), {"e": whole()}),
    ],
)
def test_a_constant_without_elements_is_refused(made, constants):
    # A fusion of onnxruntime reads its first element, and ends the process while it loads the graph.
    said = refusal(*PLANES, made, **constants)
    assert "reads 'e', a constant of shape [" in said and "without elements; it must have one" in said


def test_a_constant_node_without_elements_is_refused_too():
    empty = node("Constant", [], ["e"], value=numpy_helper.from_array(zeros(0)))
    assert "without elements" in refusal(*PLANES, empty, node("Clip", ["f", "", "e"], ["y"]))


def test_a_constant_without_elements_may_stand_for_nothing():
    read(
        *PLANES,
        node("Resize", ["planes", "e", "e", "size"], ["r"]),
        node("ReduceMean", ["f"], ["m"], keepdims=0),
        node("Reshape", ["m", "none"], ["n"]),
        node("Expand", ["n", "none"], ["x0"]),
        node("Shape", ["f"], ["shape"]),
        node("Concat", ["shape", "none"], ["all"], axis=0),
        e=zeros(0),
        none=whole(),
        size=whole(1, 3, 8, 8),
    )


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (node("Expand", ["f", "s"], ["y"]), whole(1, 1, 1, -3)),
        (node("Tile", ["f", "s"], ["y"]), whole(1, 1, 1, -3)),
        (node("Split", ["f", "s"], ["y", "z"], axis=3), whole(4, -1)),
        (node("TopK", ["f", "s"], ["y", "z"]), whole(-1)),
        (node("Resize", ["planes", "", "s"], ["y"]), np.array([1, 1, -1, 1], np.float32)),
        (node("Resize", ["planes", "", "", "s"], ["y"]), whole(1, 3, -4, 4)),
        (node("Pad", ["planes", "s"], ["y"]), whole(0, 0, -9, 0, 0, 0, 0, 0)),
    ],
)
def test_a_size_below_0_is_refused(made, size):
    # The inference of shapes ends the process on what a Slice then takes of it.
    assert "none may be below 0" in refusal(*PLANES, made, s=size)
    read(*PLANES, made, s=np.abs(size))


def test_sizes_of_a_split_are_a_short_list():
    split = node("Split", ["f", "s"], ["y", "z"], axis=3)
    assert "no short list of numbers" in refusal(*PLANES, split, s=np.full(65, -1))


def test_a_size_may_stand_in_a_node_of_its_own():
    sized = [node("Constant", [], ["s"], value_ints=[BIG, BIG]), node("Expand", ["f", "s"], ["y"])]
    assert str(LARGEST_RESULT) in refusal(*PIXELS, *sized)
    assert "a constant reads nothing" in refusal(node("Constant", ["weights"], ["s"], value_int=1))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int8, np.int32, np.int64, np.bool_, np.float64])
@pytest.mark.parametrize("raw", [True, False])
def test_the_values_of_short_constants_are_read_as_they_are(dtype, raw):
    array = np.array([[0, 1], [3, 100]]).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    data = array.tobytes() if raw else array.reshape(-1).tolist()
    made = helper.make_tensor("t", kind, array.shape, data, raw=raw)
    graph = parse(good(more=[made]).SerializeToString(), MODEL, "model")["graph"]
    values = values_of_tensor(graph["initializer"][-1])
    assert values.dtype == array.dtype and values.tolist() == array.reshape(-1).tolist()


@pytest.mark.parametrize(("raw", "expected"), [(True, [0.5]), (False, None)])
def test_half_precision_is_read_from_bytes_only(raw, expected):
    data = np.array([0.5], np.float16).tobytes() if raw else [0.5]
    made = helper.make_tensor("t", TensorProto.FLOAT16, [1], data, raw=raw)
    graph = parse(good(more=[made]).SerializeToString(), MODEL, "model")["graph"]
    values = values_of_tensor(graph["initializer"][-1])
    assert (None if values is None else values.tolist()) == expected


def test_an_axis_of_nearly_endless_length_beside_one_of_none_is_refused_without_an_overflow():
    # With EDGEOSR_TEST_FLAGS of a sanitizer the library's reader is held to the second half.
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[(1 << 63) - 1, 0], raw_data=b"")
    model = good(*PIXELS, node("MatMul", ["f", "w"], ["y"]), more=[weight])
    with pytest.raises(WireError, match="without elements"):
        require_graph(model.SerializeToString(), CONTRACT)
