"""What the reader makes of short constants is what onnxruntime makes of them, or is not known."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from small_graphs import CONTRACT, good, node, tensor

from edgeosr.bundle.onnx.rules import require_graph
from edgeosr.bundle.onnx.small_values import SHORT, values_made
from edgeosr.bundle.onnx.wire import MODEL, WireError, parse


def whole(*values):
    return np.array(values, np.int64)


def real(*values):
    return np.array(values, np.float32)


def theirs(made, arrays):
    """Return what onnxruntime makes, None where it refuses."""
    names = [name for name in made.input if name]
    held = dict(zip(names, arrays, strict=True))
    graph = helper.make_graph(
        [made, helper.make_node("Identity", ["in"], ["out"])],
        "g",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1])],
        [helper.make_empty_tensor_value_info(name) for name in ("out", *made.output)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session.run(list(made.output), {"in": real(0)})
    except Exception:  # whatever kind of error onnxruntime has for it
        return None


def ours(made, arrays):
    model = good(made)
    read = parse(model.SerializeToString(), MODEL, "model")["graph"]["node"][0]
    return values_made(read, arrays)


def require_equal(made, arrays):
    """Check for the very values of onnxruntime; return False where the reader does not know them."""
    found, truth = ours(made, arrays), theirs(made, arrays)
    if found is None:
        return False
    # What onnxruntime refuses never runs, whatever the reader makes of it.
    for one, other in zip(found, truth or found, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype, (made, arrays, one, other)
        np.testing.assert_array_equal(one, other, err_msg=str((made, arrays)))
    return True


SQUARE = whole(1, 2, 3, 4, 5, 6).reshape(2, 3)
CASES = [
    ("Transpose", [SQUARE], {"perm": [1, 0]}),
    ("Transpose", [SQUARE.reshape(1, 2, 3)], {}),
    *(("Flatten", [SQUARE.reshape(1, 2, 3)], {"axis": axis}) for axis in (-1, 0, 2, 3)),
    ("Abs", [whole(-3, 0, 2)], {}),
    ("Abs", [real(-3.5, 2)], {}),
    ("Floor", [real(-1.5, 1.5, 7)], {}),
    ("Ceil", [real(-1.5, 1.5, 7)], {}),
    ("Round", [real(-1.5, 0.5, 1.5, 2.5, 6.7)], {}),
    ("Sign", [whole(-3, 0, 2)], {}),
    ("Neg", [whole(-3, 0, 2)], {}),
    ("Cast", [real(2.7, -2.7)], {"to": TensorProto.INT64}),
    ("ReduceProd", [SQUARE], {"keepdims": 0}),
    ("ReduceProd", [SQUARE, whole(1)], {"keepdims": 1}),
    ("ReduceSum", [SQUARE, whole(-2)], {"keepdims": 0}),
    ("ReduceSum", [SQUARE], {"noop_with_empty_axes": 1}),
    ("ReduceMax", [SQUARE, whole(0, 1)], {"keepdims": 0}),
    ("ReduceMin", [SQUARE, whole(0)], {}),
    ("Range", [np.int64(2), np.int64(9), np.int64(3)], {}),
    ("Range", [np.int64(9), np.int64(2), np.int64(-2)], {}),
    ("Expand", [whole(1, 2).reshape(2, 1), whole(3)], {}),
    ("Tile", [SQUARE, whole(2, 0)], {}),
    ("Tile", [SQUARE, whole(1, 2)], {}),
    ("Mod", [whole(-7, 7, -7), whole(3, -3, -3)], {}),
    ("Mod", [whole(-7, 7, -7), whole(3, -3, -3)], {"fmod": 1}),
    ("Mod", [real(-7.5, 7.5), real(2, -2)], {"fmod": 1}),
    ("Div", [whole(-7, 7, -7), whole(2, -2, -2)], {}),
    ("And", [np.array([True, False]), np.array([True])], {}),
    ("Or", [np.array([True, False]), np.array([False])], {}),
    ("Xor", [np.array([True, False]), np.array([True])], {}),
    ("Not", [np.array([True, False])], {}),
    *((op, [whole(1, 2, 3), whole(2)], {}) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *((op, [whole(1, 5), whole(3, 3), whole(2)], {}) for op in ("Max", "Min")),
    ("Shape", [SQUARE.reshape(1, 2, 3)], {"start": -2}),
    ("Shape", [SQUARE.reshape(1, 2, 3)], {"start": 1, "end": -1}),
    ("Size", [SQUARE], {}),
    ("Slice", [whole(1, 2, 3, 4), whole(-1), whole(-100), whole(0), whole(-1)], {}),
    ("Slice", [whole(1, 2, 3, 4), whole(-100), whole(-200), whole(0), whole(-1)], {}),
    ("Reshape", [SQUARE, whole(0, -1)], {}),
]


@pytest.mark.parametrize(("op", "arrays", "attributes"), CASES)
def test_operators_that_exporters_make_sizes_of_are_followed_to_the_very_values(op, arrays, attributes):
    arrays = [np.asarray(array) for array in arrays]
    made = helper.make_node(op, [f"i{number}" for number in range(len(arrays))], ["o"], **attributes)
    assert theirs(made, arrays) is not None
    assert require_equal(made, arrays)


def test_every_part_of_a_split_is_known():
    for inputs, arrays in (("v", [whole(1, 2, 3, 4, 5)]), ("v s", [whole(1, 2, 3), whole(2, 1)])):
        more = {} if len(arrays) > 1 else {"num_outputs": 2}
        assert require_equal(helper.make_node("Split", inputs.split(), ["a", "b"], **more), arrays)


def test_an_input_that_is_left_out_is_not_taken_for_the_next_one():
    made = helper.make_node("Slice", ["v", "s", "e", "", "t"], ["o"])
    arrays = [whole(1, 2, 3, 4, 5, 6), whole(5), whole(0), whole(-2)]
    assert require_equal(made, arrays)
    assert ours(made, arrays)[0].tolist() == [6, 4, 2]


@pytest.mark.parametrize(
    ("op", "arrays", "attributes"),
    [
        # Each processor makes something else of these.
        ("Cast", [real(1e20)], {"to": TensorProto.INT64}),
        ("Cast", [real(np.nan)], {"to": TensorProto.INT32}),
        ("Cast", [real(300)], {"to": TensorProto.UINT8}),
        ("Div", [whole(np.iinfo(np.int64).min), whole(-1)], {}),
        ("Mod", [whole(1), whole(0)], {}),
        ("Max", [real(1), real(np.nan)], {}),
        ("ReduceSum", [real(1e8, 1, -1e8)], {}),
        ("Slice", [whole(1, 2), whole(0), whole((1 << 63) - 1), whole(0), whole(-1)], {}),
        # These would be long before anybody counts them.
        ("Tile", [whole(1, 2), whole(1 << 40)], {}),
        ("Expand", [whole(1), whole(1 << 40)], {}),
        ("Range", [np.int64(0), np.int64(1 << 40), np.int64(1)], {}),
        ("Max", [np.zeros([1] * axis + [SHORT] + [1] * (15 - axis), np.int64) for axis in range(16)], {}),
        ("Where", [np.ones((64, 1, 1), bool), np.ones((1, 64, 1)), np.ones((1, 1, 64))], {}),
    ],
)
def test_what_is_long_or_not_the_same_everywhere_is_not_known(op, arrays, attributes):
    arrays = [np.asarray(array) for array in arrays]
    made = helper.make_node(op, [f"i{number}" for number in range(len(arrays))], ["o"], **attributes)
    assert ours(made, arrays) is None


SMALL = st.lists(st.integers(-4, 9), min_size=1, max_size=5).map(lambda each: np.array(each, np.int64))
ANY = st.one_of(st.integers(-8, 8), st.sampled_from([-(1 << 62), (1 << 63) - 1]))


@settings(max_examples=60, deadline=None)
@given(
    SMALL,
    ANY,
    ANY,
    st.sampled_from([-3, -1, 1, 2]),
    st.sampled_from(["Slice", "Gather", "Reshape", "Mod", "Div", "Tile", "Expand", "Split"]),
)
def test_drawn_values_come_out_as_onnxruntime_makes_them(values, first, second, step, op):
    others = {
        "Slice": [whole(first), whole(second), whole(0), whole(step)],
        "Gather": [whole(first % 1000)],
        "Split": [whole(abs(step), len(values) - abs(step))],
    }
    arrays = [values, *others.get(op, [whole(step, first)[:1]])]
    outputs = ["o", "p"] if op == "Split" else ["o"]
    require_equal(helper.make_node(op, [f"i{n}" for n in range(len(arrays))], outputs), arrays)


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
