"""The wire reader reads what protobuf wrote, and refuses what two readers could read in two ways."""

import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from small_graphs import good

from edgeosr.bundle.onnx.wire import MODEL, MOST_VALUES, WireError, parse

BYTES = good().SerializeToString()


def varint(value):
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def field(number, content, wire=2):
    body = varint(len(content)) + content if wire == 2 else content
    return varint(number << 3 | wire) + body


def refusal(data):
    with pytest.raises(WireError) as error:
        parse(data, MODEL, "model")
    return str(error.value)


def test_it_reads_what_protobuf_wrote():
    model, read = good(), parse(BYTES, MODEL, "model")
    assert [node["op_type"] for node in read["graph"]["node"]] == [n.op_type for n in model.graph.node]
    assert [list(node["input"]) for node in read["graph"]["node"]] == [
        list(n.input) for n in model.graph.node
    ]
    assert read["graph"]["node"][1]["attribute"][0]["ints"] == [1, 2, 3]
    weights = read["graph"]["initializer"][1]
    assert np.frombuffer(weights["raw_data"], "<f4").tolist() == [1, -1] and weights["dims"] == [1, 2]
    assert read["opset_import"] == [{"domain": "", "version": 17}] or read["opset_import"] == [
        {"version": 17}
    ]


def test_numbers_may_be_packed_or_not():
    packed = field(7, varint(1) + varint((1 << 64) - 2))
    single = field(7, varint(5), wire=0)
    from edgeosr.bundle.onnx.wire import _TENSOR

    assert parse(packed + single, _TENSOR, "t")["int64_data"] == [1, -2, 5]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (BYTES + field(7, good().graph.SerializeToString()), "graph is there twice"),
        (BYTES + field(1, varint(9), wire=0), "ir_version is there twice"),
        (BYTES + field(12, b"x"), "the field 12"),
        (BYTES + field(25, b""), "functions"),
        (BYTES + field(20, b""), "training information"),
        (BYTES + field(1, b"abc"), "wire type 2"),
        (BYTES + varint(1 << 3 | 3), "wire type 3"),
        (BYTES[:-1], "beyond its end"),
        (BYTES + varint(7 << 3 | 2) + varint(1 << 62), "beyond its end"),
        (BYTES + b"\x08" + b"\xff" * 12, "larger than 64 bits"),
        (BYTES + b"\x08" + b"\xff" * 9 + b"\x7f", "larger than 64 bits"),
        (BYTES + b"\x80", "does not end"),
        (field(2, b"\xff"), "not UTF-8"),
        (field(2, b"x" * 70_000), "at most 65535"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data, why):
    assert why in refusal(data)


def test_a_graph_or_weights_in_another_file_inside_an_attribute_is_refused():
    for name, spoil in {
        "a subgraph": lambda a: a.g.CopyFrom(good().graph),
        "subgraphs": lambda a: a.graphs.append(good().graph),
        "a sparse tensor": lambda a: a.sparse_tensor.dims.append(1),
        "external_data": lambda a: a.t.external_data.add(key="location", value="/etc/hostname"),
        "a reference to a function": lambda a: setattr(a, "ref_attr_name", "x"),
    }.items():
        model = good()
        attribute = model.graph.node[0].attribute.add(name="spoilt")
        spoil(attribute)
        assert name in refusal(model.SerializeToString()), name


@settings(max_examples=300)
@given(st.data())
def test_changed_bytes_are_read_or_refused_and_nothing_else(data):
    spoilt = bytearray(BYTES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(spoilt) - 1))
        spoilt[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        read = parse(bytes(spoilt), MODEL, "model")
    except WireError:
        return
    # What is read, protobuf reads alike.
    theirs = onnx.ModelProto.FromString(bytes(spoilt))
    if "graph" in read:
        assert [node.get("op_type", "") for node in read["graph"]["node"]] == [
            node.op_type for node in theirs.graph.node
        ]
        assert [t.get("name", "") for t in read["graph"]["initializer"]] == [
            t.name for t in theirs.graph.initializer
        ]


def many_attributes(numbers, nodes):
    """A graph of nodes with lists of attributes, each as long as one may be."""
    model = good()
    made = model.graph.node.add(op_type="Relu", input=["x"])
    made.attribute.extend(helper.make_attribute(f"a{i}", [1] * numbers) for i in range(4))
    model.graph.node.extend([made] * (nodes - 1))
    return model.SerializeToString()


def test_the_numbers_of_a_whole_file_are_counted():
    # Each list alone is short enough: 512 MiB of them took minutes to read.
    started = time.process_time()
    parse(many_attributes(60_000, 2), MODEL, "model")
    assert time.process_time() - started < 5
    assert f"more than {MOST_VALUES} fields and numbers" in refusal(many_attributes(60_000, 3))


def test_the_fields_of_a_whole_file_are_counted():
    model = good()
    model.graph.node.add(op_type="Max", input=["x"] * 4096)
    model.graph.node.extend([model.graph.node[-1]] * 130)
    assert f"more than {MOST_VALUES} fields and numbers" in refusal(model.SerializeToString())


def test_long_weights_are_bytes():
    large = np.zeros(70_000, np.float32)
    spoilt = good(more=[helper.make_tensor("w", 1, large.shape, large.tolist())])
    assert "more than 65536 float_data" in refusal(spoilt.SerializeToString())
    parse(good(more=[numpy_helper.from_array(large, "w")]).SerializeToString(), MODEL, "model")
