import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgeosr
from edgeosr.errors import ExportError
from edgeosr.export.graph.assemble import model_bytes


def small_model(*, opset=18, unused=True, broken=False):
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N", 4]))
    used = ir.Value(name="used", const_value=ir.tensor(np.ones(4, np.float32), name="used"))
    spare = ir.Value(name="spare", const_value=ir.tensor(np.ones(9, np.float32), name="spare"))
    nodes = [ir.Node("", "Add", [x, used], metadata_props={"pkg.torch.onnx.stack_trace": "File secret.py"})]
    if unused:
        nodes.append(ir.Node("", "Mul", [x, spare]))
        nodes.append(ir.Node("", "Exp", nodes[-1].outputs))
    if broken:
        nodes[0].op_type = "NoSuchOperator"
    y = nodes[0].outputs[0]
    y.name, y.dtype, y.shape = "y", ir.DataType.FLOAT, ir.Shape(["N", 4])
    y.metadata_props["note"] = "secret.py"
    graph = ir.Graph(
        [x], [y], nodes=nodes, initializers=[used, spare], opset_imports={"": opset, "unused.domain": 1}
    )
    return ir.Model(graph, ir_version=12, producer_name="somebody")


def test_equal_graphs_have_equal_bytes():
    assert model_bytes(small_model()) == model_bytes(small_model())
    model = small_model()
    assert model_bytes(model) == model_bytes(model)


def test_the_file_says_who_made_it_and_what_it_is():
    proto = onnx.load_model_from_string(model_bytes(small_model(), title="digits, 6 known"))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata == {"edgeosr.version": edgeosr.__version__, "edgeosr.title": "digits, 6 known"}
    assert (proto.producer_name, proto.ir_version) == ("edgeosr", 9)
    assert [entry.domain for entry in proto.opset_import] == [""]


def test_what_reaches_no_output_and_the_exporters_notes_are_left_out():
    data = model_bytes(small_model())
    proto = onnx.load_model_from_string(data)
    assert [node.op_type for node in proto.graph.node] == ["Add"]
    assert [tensor.name for tensor in proto.graph.initializer] == ["used"]
    assert b"secret.py" not in data
    assert data == model_bytes(small_model(unused=False))


def test_a_graph_that_is_not_valid_is_refused():
    with pytest.raises(ExportError, match="not valid ONNX"):
        model_bytes(small_model(broken=True))


def test_an_opset_that_the_oldest_runtime_cannot_read_is_refused():
    with pytest.raises(ExportError, match=r"opset must be at most 20 .*; got 21"):
        model_bytes(small_model(opset=21))
