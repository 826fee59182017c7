"""A graph that a bundle may have is let through, and each thing that it may not have is refused by name."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from small_graphs import CONTRACT, good, tensor

from edgeosr.bundle.graphs import require_graph_of_bundle
from edgeosr.bundle.onnx.operators import ATTRIBUTES, OPERATORS
from edgeosr.bundle.onnx.rules import OPEN, GraphContract, TensorContract, require_graph
from edgeosr.bundle.onnx.tensors import FLOAT, UINT8
from edgeosr.bundle.onnx.wire import WireError
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


def test_every_allowed_operator_is_one_of_the_standard_and_has_its_attributes_only():
    history = [schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""]
    subgraphs = {
        schema.name
        for schema in history
        if any(each.type.name in ("GRAPH", "GRAPHS") for each in schema.attributes.values())
    }
    assert not OPERATORS.keys() & {*subgraphs, "RandomNormal", "RandomUniformLike", "Bernoulli", "Mod"}
    for op, names in OPERATORS.items():
        versions = [schema for schema in history if schema.name == op and schema.since_version <= 20]
        types = {name: each.type.value for schema in versions for name, each in schema.attributes.items()}
        assert versions and names <= types.keys(), op
        assert all(types[name] == ATTRIBUTES[name].kind for name in names), op


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


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ((None, None), True),
        ((480, 640), False),
        ((480, None), False),
        ((None, 640), False),
        ((OPEN, OPEN), False),
        ((0, 0), False),
    ],
)
def test_a_network_of_frames_of_one_size_is_none_for_frames_of_any(sizes, taken):
    frames = TensorContract((UINT8,), (None, OPEN, OPEN, 3), open_axes=True)
    contract = GraphContract(inputs={**CONTRACT.inputs, "frames": frames}, outputs=CONTRACT.outputs)
    model = good()
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[1:3], sizes, strict=True):
        if size is not None:
            dim.dim_value = size
    if taken:
        require_graph(model.SerializeToString(), contract)
        return
    said = ", ".join("any" if size in (None, OPEN) else str(size) for size in sizes)
    with pytest.raises(WireError) as error:
        require_graph(model.SerializeToString(), contract)
    assert str(error.value) == f"frames must have the shape [any, any, any, 3]; got [any, {said}, 3]"


def test_onnxruntimes_own_format_is_refused_whatever_else_it_parses_as():
    # A skipped field whose bytes put the mark where onnxruntime looks for it.
    data = b"\x32\x08ab" + b"ORTM" + b"xx" + good().SerializeToString()
    assert data[4:8] == b"ORTM" and onnx.load_from_string(data).graph.node
    assert "own format" in refusal(data)


def test_many_small_things_are_refused_while_they_are_read():
    model = good()
    model.graph.node.extend([onnx.NodeProto()] * 20_001)
    assert "more than 20000 node" in refusal(model)
    many = tensor("many", [0], np.int64)
    many.ClearField("raw_data")
    many.int64_data.extend([1] * 70_000)
    many.dims[0] = 70_000
    assert "more than 65536 int64_data" in refusal(good(more=[many]))


def test_what_no_bundle_may_have_is_told_before_anything_is_made_of_it():
    require_graph_of_bundle(good().SerializeToString(), parts=2)
    model = good()
    model.graph.node[0].op_type = "RandomNormalLike"
    with pytest.raises(ExportError, match=r"cannot be kept in a bundle, because the node .*RandomNormalLike"):
        require_graph_of_bundle(model.SerializeToString(), parts=2)
