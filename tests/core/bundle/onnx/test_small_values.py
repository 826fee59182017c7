"""What the reader makes of short constants is what onnxruntime makes of them, or is not known."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from small_graphs import good

from edgeosr.bundle.onnx.small_values import SHORT, values_made
from edgeosr.bundle.onnx.wire import MODEL, parse


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
    ("Div", [whole(5), whole(-(1 << 63))], {}),
    ("Div", [real(14), real(16)], {}),
    ("Mul", [real(37), real(0.5)], {}),
    ("Add", [np.array([37.5]), np.array([0.5])], {}),
    ("Cast", [whole(224)], {"to": TensorProto.FLOAT}),
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
        # onnxruntime joins it with what it is multiplied by.
        ("Div", [real(1), real(41)], {}),
        ("Div", [whole(1), whole(3)], {}),
        ("Mul", [real(10), real(0.1)], {}),
        ("Add", [real(1 << 24), real(1)], {}),
        ("Mod", [whole(7), whole(-1)], {}),
        # It keeps more than float16 holds, or rounds twice.
        ("Add", [np.array([2048], np.float16), np.array([1], np.float16)], {}),
        ("Cast", [np.array([2049.0])], {"to": TensorProto.FLOAT16}),
        ("Cast", [np.array([0.1])], {"to": TensorProto.FLOAT}),
        ("Cast", [whole((1 << 24) + 1)], {"to": TensorProto.FLOAT}),
        ("Cast", [whole(1 << 32)], {"to": TensorProto.INT32}),
        # Whole numbers beyond their range, or in between beyond what float64 holds.
        *((op, [whole(1 << 62, 4)], {}) for op in ("ReduceSum", "ReduceProd")),
        ("ReduceSum", [whole(1 << 53, 1)], {}),
        ("ReduceProd", [np.array([1 << 30, 4], np.int32)], {}),
        *((op, [whole(-(1 << 63)), whole(1 << 62)], {}) for op in ("Sub", "Mul")),
        ("Add", [np.array([(1 << 31) - 1], np.int32), np.array([1], np.int32)], {}),
        *((op, [whole(-(1 << 63))], {}) for op in ("Neg", "Abs")),
        ("Range", [np.int64((1 << 63) - 1), np.int64(-(1 << 63)), np.int64(-(1 << 62))], {}),
        # All axes for onnxruntime, none for the standard.
        ("Squeeze", [whole(1).reshape(1, 1), whole()], {}),
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
ANY = st.one_of(st.integers(-8, 8), st.sampled_from([-(1 << 62), (1 << 53) + 1, 1 << 62, (1 << 63) - 1]))
FLOATS = st.one_of(
    st.integers(-8, 512).map(float),
    st.sampled_from([0.5, 0.25, 0.1, 1 / 3, -1.5, 41.0, 2048.0, 65504.0, 1e8, 16777217.0, 3e38, 1e-40]),
    st.floats(-1000, 1000, width=32),
)
REAL_TYPES = st.sampled_from([np.float16, np.float32, np.float64])
WHOLE_TYPES = st.sampled_from([np.int32, np.int64])


def drawn_many(draw, elements, dtype, most=4):
    values = draw(st.lists(elements, min_size=1, max_size=most))
    if np.issubdtype(dtype, np.integer):
        values = [min(max(value, np.iinfo(dtype).min), np.iinfo(dtype).max) for value in values]
    with np.errstate(over="ignore"):
        return np.array(values, np.float64 if dtype == np.float16 else dtype).astype(dtype)


@st.composite
def operators(draw):
    """Return a node and the values of its inputs."""
    kind = draw(st.sampled_from(["place", "whole", "real", "cast", "reduce", "squeeze"]))
    values, first, second = draw(SMALL), draw(ANY), draw(ANY)
    step, attributes = draw(st.sampled_from([-3, -1, 1, 2])), {}
    if kind == "place":
        op = draw(st.sampled_from(["Slice", "Gather", "Reshape", "Tile", "Expand", "Split"]))
        others = {
            "Slice": [whole(first), whole(second), whole(0), whole(step)],
            "Gather": [whole(first % 1000)],
            "Split": [whole(abs(step), len(values) - abs(step))],
        }
        arrays = [values, *others.get(op, [whole(step, first)[:1]])]
    elif kind in ("whole", "real"):
        dtype = draw(WHOLE_TYPES if kind == "whole" else REAL_TYPES)
        of = ANY if kind == "whole" else FLOATS
        op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Mod", "Max", "Less", "Neg", "Abs", "Floor"]))
        arrays = [drawn_many(draw, of, dtype) for _ in range(1 if op in ("Neg", "Abs", "Floor") else 2)]
        if kind == "whole" and op in ("Div", "Mod"):
            # Elsewhere the least number by -1 would end the process.
            arrays[1] = np.array([step if step > 0 else 3], dtype)
        attributes = {"fmod": 1} if op == "Mod" and kind == "real" else {}
    elif kind == "cast":
        dtype = draw(st.one_of(REAL_TYPES, WHOLE_TYPES))
        op, of = "Cast", ANY if dtype in (np.int32, np.int64) else FLOATS
        arrays, attributes = (
            [drawn_many(draw, of, dtype)],
            {"to": draw(st.sampled_from([1, 2, 3, 6, 7, 9, 10, 11]))},
        )
    elif kind == "reduce":
        op = draw(st.sampled_from(["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"]))
        attributes = {"keepdims": draw(st.integers(0, 1)), "noop_with_empty_axes": draw(st.integers(0, 1))}
        axes = draw(st.sampled_from([[], [whole()], [whole(0)], [whole(-1)]]))
        arrays = [drawn_many(draw, ANY, draw(WHOLE_TYPES)), *axes]
    else:
        op = draw(st.sampled_from(["Squeeze", "Unsqueeze"]))
        axes = draw(st.sampled_from([[whole()], [whole(0)], [whole(-1)], [whole(0, 2)]]))
        arrays = [values[:1].reshape(draw(st.sampled_from([(1,), (1, 1), (1, 1, 1)]))), *axes]
    outputs = ["o", "p"] if op == "Split" else ["o"]
    return helper.make_node(op, [f"i{n}" for n in range(len(arrays))], outputs, **attributes), arrays


def test_drawn_values_come_out_as_onnxruntime_makes_them():
    known = []

    @settings(max_examples=300, deadline=None)
    @given(operators())
    def check(drawn):
        known.append((drawn[0].op_type, require_equal(*drawn)))

    check()
    assert sum(was for _, was in known) >= len(known) / 4
    # Hypothesis may leave out one of them, but not most.
    assert len({op for op, was in known if was}) >= 10
