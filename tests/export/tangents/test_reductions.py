"""Reductions and softmax: axes as attribute and as input, negative, none, with and without kept axes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

# torch warns of its own way to load forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
OPSETS = (13, 18, 26)
SHAPE = (2, 3, 2, 4)
LINEAR = ("ReduceSum", "ReduceMean")
CURVED = ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")


def one_node(op_type, x, axes=None, **attributes):
    names = ["x0"] if axes is None else ["x0", "axes"]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "one_node",
        [helper.make_tensor_value_info("x0", TensorProto.DOUBLE, x.shape)],
        [onnx.ValueInfoProto(name="y")],
        [] if axes is None else [numpy_helper.from_array(np.array(axes), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def axes_as(op_type, opset, axes):
    """Return (further inputs, attributes) that give a reduction its axes in this opset."""
    if opset >= (13 if op_type == "ReduceSum" else 18):
        return ([] if axes is None else [np.array(axes, np.int64)]), {}
    return [], ({} if axes is None else {"axes": list(axes)})


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("op_type", [*LINEAR, *CURVED])
def test_a_reduction_over_some_axes(check_rule, op_type, opset):
    x = np.random.default_rng(0).standard_normal(SHAPE)
    forms = ((1, [-1]), (0, [0, -2]), (0, [2, 1])) if opset > 13 else ((0, [-1, 1]), (1, None))
    for keepdims, axes in forms:
        inputs, attributes = axes_as(op_type, opset, axes)
        check_rule(op_type, [x, *inputs], attributes={"keepdims": keepdims, **attributes}, opset=opset)


@pytest.mark.parametrize("op_type", [*LINEAR, "ReduceMax", "ReduceLogSumExp"])
def test_no_axes_mean_all_of_them_or_none(check_rule, op_type):
    x = np.random.default_rng(1).standard_normal((2, 3, 4))
    empty = np.array([], np.int64)
    for noop in (0, 1):
        check_rule(op_type, [x, empty], attributes={"noop_with_empty_axes": noop, "keepdims": 1})


@pytest.mark.parametrize(("op_type", "function"), [("ReduceMax", torch.amax), ("ReduceMin", torch.amin)])
def test_extremes_that_tie_share_the_derivative_as_in_torch(rule_tangents, op_type, function):
    x = np.array([[1.0, 3, 3, -2, -2], [0, 0, 0, 0, 0]])
    t = np.random.default_rng(2).standard_normal((3, *x.shape))
    model = one_node(op_type, x, [1], keepdims=0)
    (got,) = rule_tangents(model, {"x0": x}, {"x0": t})
    for row, direction in zip(got, t, strict=True):
        _, want = torch.func.jvp(
            lambda v: function(v, dim=1), (torch.from_numpy(x),), (torch.from_numpy(direction),)
        )
        np.testing.assert_allclose(row, want, rtol=1e-12)


def test_the_norm_of_zeros_has_derivative_zero_as_in_torch(rule_tangents):
    x = np.zeros((2, 4))
    t = np.random.default_rng(3).standard_normal((3, *x.shape))
    model = one_node("ReduceL2", x, [1])
    (got,) = rule_tangents(model, {"x0": x}, {"x0": t})
    np.testing.assert_array_equal(got, np.zeros((3, 2, 1)))


@pytest.mark.parametrize("opset", [13, 26])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_and_its_logarithm(check_rule, op_type, opset):
    x = 3 * np.random.default_rng(4).standard_normal((2, 3, 4))
    for attributes in ({}, {"axis": 1}, {"axis": -2}, {"axis": 0}):
        check_rule(op_type, [x], attributes=attributes, opset=opset)


@pytest.mark.parametrize(
    ("op_type", "function"),
    [
        ("Softmax", lambda x: torch.softmax(x, -1)),
        ("LogSoftmax", lambda x: torch.log_softmax(x, -1)),
        ("ReduceLogSumExp", lambda x: torch.logsumexp(x, (0, 1, 2), keepdim=True)),
    ],
)
def test_large_logits_give_what_torch_gives(rule_tangents, op_type, function):
    x = np.random.default_rng(5).standard_normal((2, 3, 4)) * 100
    t = np.random.default_rng(6).standard_normal((3, *x.shape))
    (got,) = rule_tangents(one_node(op_type, x), {"x0": x}, {"x0": t})
    for row, direction in zip(got, t, strict=True):
        _, want = torch.func.jvp(function, (torch.from_numpy(x),), (torch.from_numpy(direction),))
        np.testing.assert_allclose(row, want, rtol=1e-9, atol=1e-12)
