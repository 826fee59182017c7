"""A graph that a bundle may have is let through, and each thing that it may not have is refused by name."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graphs import CONTRACT, good, node, tensor

from edgeosr.bundle.graphs import require_graph_of_bundle
from edgeosr.bundle.onnx.constants import LARGEST_RESULT, LARGEST_TOTAL
from edgeosr.bundle.onnx.operators import ALLOWED
from edgeosr.bundle.onnx.rules import GraphContract, TensorContract, require_graph
from edgeosr.bundle.onnx.tensors import FLOAT
from edgeosr.bundle.onnx.windows import window_shape
from edgeosr.bundle.onnx.wire import MODEL, WireError, parse
from edgeosr.errors import ExportError


def refusal(model):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(WireError) as error:
        require_graph(data, CONTRACT)
    return str(error.value)


def feed(frames):
    return {"frames": frames, "channel_order": np.array([0, 1, 2])}


def test_a_good_graph_passes_and_runs():
    data = good().SerializeToString()
    require_graph(data, CONTRACT)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    label, score, values = session.run(None, feed(np.full((3, 2, 2, 3), 7, np.uint8)))
    assert values.shape == (3, 2) and label.tolist() == [0, 0, 0] and score.tolist() == [0, 0, 0]


def test_every_allowed_operator_is_one_of_the_standard():
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert known >= ALLOWED
    subgraphs = {
        schema.name
        for schema in onnx.defs.get_all_schemas()
        if any(a.type.name in ("GRAPH", "GRAPHS") for a in schema.attributes.values())
    }
    assert not ALLOWED & {*subgraphs, "RandomNormal", "RandomUniformLike", "Bernoulli", "ImageDecoder"}


def read_node(made):
    graph = onnx.helper.make_graph([made], "g", [], [])
    data = onnx.helper.make_model(graph).SerializeToString()
    return parse(data, MODEL, "model")["graph"]["node"][0]


def spoilt(change):
    model = good()
    change(model)
    return model


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.graph.node[0].__setattr__("domain", "com.microsoft"), "no operator"),
        (lambda m: m.graph.node[0].__setattr__("op_type", "RandomNormalLike"), "no operator"),
        (lambda m: m.graph.node[0].__setattr__("overload", "x"), "no operator"),
        (lambda m: m.opset_import.add(domain="com.microsoft", version=1), "operator sets"),
        (lambda m: m.opset_import[0].__setattr__("version", 99), "operator sets"),
        (lambda m: m.__setattr__("ir_version", 3), "IR version"),
        (lambda m: m.graph.ClearField("node"), "0 nodes"),
        (lambda m: m.graph.output.pop(), "its outputs must be"),
        (lambda m: m.graph.output.append(m.graph.output[0]), "named twice"),
        (lambda m: m.graph.input[0].__setattr__("name", "image"), "its inputs must be"),
        (lambda m: m.graph.input[0].type.tensor_type.__setattr__("elem_type", 1), "frames must be uint8"),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(), "frames must have the shape"),
        (lambda m: m.graph.output[2].type.tensor_type.shape.dim.pop(), "values must have the shape"),
        (
            lambda m: m.graph.output[0].type.tensor_type.shape.dim[0].__setattr__("dim_value", 7),
            "batches of any size; got one of 7",
        ),
        (lambda m: m.graph.node[2].input.__setitem__(0, "nothing"), "which nothing before it makes"),
        (lambda m: m.graph.node[1].output.__setitem__(0, "x"), "is there already"),
        (lambda m: m.graph.node[0].output.__setitem__(0, "weights"), "is there already"),
        (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "is there twice"),
        (lambda m: m.graph.initializer.append(tensor("frames", [1], np.uint8)), "has a default"),
        (lambda m: m.graph.initializer[1].dims.__setitem__(1, 3), "8 bytes for 3 numbers"),
        (lambda m: m.graph.initializer[1].__setattr__("data_type", TensorProto.STRING), "has the type 8"),
        (lambda m: m.graph.initializer[1].__setattr__("data_location", 1), "outside the file"),
        (lambda m: m.graph.initializer[1].dims.__setitem__(0, -1), "has the shape"),
        (
            lambda m: m.graph.initializer[1].external_data.add(key="location", value="../secret"),
            "external_data",
        ),
        (lambda m: m.graph.sparse_initializer.add(), "sparse initializers"),
        (lambda m: m.graph.node[1].attribute.append(m.graph.node[1].attribute[0]), "twice"),
    ],
)
def test_what_a_bundle_may_not_have_is_refused(change, why):
    assert why in refusal(spoilt(change))


def test_the_batch_may_be_another_axis_than_the_first():
    contract = GraphContract(
        inputs=CONTRACT.inputs,
        outputs={**CONTRACT.outputs, "values": TensorContract((FLOAT,), (None, 2), batch=0)},
    )
    require_graph(good().SerializeToString(), contract)
    turned = {**CONTRACT.outputs, "values": TensorContract((FLOAT,), (None, None), batch=1)}
    with pytest.raises(WireError, match="values must take batches of any size; got one of 2"):
        require_graph(good().SerializeToString(), GraphContract(inputs=CONTRACT.inputs, outputs=turned))


def test_onnxruntimes_own_format_is_refused_whatever_else_it_parses_as():
    # A skipped field whose bytes put the mark where onnxruntime looks for it.
    data = b"\x32\x08ab" + b"ORTM" + b"xx" + good().SerializeToString()
    assert data[4:8] == b"ORTM" and onnx.load_from_string(data).graph.node
    assert "own format" in refusal(data)


BIG = 1 << 20


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("ConstantOfShape", ["size"], ["y"])], [tensor("size", [BIG, BIG], np.int64)]),
        ([node("Expand", ["weights", "size"], ["y"])], [tensor("size", [BIG, 1, 2 * BIG], np.int64)]),
        ([node("Tile", ["weights", "size"], ["y"])], [tensor("size", [BIG, BIG], np.int64)]),
        (
            [node("Range", ["a", "b", "c"], ["y"])],
            [tensor("a", 0, np.int64), tensor("b", 1 << 40, np.int64), tensor("c", 1, np.int64)],
        ),
        ([node("Pad", ["weights", "size"], ["y"])], [tensor("size", [BIG, 0, BIG, BIG], np.int64)]),
        ([node("Resize", ["weights", "", "", "size"], ["y"])], [tensor("size", [BIG, BIG], np.int64)]),
        ([node("Resize", ["weights", "", "scales"], ["y"])], [tensor("scales", [1e6, 1e6])]),
        # The size is itself computed of constants.
        (
            [
                node("Mul", ["size", "size"], ["square"]),
                node("Concat", ["square", "square"], ["shape"], axis=0),
                node("ConstantOfShape", ["shape"], ["y"]),
            ],
            [tensor("size", [BIG], np.int64)],
        ),
        # A small step at a time.
        (
            [
                node("ConstantOfShape", ["size"], ["y1"]),
                node("MatMul", ["y1", "y1"], ["y"]),
            ],
            [tensor("size", [8000, 8000], np.int64)],
        ),
        (
            [
                node("ConstantOfShape", ["s1"], ["a"]),
                node("ConstantOfShape", ["s2"], ["b"]),
                node("Add", ["a", "b"], ["y"]),
            ],
            [tensor("s1", [1 << 16, 1], np.int64), tensor("s2", [1, 1 << 17], np.int64)],
        ),
        (
            [node("Tile", ["weights", "s"], ["a"]), node("Tile", ["a", "s"], ["y"])],
            [tensor("s", [1 << 8, 1 << 8], np.int64)] * 1,
        ),
    ],
)
def test_a_size_from_constants_above_the_limit_is_refused(nodes, constants):
    said = refusal(good(*nodes, more=constants))
    assert str(LARGEST_RESULT) in said or str(LARGEST_TOTAL) in said


def ones(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        # As many numbers on both sides, and every one meets every other.
        ([node("Add", ["a", "b"], ["y"])], {"a": ones(40_000, 1), "b": ones(1, 40_000)}),
        ([node("Gather", ["a", "i"], ["y"])], {"a": ones(1, 40_000), "i": np.zeros(40_000, np.int64)}),
        (
            [node("Conv", ["a", "b"], ["y"], pads=[9000] * 4)],
            {"a": ones(1, 1, 1, 1), "b": ones(1, 1, 1, 1)},
        ),
        # Each result is small enough, and there are many.
        (
            [
                node("ConstantOfShape", ["s"], ["y0"]),
                *(node("Exp", [f"y{i}"], [f"y{i + 1}"]) for i in range(30)),
            ],
            {"s": np.array([1 << 25], np.int64)},
        ),
    ],
)
def test_what_grows_by_broadcasting_padding_or_by_many_is_refused(nodes, constants):
    more = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    assert "constants alone" in refusal(good(*nodes, more=more))


def test_honest_weights_made_of_constants_pass():
    nodes = [
        node("Mul", ["v", "g"], ["w"]),  # weight normalisation
        node("BatchNormalization", ["w", "one4", "one4", "one4", "one4"], ["standard"]),
        node("Cast", ["double"], ["single"], to=1),
        node("Transpose", ["w"], ["turned"], perm=[1, 0, 2, 3]),
    ]
    more = [tensor("v", np.ones((256, 4, 3, 3))), tensor("g", np.ones((256, 1, 1, 1)))]
    more += [tensor("one4", np.ones(4)), tensor("double", np.ones(8), np.float64)]
    require_graph(good(*nodes, more=more).SerializeToString(), CONTRACT)


def test_probes_of_the_input_are_constants_and_the_first_convolution_is_applied_to_them():
    nodes = [
        node("Conv", ["probes", "w"], ["a"], strides=[2, 2], pads=[3] * 4),
        node("Mul", ["a", "scale"], ["b"]),
        node("AveragePool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    more = [tensor("probes", np.ones((8, 3, 224, 224))), tensor("w", np.ones((64, 3, 7, 7)))]
    more.append(tensor("scale", np.ones((64, 1, 1))))
    require_graph(good(*nodes, more=more).SerializeToString(), CONTRACT)
    for _ in range(8):
        nodes.append(node("Conv", ["probes", "w"], [f"again{len(nodes)}"], pads=[3] * 4))
    assert "constants alone" in refusal(good(*nodes, more=more))


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("pads", [[0] * 4, [1, 0, 2, 3]])
def test_the_shape_of_a_convolution_is_never_below_what_onnxruntime_makes(strides, pads):
    made = node("Conv", ["a", "w"], ["y"], strides=[strides] * 2, pads=pads, dilations=[2, 1])
    shape, work = window_shape(read_node(made), (2, 4, 11, 9), (6, 2, 3, 2))
    model = good(
        node("Conv", ["a", "w"], ["y"], strides=[strides] * 2, pads=pads, dilations=[2, 1], group=2),
        more=[tensor("a", np.ones((2, 4, 11, 9))), tensor("w", np.ones((6, 2, 3, 2)))],
    )
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    truth = session.run(["y"], feed(np.zeros((1, 1, 1, 3), np.uint8)))[0].shape
    assert shape[:2] == truth[:2] and all(a >= b for a, b in zip(shape, truth, strict=True))
    assert np.prod(shape) <= 4 * np.prod(truth) and work == np.prod(shape) * 12


def test_an_attribute_that_holds_something_else_than_its_type_says_is_refused():
    # onnxruntime goes by the type, and would make 2.25e8 numbers.
    constant = node("Constant", [], ["size"], value_ints=[15_000, 15_000])
    constant.attribute[0].t.CopyFrom(tensor("t", [1], np.int64))
    assert "of type 7 and holds" in refusal(good(constant, node("ConstantOfShape", ["size"], ["y"])))
    two = {"value": tensor("t", [1]), "value_int": 1}
    for values in ({}, {"value_int": 1, "value_ints": [1]}, {"value_string": b"x"}, two):
        assert "must have one value" in refusal(good(node("Constant", [], ["y"], **values)))


def test_many_small_things_are_refused_while_they_are_read():
    model = good()
    model.graph.node.extend([onnx.NodeProto()] * 20_001)
    assert "more than 20000 node" in refusal(model)
    many = tensor("many", [0], np.int64)
    many.ClearField("raw_data")
    many.int64_data.extend([1] * 70_000)
    many.dims[0] = 70_000
    assert "more than 65536 int64_data" in refusal(good(more=[many]))


def test_a_size_that_is_computed_in_a_way_that_is_not_read_is_refused():
    nodes = [
        node("Sqrt", ["f"], ["g"]),
        node("Cast", ["g"], ["s"], to=7),
        node("ConstantOfShape", ["s"], ["y"]),
    ]
    assert "in a way that is not read" in refusal(good(*nodes, more=[tensor("f", [1e20])]))


@pytest.mark.parametrize("op", ["MatMul", "Add"])
def test_much_work_on_constants_alone_is_refused(op):
    # onnxruntime does it while it loads the graph: 400 products of 1024 x 1024 took 47 s.
    size = 1024 if op == "MatMul" else 4096
    nodes = [node("ConstantOfShape", ["s"], ["y0"])]
    nodes += [node(op, [f"y{i}", f"y{i}"], [f"y{i + 1}"]) for i in range(400)]
    said = refusal(good(*nodes, more=[tensor("s", [size, size], np.int64)]))
    assert "on constants alone" in said or "of constants alone" in said


def test_what_exporters_leave_to_compute_on_constants_passes():
    nodes = [node("Mul", ["angles", "half"], ["a"]), node("Cos", ["a"], ["y"])]
    require_graph(
        good(*nodes, more=[tensor("angles", np.ones((196, 64))), tensor("half", 0.5)]).SerializeToString(),
        CONTRACT,
    )


def test_shapes_as_exporters_compute_them_pass_and_are_what_onnxruntime_makes():
    # torch's expand: the sizes that are -1 are taken from ones.
    nodes = [
        node("ConstantOfShape", ["two"], ["ones"], value=tensor("v", [1], np.int64)),
        node("Mul", ["ones", "minus"], ["minuses"]),
        node("Equal", ["wanted", "minuses"], ["same"]),
        node("Where", ["same", "ones", "wanted"], ["shape"]),
        node("Expand", ["weights", "shape"], ["y"]),
    ]
    more = [tensor("two", [2], np.int64), tensor("minus", -1, np.int64), tensor("wanted", [3, -1], np.int64)]
    model = good(*nodes, more=more)
    require_graph(model.SerializeToString(), CONTRACT)
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(["y"], feed(np.zeros((1, 1, 1, 3), np.uint8)))[0].shape == (3, 2)
    for constant in model.graph.initializer:
        if constant.name == "wanted":
            constant.CopyFrom(tensor("wanted", [1 << 40, -1], np.int64))
    model.graph.output.pop()
    assert str(LARGEST_RESULT) in refusal(model)


@pytest.mark.parametrize("name", ["pads", "strides"])
def test_an_attribute_that_would_make_a_result_huge_is_refused(name):
    conv = node("ConvTranspose", ["z", "w"], ["y"], **{name: [1 << 30] * (4 if name == "pads" else 2)})
    model = good(
        node("ConstantOfShape", ["s"], ["z"]),
        conv,
        more=[tensor("s", [1, 1, 2, 2], np.int64), tensor("w", np.ones((1, 1, 1, 1)))],
    )
    assert f"has {name}" in refusal(model)


def test_what_no_bundle_may_have_is_told_before_anything_is_made_of_it():
    require_graph_of_bundle(good().SerializeToString(), parts=2)
    model = good()
    model.graph.node[0].op_type = "RandomNormalLike"
    with pytest.raises(ExportError, match=r"cannot be kept in a bundle, because the node .*RandomNormalLike"):
        require_graph_of_bundle(model.SerializeToString(), parts=2)
