"""Graphs of constants as exporters and enemies write them: their sizes are read, or the graph is refused."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from small_graphs import CONTRACT, good, node, tensor

from edgeosr.bundle.onnx.operators import ALLOWED
from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.wire import WireError


def whole(*values):
    return np.array(values, np.int64)


def real(*values):
    return np.array(values, np.float32)


def zero_pad(most):
    """Return nodes and constants as torch's older exporter writes the paddings of a ZeroPad2d."""
    nodes = [
        node("ConstantOfShape", ["four"], ["zeros"], value=tensor("v", [0], np.int64)),
        node("Concat", ["sides", "zeros"], ["all"], axis=0),
        node("Reshape", ["all", "pairs"], ["rows"]),
        node("Slice", ["rows", "minus", "least", "first", "minus"], ["turned"]),
        node("Transpose", ["turned"], ["columns"], perm=[1, 0]),
        node("Reshape", ["columns", "minus"], ["flat"]),
        node("Cast", ["flat"], ["pads"], to=TensorProto.INT64),
        node("Unsqueeze", ["weights", "zero_one"], ["image"]),
        node("Pad", ["image", "pads"], ["y"]),
    ]
    constants = {
        "four": whole(4),
        "sides": whole(0, most, 0, 1),
        "pairs": whole(-1, 2),
        "minus": whole(-1),
        "least": whole(-(1 << 63) + 1),
        "first": whole(0),
        "zero_one": whole(0, 1),
    }
    return good(*nodes, more=[numpy_helper.from_array(array, name) for name, array in constants.items()])


def test_the_paddings_of_torchs_older_exporter_are_read_and_too_large_ones_refused():
    model = zero_pad(1)
    onnx.checker.check_model(model, full_check=True)
    require_graph(model.SerializeToString(), CONTRACT)
    with pytest.raises(WireError, match=r"asked by constants for"):
        require_graph(zero_pad(1 << 40).SerializeToString(), CONTRACT)


def test_filters_that_are_standardised_for_every_image_are_followed():
    nodes = [
        node("Shape", ["w"], ["sides"]),
        node("Gather", ["sides", "three"], ["side"]),
        node("ConstantOfShape", ["side"], ["plane"]),
        node("ReduceMean", ["w"], ["centre"], axes=[1, 2, 3]),
        node("Sub", ["w", "centre"], ["centred"]),
        node("Flatten", ["centred"], ["rows"]),
        node("ReduceL2", ["rows"], ["length"], axes=[1], keepdims=0),
        node("Mul", ["length", "length"], ["squares"]),
    ]
    more = [tensor("w", np.ones((8, 4, 3, 3))), tensor("three", [3], np.int64)]
    require_graph(good(*nodes, more=more).SerializeToString(), CONTRACT)


def expanded_by(nodes, **constants):
    """Return a graph in which a number that nodes make of constants says how large ``y`` is."""
    nodes = [*nodes, node("Expand", ["weights", "s"], ["y"])]
    return good(*nodes, more=[numpy_helper.from_array(array, name) for name, array in constants.items()])


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        # 0 by what is read in this order, 1 by onnxruntime's.
        (
            [
                node("Div", ["one_", "x"], ["q"]),
                node("Mul", ["q", "x"], ["m"]),
                node("Floor", ["m"], ["f"]),
                node("Cast", ["f"], ["s"], to=7),
            ],
            {"one_": real(1), "x": real(41)},
        ),
        (
            [
                node("Add", ["a", "b"], ["c"]),
                node("Sub", ["c", "a"], ["d"]),
                node("Cast", ["d"], ["s"], to=7),
            ],
            {"a": np.array([2048], np.float16), "b": np.array([1], np.float16)},
        ),
    ],
)
def test_a_size_that_onnxruntime_makes_in_another_order_is_refused(nodes, constants):
    with pytest.raises(WireError, match="in a way that is not read"):
        require_graph(expanded_by(nodes, **constants).SerializeToString(), CONTRACT)


