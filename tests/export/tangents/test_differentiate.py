"""What differentiation refuses, and how it says so."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeosr.errors import UnsupportedGraphError, UsageError
from edgeosr.export.tangents.cuts import resolve_cut
from edgeosr.export.tangents.differentiate import add_tangents
from edgeosr.export.tangents.jacobian import add_probe_jacobian

WEIGHT = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def model_of(*nodes, opset=18, constants=None, domains=()):
    """A model from x [batch, 6] to "embedding" [batch, 4]; nodes: (operator, inputs, output, attributes)."""
    made = [
        helper.make_node(operator, inputs, [output], name=f"node_{output}", **attributes)
        for operator, inputs, output, attributes in nodes
    ]
    held = {"weight": WEIGHT, **(constants or {})}
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return ir.from_proto(model)


def plain():
    return model_of(
        ("Relu", ["x"], "active", {}),
        ("MatMul", ["active", "weight"], "embedding", {}),
    )


def seeds(count=2, size=6):
    return np.eye(count, size, dtype=np.float32)


def test_tangents_of_a_small_graph_by_hand():
    model = plain()
    name = add_tangents(model, cut="x", embedding="embedding", seeds=seeds())
    model.graph.outputs.append(next(v for node in model.graph for v in node.outputs if v.name == name))
    x = np.array([[1, -1, 2, 3, 4, 5], [-1, 1, 2, 3, 4, 5]], np.float32)
    _, t = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    zero = np.zeros(4, np.float32)
    np.testing.assert_array_equal(t, [[WEIGHT[0], zero], [zero, WEIGHT[1]]])


def test_a_second_call_adds_another_set_of_tangents():
    model = plain()
    add_tangents(model, cut="x", embedding="embedding", seeds=seeds())
    assert add_tangents(model, cut="active", embedding="embedding", seeds=seeds()) == "tangents"
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(names) == len(set(names)) and "tangents__classifier" in names
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize("argument", ["cut", "embedding"])
def test_an_unknown_tensor_is_answered_with_near_names(argument):
    names = {"cut": "x", "embedding": "embedding"} | {argument: "activ"}
    with pytest.raises(UsageError, match="got 'activ'; did you mean 'active'"):
        add_tangents(plain(), **names, seeds=seeds())


@pytest.mark.parametrize(("cut", "meant"), [("actve", "active"), ("last-cnv", "last-conv")])
def test_an_unknown_cut_names_the_cuts_there_are(cut, meant):
    with pytest.raises(UsageError, match=rf"input, last-stage, last-conv.*did you mean '{meant}'"):
        resolve_cut(plain(), cut, "embedding")


def test_a_cut_behind_the_embedding_is_refused():
    model = model_of(
        ("MatMul", ["x", "weight"], "embedding", {}),
        ("Relu", ["embedding"], "behind", {}),
    )
    for call in (
        lambda: add_tangents(model, cut="behind", embedding="embedding", seeds=seeds(2, 4)),
        lambda: resolve_cut(model, "behind", "embedding"),
    ):
        with pytest.raises(UsageError, match=r"must lead to the embedding 'embedding'; 'behind' does not"):
            call()


@pytest.mark.parametrize("cut", ["last-stage", "last-conv"])
def test_cuts_at_convolutions_need_one(cut):
    with pytest.raises(UsageError, match="need a convolution"):
        resolve_cut(plain(), cut, "embedding")


def test_more_directions_than_the_space_has_are_refused():
    with pytest.raises(UsageError, match=r"at most 6 directions are possible at 'x'.*got 7"):
        add_tangents(plain(), cut="x", embedding="embedding", seeds=np.zeros((7, 6), np.float32))


@pytest.mark.parametrize("shape", [(2, 5), (2, 6, 1), (0, 6), (6,)])
def test_directions_of_another_shape_are_refused(shape):
    with pytest.raises(UsageError, match=r"must be \[K, 6\]"):
        add_tangents(plain(), cut="x", embedding="embedding", seeds=np.zeros(shape, np.float32))


def test_directions_of_another_space_are_refused():
    with pytest.raises(UsageError, match=r"must be \[K, 6\]; got \[2, 5\]"):
        add_probe_jacobian(plain(), cut="x", embedding="embedding", directions=np.eye(2, 5, dtype=np.float32))


def test_an_operator_without_a_rule_is_named_with_the_way_through_it():
    model = model_of(
        ("Relu", ["x"], "active", {}),
        ("Det", ["active"], "odd", {}),
        ("MatMul", ["odd", "weight"], "embedding", {}),
    )
    pattern = r"node 'node_odd' \(Det.*no tangent rule.*x -> active -> odd -> embedding.*tangents\.rules"
    with pytest.raises(UnsupportedGraphError, match=pattern):
        add_tangents(model, cut="x", embedding="embedding", seeds=seeds())


def test_a_custom_operator_is_refused_by_name():
    model = model_of(
        ("Odd", ["x"], "odd", {"domain": "com.example"}),
        ("MatMul", ["odd", "weight"], "embedding", {}),
        domains=["com.example"],
    )
    with pytest.raises(UnsupportedGraphError, match=r"com\.example\.Odd.*outside the ONNX standard"):
        add_tangents(model, cut="x", embedding="embedding", seeds=seeds())


def test_control_flow_is_refused_even_where_it_reads_the_image_from_outside():
    def branch(name, operator):
        node = helper.make_node(operator, ["x"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, 1, None)])

    model = model_of(
        ("If", ["yes"], "either", {"then_branch": branch("a", "Relu"), "else_branch": branch("b", "Neg")}),
        ("MatMul", ["either", "weight"], "embedding", {}),
        constants={"yes": np.array(True)},
    )
    with pytest.raises(UnsupportedGraphError, match=r"\(If.*subgraphs"):
        add_tangents(model, cut="x", embedding="embedding", seeds=seeds())


def test_a_quantised_graph_is_refused_with_the_order_of_steps():
    model = model_of(
        ("QuantizeLinear", ["x", "scale", "zero"], "small", {}),
        ("DequantizeLinear", ["small", "scale", "zero"], "back", {}),
        ("MatMul", ["back", "weight"], "embedding", {}),
        constants={"scale": np.float32(0.1), "zero": np.uint8(3)},
    )
    with pytest.raises(UnsupportedGraphError, match=r"QuantizeLinear.*differentiate the float graph first"):
        add_tangents(model, cut="x", embedding="embedding", seeds=seeds())


def test_a_way_through_integers_alone_is_refused():
    model = model_of(
        ("ArgMax", ["x"], "best", {"axis": 1, "keepdims": 1}),
        ("Cast", ["best"], "number", {"to": TensorProto.FLOAT}),
        ("Mul", ["number", "row"], "embedding", {}),
        constants={"row": WEIGHT[:1]},
    )
    with pytest.raises(UnsupportedGraphError, match=r"ends at node 'node_best' \(ArgMax"):
        add_tangents(model, cut="x", embedding="embedding", seeds=seeds())


def test_a_cut_of_integers_is_refused():
    model = model_of(
        ("Cast", ["x"], "whole", {"to": TensorProto.INT32}),
        ("Cast", ["whole"], "number", {"to": TensorProto.FLOAT}),
        ("MatMul", ["number", "weight"], "embedding", {}),
    )
    with pytest.raises(UsageError, match="must be a tensor of floats; 'whole' holds INT32"):
        add_tangents(model, cut="whole", embedding="embedding", seeds=seeds())


def test_integers_beside_the_way_carry_no_tangent():
    model = model_of(
        ("Shape", ["x"], "sizes", {}),
        ("Greater", ["x", "zero"], "mask", {}),
        ("Where", ["mask", "x", "zero"], "active", {}),
        ("Reshape", ["active", "sizes"], "shaped", {}),
        ("MatMul", ["shaped", "weight"], "embedding", {}),
        constants={"zero": np.float32(0)},
    )
    name = add_tangents(model, cut="x", embedding="embedding", seeds=seeds())
    model.graph.outputs.append(next(v for node in model.graph for v in node.outputs if v.name == name))
    x = np.array([[1, -1, 2, 3, 4, 5]], np.float32)
    _, t = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_array_equal(t[:, 0], [WEIGHT[0], np.zeros(4)])


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_every_opset_from_13_on(opset):
    model = model_of(
        ("Sigmoid", ["x"], "gate", {}),
        ("Mul", ["x", "gate"], "active", {}),
        ("MatMul", ["active", "weight"], "embedding", {}),
        opset=opset,
    )
    added = add_probe_jacobian(model, cut="x", embedding="embedding", directions=np.eye(6, dtype=np.float32))
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.append(values[added.jacobian_squared])
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    x = np.random.default_rng(1).standard_normal((2, 6))
    z, squared = ReferenceEvaluator(proto).run(None, {"x": x.astype(np.float32)})
    gate = 1 / (1 + np.exp(-x))
    for row in range(2):
        jacobian = (gate * (1 + x * (1 - gate)))[row][:, None] * WEIGHT
        u = z[row] / np.linalg.norm(z[row])
        tangential = jacobian - np.outer(jacobian @ u, u)
        assert squared[row] == pytest.approx(np.square(tangential).sum(), rel=1e-5)


def test_a_chain_of_elementwise_steps_costs_one_product_of_the_tangents_size():
    # x * sigmoid(x) / 2, written out: the factors are multiplied with each other first, K times smaller.
    model = model_of(
        ("Sigmoid", ["x"], "gate", {}),
        ("Mul", ["x", "gate"], "active", {}),
        ("Mul", ["active", "half"], "halved", {}),
        ("MatMul", ["halved", "weight"], "embedding", {}),
        constants={"half": np.float32(0.5)},
    )
    add_tangents(model, cut="x", embedding="embedding", seeds=seeds(5))
    (directions,) = (value for value in model.graph.initializers.values() if tuple(value.shape) == (5, 1, 6))
    reached, frontier = [], [directions]
    while frontier:
        frontier = [output for value in frontier for user, _ in value.uses() for output in user.outputs]
        reached += [value.producer().op_type for value in frontier]
    assert reached == ["Mul", "MatMul"]
