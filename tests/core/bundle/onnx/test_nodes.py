"""What one node may say, and what readers would understand in two ways or end by."""

import numpy as np
import pytest
from onnx import helper
from small_graphs import CONTRACT, good, node, tensor

from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.wire import WireError

PIXELS = [
    node("Cast", ["frames"], ["f"], to=1),
    node("Transpose", ["f"], ["planes"], perm=[0, 3, 1, 2]),
    node("Cast", ["f"], ["whole"], to=7),
]
KERNEL = tensor("kernel", np.ones((3, 3, 1, 1)))


def data(*nodes, more=()):
    return good(*PIXELS, *nodes, more=[KERNEL, *more]).SerializeToString()


def read(*nodes, more=()):
    require_graph(data(*nodes, more=more), CONTRACT)


def refusal(*nodes, more=()):
    with pytest.raises(WireError) as error:
        require_graph(data(*nodes, more=more), CONTRACT)
    return str(error.value)


@pytest.mark.parametrize(
    ("made", "name", "field"),
    [
        (node("Flatten", ["f"], ["y"], axis=1), "axis", "i"),
        (node("Shape", ["f"], ["y"], start=0, end=1), "end", "i"),
        (node("ReduceMax", ["f"], ["y"], keepdims=1), "keepdims", "i"),
        (node("LeakyRelu", ["f"], ["y"], alpha=0.1), "alpha", "f"),
        (node("Pad", ["f", "one"], ["y"], mode="constant"), "mode", "s"),
        (node("ConstantOfShape", ["whole"], ["y"], value=tensor("v", [1])), "value", "t"),
    ],
)
def test_an_attribute_without_the_field_of_its_type_is_refused(made, name, field):
    # onnxruntime takes 0 for it, and others the operator's own default.
    read(made)
    spoilt = type(made)()
    spoilt.CopyFrom(made)
    next(each for each in spoilt.attribute if each.name == name).ClearField(field)
    assert f"{name} is of type" in (said := refusal(spoilt)) and "holds nothing; it must" in said


def test_an_attribute_that_holds_something_else_than_its_type_says_is_refused():
    # onnxruntime goes by the type, and would make 2.25e8 numbers.
    constant = node("Constant", [], ["size"], value_ints=[15_000, 15_000])
    constant.attribute[0].t.CopyFrom(tensor("t", [1], np.int64))
    assert "of type 7 and holds" in refusal(constant)
    other = node("Flatten", ["f"], ["y"])
    other.attribute.append(helper.make_attribute("axis", 1.0))
    assert "it must be of type 2" in refusal(other)
    assert "has the attribute 'value_string', which Constant does not have" in refusal(
        node("Constant", [], ["y"], value_string=b"planes")
    )
    for values in ({}, {"value_int": 1, "value_ints": [1]}, {"value": tensor("t", [1]), "value_int": 1}):
        assert "must have one value" in refusal(node("Constant", [], ["y"], **values))


def test_an_attribute_that_the_operator_does_not_have_is_refused():
    # They take time to read, and some readers go by them.
    assert "which Relu does not have" in refusal(node("Relu", ["f"], ["y"], a0=[1] * 9))
    assert "which Transpose does not have" in refusal(node("Transpose", ["f"], ["y"], axis=1))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (node("Split", ["f"], ["y", "z"], axis=0, num_outputs=1), "says 1 outputs and has 2"),
        (node("Max", ["f", ""], ["y"]), "leaves out its input 1"),
        (node("Min", ["", "f"], ["y"]), "leaves out its input 0"),
        (node("Sum", ["f", ""], ["y"]), "leaves out its input 1"),
        (node("Mean", ["f", ""], ["y"]), "leaves out its input 1"),
        (node("DequantizeLinear", [], ["y"]), "has 0 inputs; DequantizeLinear needs at least 2"),
        (node("Relu", [], ["y"]), "has 0 inputs; Relu needs at least 1"),
        (node("Where", ["f", "f"], ["y"]), "has 2 inputs; Where needs at least 3"),
        (node("Split", ["f"], ["y", ""], axis=0), "has an output without a name"),
        (node("Relu", ["f"], []), "has an output without a name"),
        (node("GatherND", ["f", "whole"], ["y"], batch_dims=-7), "has batch_dims [-7]"),
        (node("GatherND", ["f", "whole"], ["y"], batch_dims=-(1 << 63)), "has batch_dims"),
        (node("DepthToSpace", ["planes"], ["y"], blocksize=0), "has blocksize [0]; it may be from 1 to 256"),
        (node("Cast", ["f"], ["y"], to=8), "makes the type 8"),
        (node("Flatten", ["f"], ["y"], axis=17), "has axis [17]"),
        (node("MaxPool", ["planes"], ["y"]), "must have a kernel_shape of 1 to 3 axes; got 0"),
        (node("Conv", ["planes", "kernel"], ["y"]), "must have a kernel_shape of 1 to 3 axes; got 0"),
        (
            node("ConvTranspose", ["planes", "kernel"], ["y"], kernel_shape=[1, 1], pads=[2]),
            "lists for different numbers of axes: kernel_shape 2, pads 0.5",
        ),
        (
            node("Conv", ["planes", "kernel"], ["y"], kernel_shape=[1, 1], strides=[0, 1]),
            "has strides [0, 1]",
        ),
        (node("Conv", ["planes", "kernel"], ["y"], kernel_shape=[1, 1], pads=[1 << 30] * 4), "has pads"),
        (
            node("Conv", ["planes", "kernel"], ["y"], kernel_shape=[1, 1], auto_pad="WIDE"),
            "has auto_pad 'WIDE'",
        ),
        (
            node("Conv", ["planes", "kernel"], ["y"], kernel_shape=[65, 1]),
            "has kernel_shape [65, 1]; at most 64 an axis",
        ),
        (node("AveragePool", ["planes"], ["y"], kernel_shape=[9, 257]), "at most 256 an axis"),
        (node("ReduceMax", ["f"], ["y"], axes=[1] * 33), "has 33 axes"),
    ],
)
def test_what_ends_a_release_of_onnxruntime_is_refused(made, why):
    assert why in refusal(made)


@pytest.mark.parametrize(
    "equation", ["....", ".b->b", "a,.->a", "ab", "ab->ba,c", "aa->a", "ab->aab", "ab->c", "a.b->ab"]
)
def test_only_plain_equations_are_read(equation):
    assert "has the equation" in refusal(node("Einsum", ["f"], ["y"], equation=equation))


def test_filters_and_windows_as_large_as_any_classifier_s_are_read():
    read(
        node("Conv", ["planes", "wide"], ["c"], kernel_shape=[64, 64], pads=[32] * 4),
        node("AveragePool", ["planes"], ["p"], kernel_shape=[256, 256]),
        more=[tensor("wide", np.ones((1, 3, 64, 64)))],
    )


def test_what_exporters_write_is_read():
    read(
        node("Einsum", ["f", "f"], ["e"], equation="bhwc,bhwd->bcd"),
        node("Split", ["f"], ["s0", "s1"], axis=3),
        node("Conv", ["planes", "kernel"], ["c"], kernel_shape=[1, 1], strides=[2, 2], pads=[0] * 4, group=1),
        node("Clip", ["c", "", "most"], ["d"]),
        node("Resize", ["d", "", "by"], ["r"], mode="linear", coordinate_transformation_mode="half_pixel"),
        node("GatherND", ["f", "place"], ["g"]),
        more=[tensor("most", 6.0), tensor("by", [1, 1, 2, 2]), tensor("place", [[0]], np.int64)],
    )