def test_what_exporters_make_of_sizes_in_floats_is_followed():
    nodes = [
        node("Cast", ["side"], ["f"], to=1),
        node("Mul", ["f", "half"], ["h"]),
        node("Floor", ["h"], ["whole"]),
        node("Cast", ["whole"], ["n"], to=7),
        node("Concat", ["n", "two"], ["s"], axis=0),
    ]
    constants = {"side": whole(7), "half": real(0.5), "two": whole(1, 2)}
    require_graph(expanded_by(nodes, **constants).SerializeToString(), CONTRACT)


def test_a_side_that_is_taken_over_is_never_taken_for_none():
    """A Reshape to [0, 0, 1] of a tensor whose shape is not followed; then each number meets each other."""
    nodes = [
        node("Gather", ["many", "zero"], ["g"]),
        node("Reshape", ["g", "as_it_is"], ["r"]),
        node("Add", ["r", "row"], ["y"]),
    ]
    more = [tensor("many", np.zeros((1, 300, 300))), tensor("zero", [0], np.int64)]
    more += [tensor("as_it_is", [0, -1, 1], np.int64), tensor("row", np.zeros((1, 1, 1000)))]
    with pytest.raises(WireError, match="constants alone"):
        require_graph(good(*nodes, more=more).SerializeToString(), CONTRACT)


LONG = np.zeros((70, 2), np.float32)


@pytest.mark.parametrize(
    "spoilt",
    [
        [node("Transpose", ["long"], ["y"], perm=[0, 7])],
        [node("Transpose", ["long"], ["y"], perm=[0, 0])],
        [node("Transpose", ["long"], ["y"], perm=[0])],
        [node("Where", ["three"], ["y"]), node("Expand", ["long", "y"], ["z"])],
        [node("And", ["three"] * 3, ["y"]), node("Expand", ["long", "y"], ["z"])],
        [node("Range", ["zero_", "zero_"], ["y"])],
        [node("Reshape", ["long", "nan"], ["y"])],
        [node("Tile", ["long", "nan"], ["y"])],
        [
            node("Gather", ["long", "zero_"], ["y0"]),
            node("Max", ["y0"] * 4000, ["y"]),
        ],
    ],
)
def test_a_node_that_fits_nothing_is_refused_and_ends_nothing(spoilt):
    more = [tensor("long", LONG), tensor("zero_", [0], np.int64), tensor("nan", [np.nan])]
    more.append(tensor("three", [0, 1, 2], np.int64))
    with pytest.raises(WireError):
        require_graph(good(*spoilt, more=more).SerializeToString(), CONTRACT)


ATTRIBUTES = [
    "axis",
    "axes",
    "perm",
    "to",
    "keepdims",
    "value",
    "start",
    "end",
    "strides",
    "pads",
    "kernel_shape",
]


@st.composite
def spoilt_nodes(draw):
    names = ["long", "empty", "nan", "three", "scalar", "row", "huge", "image", ""]
    made = helper.make_node(
        draw(st.sampled_from(sorted(ALLOWED - {"Constant"}))),
        draw(st.lists(st.sampled_from(names), max_size=4)),
        draw(st.sampled_from([["y"], ["y", "z"], []])),
    )
    value = st.one_of(
        st.integers(-9, 70),
        st.lists(st.integers(-3, 9), min_size=1, max_size=4),
        st.sampled_from([1.5, b"x", [1.5], -(1 << 63), (1 << 63) - 1, tensor("t", []), tensor("t", [3.0])]),
    )
    for name in draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=3, unique=True)):
        made.attribute.append(helper.make_attribute(name, draw(value)))
    return made


@settings(max_examples=400, deadline=None)
@given(spoilt_nodes())
def test_whatever_a_node_says_of_constants_it_is_let_through_or_refused(made):
    more = [tensor("long", LONG), tensor("nan", [np.nan, np.inf]), tensor("three", [0, 7, -1], np.int64)]
    more += [
        tensor("scalar", 2, np.int64),
        tensor("row", [5, -9], np.int32),
        tensor("image", np.ones((1, 2, 3, 3))),
    ]
    more += [tensor("huge", [-(1 << 63), (1 << 63) - 1], np.int64), tensor("empty", [], np.int64)]
    more[-1].dims.extend([1 << 62, 1 << 62])
    try:
        require_graph(good(made, more=more).SerializeToString(), CONTRACT)
    except WireError:
        return
