"""What a graph makes of constants and of fixed sizes alone becomes a constant; nothing else does."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.errors import NoClosedFormError
from edgeosr.export.closed_form.last_convolution import recognise_last_convolution
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.graph import constant_values, precomputed
from edgeosr.export.graph.checks import load_classifier_onnx
from edgeosr.export.graph.opset import largest_difference
from edgeosr.export.graph.precomputed import with_constants_computed, with_sizes_computed
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings


def whole(*values):
    return np.array(values, np.int64)


# As torch's older exporter writes nn.ZeroPad2d((0, 1, 0, 1)).
ZERO_PAD = [
    ("ConstantOfShape", "four", "zeros", {"value": numpy_helper.from_array(whole(0))}),
    ("Concat", "sides zeros", "all", {"axis": 0}),
    ("Reshape", "all pairs", "rows", {}),
    ("Slice", "rows minus least first minus", "turned", {}),
    ("Transpose", "turned", "columns", {"perm": [1, 0]}),
    ("Reshape", "columns minus", "flat", {}),
    ("Cast", "flat", "pads", {"to": TensorProto.INT64}),
    ("Pad", "image pads", "padded", {}),
    ("Conv", "padded kernel", "c", {"strides": [2, 2]}),
]
ZERO_PAD_HELD = {
    "four": whole(4),
    "sides": whole(0, 1, 0, 1),
    "pairs": whole(-1, 2),
    "minus": whole(-1),
    "least": whole(-(1 << 63) + 1),
    "first": whole(0),
}
# Filters of mean 0 and variance 1, and of a length that is a weight of its own.
STANDARDISED = [
    ("ReduceMean", "kernel", "mean", {"axes": [1, 2, 3]}),
    ("Sub", "kernel mean", "centred", {}),
    ("Mul", "centred centred", "squares", {}),
    ("ReduceMean", "squares", "variance", {"axes": [1, 2, 3]}),
    ("Sqrt", "variance", "deviation", {}),
    ("Div", "centred deviation", "unit", {}),
    ("Mul", "unit gain", "filters", {}),
    ("Conv", "image filters", "c", {}),
]
STANDARDISED_HELD = {"gain": np.linspace(0.5, 2, 6, dtype=np.float32).reshape(6, 1, 1, 1)}
# Padding as for "same", of the size of the image, and a flattening of the batch's.
OF_SIZES = [
    ("Shape", "image", "size", {}),
    ("Gather", "size two", "height", {}),
    ("Mod", "height three", "rest", {}),
    ("Sub", "three rest", "missing", {}),
    ("Concat", "nothing missing", "pads", {"axis": 0}),
    ("Pad", "image pads", "padded", {}),
    ("Conv", "padded kernel", "c", {}),
]
OF_SIZES_HELD = {"two": whole(2), "three": whole(3), "nothing": whole(*[0] * 7)}
OF_BATCH = [
    ("GlobalAveragePool", "a", "p", {}),
    ("Shape", "p", "shape", {}),
    ("Gather", "shape zero", "batch", {}),
    ("Concat", "batch minus", "rows", {"axis": 0}),
    ("Reshape", "p rows", "z", {}),
]
CASES = {
    "zero pad": (ZERO_PAD, ZERO_PAD_HELD, {"Pad", "Conv"}),
    "standardised": (STANDARDISED, STANDARDISED_HELD, {"Conv"}),
    "of sizes": (OF_SIZES, OF_SIZES_HELD, {"Pad", "Conv"}),
}
REST = {"Relu", "GlobalAveragePool", "Flatten", "Gemm"}


def kinds(model):
    return {node.op_type for node in model.graph}


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("case", CASES)
def test_what_exporters_leave_to_compute_is_gone_and_the_graph_gives_the_same(
    case, opset, foreign_model, saved
):
    start, held, left = CASES[case]
    proto = foreign_model(start=start, held=held, opset=opset)
    path = saved(proto)
    model = load_classifier_onnx(path)
    assert kinds(model) == left | REST
    from onnx_ir import to_proto

    assert largest_difference(proto, to_proto(model), 3) < 1e-5
    # Filters are weights again, and the padding is read.
    recognise_last_convolution(model)
    scored_graph(classifier_from_onnx(path, tuple("abcd"), ExportSettings()), "closed-form").model()


def test_filters_that_are_computed_have_no_closed_form(foreign_model, monkeypatch, saved):
    monkeypatch.setattr("edgeosr.export.graph.checks.with_constants_computed", lambda proto: proto)
    path = saved(foreign_model(start=STANDARDISED, held=STANDARDISED_HELD))
    with pytest.raises(NoClosedFormError, match="its weight is computed"):
        recognise_last_convolution(load_classifier_onnx(path))


def test_what_depends_on_the_batch_stays(foreign_model, saved):
    proto = foreign_model(middle=OF_BATCH, held={"zero": whole(0), "minus": whole(-1)})
    model = load_classifier_onnx(saved(proto))
    assert {"Shape", "Gather", "Concat", "Reshape"} <= kinds(model)
    frozen = foreign_model(middle=OF_BATCH, held={"zero": whole(0), "minus": whole(-1)}, image=(1, 3, 16, 16))
    assert {"Shape", "Gather", "Concat", "Reshape"} <= kinds(load_classifier_onnx(saved(frozen)))


def test_random_numbers_and_quantised_constants_stay(foreign_model):
    for maker in (
        ("RandomNormalLike", "kernel", "filters", {"seed": 1.0}),
        ("DequantizeLinear", "bytes scale", "filters", {}),
        ("Dropout", "kernel half yes", "filters", {}),
    ):
        held = {
            "bytes": np.ones((6, 3, 3, 3), np.int8),
            "scale": np.float32(0.5),
            "half": np.float32(0.5),
            "yes": np.array(True),
        }
        proto = foreign_model(start=[maker, ("Conv", "image filters", "c", {})], held=held)
        assert with_constants_computed(proto) is proto


def test_what_would_grow_beyond_a_limit_stays_and_is_not_even_made(foreign_model, monkeypatch):
    start = [
        ("ConstantOfShape", "size", "huge", {}),
        ("ReduceSum", "huge", "nothing", {"keepdims": 0}),
        ("Add", "image nothing", "moved", {}),
        ("Conv", "moved kernel", "c", {}),
    ]
    made = []
    monkeypatch.setattr(constant_values, "run_session", lambda session, names, given: made.append(names))
    for side in (1 << 20, 1 << 40):
        proto = foreign_model(start=start, held={"size": whole(side, side)})
        assert with_constants_computed(proto) is proto
    assert made == []


def test_where_the_outcome_would_differ_the_graph_stays(foreign_model, monkeypatch):
    proto = foreign_model(start=STANDARDISED, held=STANDARDISED_HELD)
    assert with_constants_computed(proto) is not proto
    monkeypatch.setattr(precomputed, "largest_difference", lambda *given, **more: 2e-3)
    assert with_constants_computed(proto) is proto
    monkeypatch.setattr(precomputed, "largest_difference", lambda *given, **more: None)
    assert with_constants_computed(proto) is proto
    sized = foreign_model(start=OF_SIZES, held=OF_SIZES_HELD)
    assert with_sizes_computed(sized) is sized


def test_an_output_keeps_its_node(foreign_model):
    proto = foreign_model([("Neg", "kernel", "turned", {})], (("logits", ["n", 4]), ("turned", [6, 3, 3, 3])))
    assert with_constants_computed(proto) is proto
    onnx.checker.check_model(proto)


def test_an_output_that_nothing_reads_need_not_be_known(foreign_model, saved):
    # torch's older exporter, opset 11: filters standardised by a BatchNormalization in training mode.
    nodes = [
        ("Reshape", "kernel plane", "planes", {}),
        ("BatchNormalization", "planes ones none none ones", "unit m v saved also", {}),
        ("Reshape", "unit shape", "filters", {}),
        ("Conv", "image filters", "c", {}),
    ]
    held = {
        "plane": whole(1, 6, 27),
        "shape": whole(6, 3, 3, 3),
        "ones": np.ones(6, np.float32),
        "none": np.zeros(6, np.float32),
    }
    model = load_classifier_onnx(saved(foreign_model(start=nodes, held=held, opset=11)))
    assert kinds(model) == {"Conv"} | REST


def test_constants_in_bodies_are_read_by_their_names(foreign_model):
    body = helper.make_graph(
        [helper.make_node("Conv", ["image", "filters"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    branches = {"then_branch": body, "else_branch": body}
    start = [
        ("Mul", "kernel gain", "filters", {}),
        ("ReduceSum", "image", "sum", {"keepdims": 0}),
        ("Greater", "sum gain", "bright", {}),
        ("If", "bright", "c", branches),
    ]
    proto = foreign_model(start=start, held={"gain": np.float32(2)})
    changed = with_constants_computed(proto)
    assert "filters" in {tensor.name for tensor in changed.graph.initializer}
    onnx.checker.check_model(changed)


def of_batch(*makers):
    """Logits times a number that is made of their batch."""
    return [
        ("Shape", "z", "shape", {}),
        *makers,
        ("Mul", "z number", "scaled", {}),
        ("Gemm", "scaled head bias", "out", {"transB": 1}),
    ]


STEPS = {"zero": whole(0), "one": whole(1), "two": whole(2), "big": np.float32(16), "ones": whole(1, 1)}
IN_FLOAT = {"to": TensorProto.FLOAT}
BATCHES = {
    "gather": [("Gather", "shape zero", "b", {})],
    "slice": [("Slice", "shape zero one", "b", {})],
    "whole": [("Mul", "shape ones", "all", {}), ("Slice", "all zero one", "b", {})],
    "cast first": [("Cast", "shape", "s", {"to": TensorProto.INT32}), ("Slice", "s zero one", "b", {})],
    "product": [("ReduceProd", "shape", "b", {"keepdims": 0})],
}


@pytest.mark.parametrize("batch", BATCHES)
def test_a_number_that_is_the_same_for_small_batches_alone_stays(batch, foreign_model):
    steps = [
        *BATCHES[batch],
        ("Cast", "b", "f", IN_FLOAT),
        ("Div", "f large", "part", {}),
        ("Ceil", "part", "number", {}),
    ]
    held = {**STEPS, "large": np.float32(16 if batch != "product" else 96)}
    proto = foreign_model(of_batch(*steps), (("out", ["n", 4]),), held)
    assert with_sizes_computed(proto) is proto


@pytest.mark.parametrize("steps", [[("Gather", "shape one", "b", {})], [("Slice", "shape one two", "b", {})]])
def test_a_number_of_the_other_sizes_is_computed_beside_the_batch(steps, foreign_model):
    makers = [
        *steps,
        ("Cast", "b", "f", IN_FLOAT),
        ("Div", "f big", "part", {}),
        ("Ceil", "part", "number", {}),
    ]
    changed = with_sizes_computed(foreign_model(of_batch(*makers), (("out", ["n", 4]),), STEPS))
    assert "number" in {tensor.name for tensor in changed.graph.initializer}


def test_a_product_of_constants_beyond_the_bound_is_left(foreign_model, monkeypatch):
    start = [
        ("MatMul", "left right", "long", {}),
        ("ReduceSum", "long", "sum", {"keepdims": 0}),
        ("Add", "image sum", "moved", {}),
        ("Conv", "moved kernel", "c", {}),
    ]
    proto = foreign_model(
        start=start, held={name: np.ones((50, 50), np.float32) for name in ("left", "right")}
    )
    assert with_constants_computed(proto) is not proto
    monkeypatch.setattr(constant_values, "MOST_WORK", 50**3 - 1)
    assert with_constants_computed(proto) is proto
