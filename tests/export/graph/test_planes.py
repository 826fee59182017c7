"""What Keras' exporters write with the channels last is read as if they came first, number for number."""

import numpy as np
import onnx
import pytest

from edgeosr.export.closed_form.last_convolution import recognise_last_convolution
from edgeosr.export.closed_form.pooling import find_embedding
from edgeosr.export.graph import planes
from edgeosr.export.graph.checks import load_classifier_onnx
from edgeosr.export.graph.opset import largest_difference
from edgeosr.export.graph.planes import TO_FIRST, TO_LAST, with_planes_inside

RANDOM = np.random.default_rng(6)
# A BatchNormalization as Mul and Add, behind a convolution whose result is turned round.
START = [
    ("Transpose", "image", "t", {"perm": TO_FIRST}),
    ("Conv", "t kernel", "k", {"auto_pad": "SAME_UPPER"}),
    ("Transpose", "k", "l", {"perm": TO_LAST}),
    ("Mul", "l scale", "m", {}),
    ("Add", "m shift", "c", {}),
]
HELD = {
    "scale": RANDOM.uniform(0.5, 1.5, (1, 1, 1, 6)).astype(np.float32),
    "shift": RANDOM.normal(size=6).astype(np.float32),
    "two": RANDOM.normal(size=(6, 6, 1, 1)).astype(np.float32),
    "rows": np.array([-1, 6]),
    "sides": np.array([0, 1, 0, 0, 0, 0, 1, 0]),
    "low": np.float32(0.1),
    "high": np.float32(3),
    "both": RANDOM.normal(size=(6, 12, 1, 1)).astype(np.float32),
    "squared": np.array([2, 3]),
}
MEAN = [("ReduceMean", "last", "z", {"axes": [1, 2], "keepdims": 0})]
MIDDLES = {
    "a mean of height and width": [("Identity", "a", "last", {}), *MEAN],
    "a global pool": [
        ("Transpose", "a", "first", {"perm": TO_FIRST}),
        ("GlobalAveragePool", "first", "p", {}),
        ("Squeeze", "p squared", "z", {}),
    ],
    "a pool that is turned round": [
        ("Transpose", "a", "first", {"perm": TO_FIRST}),
        ("AveragePool", "first", "p", {"kernel_shape": [16, 16]}),
        ("Transpose", "p", "q", {"perm": TO_LAST}),
        ("Reshape", "q rows", "z", {}),
    ],
    "a mean that keeps its axes": [
        ("ReduceMean", "a", "q", {"axes": [1, 2]}),
        ("Reshape", "q rows", "z", {}),
    ],
}
INNER = {
    "a gate": [
        ("ReduceMean", "a", "q", {"axes": [1, 2]}),
        ("Transpose", "q", "r", {"perm": TO_FIRST}),
        ("Conv", "r two", "s", {}),
        ("Transpose", "s", "u", {"perm": TO_LAST}),
        ("Sigmoid", "u", "v", {}),
        ("Mul", "a v", "last", {}),
        *MEAN,
    ],
    "padding and joining": [
        ("Pad", "a sides", "p", {}),
        ("LeakyRelu", "p", "q", {"alpha": 0.1}),
        ("Concat", "p q", "j", {"axis": 3}),
        ("Clip", "j low high", "cut", {}),
        ("Transpose", "cut", "r", {"perm": TO_FIRST}),
        ("Conv", "r both", "s", {}),
        ("Transpose", "s", "last", {"perm": TO_LAST}),
        *MEAN,
    ],
}


def made(foreign_model, middle, **more):
    return foreign_model(start=START, middle=middle, held=HELD, image=("n", 16, 16, 3), **more)


def kinds(model):
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("middle", [*MIDDLES, *INNER])
@pytest.mark.parametrize("opset", [13, 18])
def test_transposes_between_layers_are_gone_and_the_graph_gives_the_same(middle, opset, foreign_model, saved):
    nodes = {**MIDDLES, **INNER}[middle]
    if opset == 18:  # axes became an input of the other reductions too
        nodes = [
            (kind, f"{given} axes", out, {k: v for k, v in more.items() if k != "axes"})
            if kind == "ReduceMean"
            else (kind, given, out, more)
            for kind, given, out, more in nodes
        ]
    proto = foreign_model(
        start=START,
        middle=nodes,
        held={**HELD, "axes": np.array([1, 2])},
        image=("n", 16, 16, 3),
        opset=opset,
    )
    model = load_classifier_onnx(saved(proto))
    left = 1 if middle in ("a pool that is turned round", "a mean that keeps its axes") else 0
    assert kinds(model).count("Transpose") == left
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    import onnx_ir
    import onnxruntime

    run = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (proto, onnx_ir.to_proto(model))
    ]
    first = run[0].run(["logits"], {"image": images.transpose(0, 2, 3, 1)})[0]
    second = run[1].run(["logits"], {run[1].get_inputs()[0].name: images})[0]
    np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("middle", MIDDLES)
def test_the_last_convolution_and_the_embedding_are_found_under_their_names(middle, foreign_model, saved):
    model = load_classifier_onnx(saved(made(foreign_model, MIDDLES[middle])))
    # Turned round, one value a channel is still no row: the pool's own is flattened beside it.
    turned = middle in ("a pool that is turned round", "a mean that keeps its axes")
    name = find_embedding(model)
    assert name == ("embedding" if turned else "z")
    last = recognise_last_convolution(model, name)
    np.testing.assert_allclose(last.scale, HELD["scale"].ravel())


def test_tensors_of_channels_last_keep_their_names_for_those_who_ask(foreign_model, saved):
    model = load_classifier_onnx(saved(made(foreign_model, MIDDLES["a global pool"])), embedding="a")
    assert "a" in {value.name for node in model.graph for value in node.outputs}


def test_where_nothing_is_turned_or_the_outcome_would_differ_the_graph_stays(foreign_model, monkeypatch):
    plain = foreign_model()
    assert with_planes_inside(plain) is plain
    turned = made(foreign_model, MIDDLES["a mean of height and width"])
    changed = with_planes_inside(turned)
    assert changed is not turned and largest_difference(turned, changed, 2) < 1e-5
    onnx.checker.check_model(changed, full_check=True)
    monkeypatch.setattr(planes, "largest_difference", lambda *given, **more: 2e-3)
    assert with_planes_inside(turned) is turned
