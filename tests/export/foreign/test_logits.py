"""Logits are found by values: however a softmax or a sigmoid is written, what is scored is before it."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import ExportError, UsageError
from edgeosr.export.foreign.classifier import read_classifier
from edgeosr.export.measure import GraphRunner
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings

CLASSES = ("a", "b", "c", "d")
ONE, FLAT = np.array([1]), np.array([-1, 4])


def images(count=12):
    random = np.random.default_rng(4)
    frames = random.integers(0, 256, (count, 20, 24, 3), np.uint8)
    labels = np.arange(count) % 4
    return LabelledImages(CLASSES, labels, np.arange(count), lambda i: frames[i], lambda i: f"frame {i}")


def read(path, **settings):
    return read_classifier(path, CLASSES, ExportSettings(**settings), images())


PROBABILITIES = (("out", ["n", 4]),)
TAILS = {
    "softmax": ([("Softmax", "logits", "out", {"axis": 1})], {}),
    "softmax of the last axis": ([("Softmax", "logits", "out", {"axis": -1})], {}),
    "log-softmax": ([("LogSoftmax", "logits", "out", {"axis": 1})], {}),
    "logarithm of a softmax": ([("Softmax", "logits", "s", {"axis": 1}), ("Log", "s", "out", {})], {}),
    "by hand": (
        [("Exp", "logits", "e", {}), ("ReduceSum", "e one", "s", {}), ("Div", "e s", "out", {})],
        {"one": ONE},
    ),
    "by hand, less the maximum": (
        [
            ("ReduceMax", "logits", "m", {"axes": [1]}),
            ("Sub", "logits m", "d", {}),
            ("Exp", "d", "e", {}),
            ("ReduceSum", "e one", "s", {}),
            ("Div", "e s", "out", {}),
        ],
        {"one": ONE},
    ),
    "by hand, summed by a product": (
        [("Exp", "logits", "e", {}), ("MatMul", "e ones", "s", {}), ("Div", "e s", "out", {})],
        {"ones": np.ones((4, 1), np.float32)},
    ),
    "by hand, through logsumexp": (
        [
            ("ReduceLogSumExp", "logits", "s", {"axes": [1]}),
            ("Sub", "logits s", "d", {}),
            ("Exp", "d", "out", {}),
        ],
        {},
    ),
    "wrapped": (
        [
            ("Flatten", "logits", "f", {}),
            ("Softmax", "f", "s", {"axis": 1}),
            ("Shape", "logits", "shape", {}),
            ("Reshape", "s shape", "out", {}),
        ],
        {},
    ),
    "turned round": (
        [
            ("Transpose", "logits", "t", {"perm": [1, 0]}),
            ("Softmax", "t", "s", {"axis": 0}),
            ("Transpose", "s", "out", {"perm": [1, 0]}),
        ],
        {},
    ),
    "clipped": (
        [("Softmax", "logits", "s", {"axis": 1}), ("Clip", "s low high", "out", {})],
        {"low": np.float32(1e-7), "high": np.float32(1)},
    ),
    "in per cent": (
        [("Softmax", "logits", "s", {"axis": 1}), ("Mul", "s hundred", "out", {})],
        {"hundred": np.float32(100)},
    ),
    "sigmoid": ([("Sigmoid", "logits", "out", {})], {}),
    "sigmoid by hand": (
        [
            ("Neg", "logits", "n", {}),
            ("Exp", "n", "e", {}),
            ("Add", "e unit", "s", {}),
            ("Reciprocal", "s", "out", {}),
        ],
        {"unit": np.float32(1)},
    ),
    "hard sigmoid": ([("HardSigmoid", "logits", "out", {"alpha": 0.05})], {}),
}


@pytest.mark.parametrize("tail", TAILS)
def test_what_is_before_a_softmax_or_sigmoid_is_taken_however_it_is_written(tail, foreign_model, saved):
    nodes, held = TAILS[tail]
    found, notes = read(saved(foreign_model(nodes, PROBABILITIES, held)))
    assert found.logits == "logits"
    assert len(notes) == 1 and "'out' holds" in notes[0] and "'logits'" in notes[0]


@pytest.mark.parametrize("gain", [0.05, 1.0, 40.0])
@pytest.mark.parametrize("tail", ["softmax", "by hand, less the maximum", "sigmoid"])
def test_neither_a_flat_nor_a_saturated_classifier_hides_its_logits(tail, gain, foreign_model, saved):
    nodes, held = TAILS[tail]
    model = foreign_model(nodes, PROBABILITIES, held)
    head = next(tensor for tensor in model.graph.initializer if tensor.name == "head")
    scaled = onnx.numpy_helper.to_array(head) * np.float32(gain)
    head.CopyFrom(onnx.numpy_helper.from_array(scaled, "head"))
    assert read(saved(model))[0].logits == "logits"


def test_after_a_temperature_its_logits_are_taken(foreign_model, saved):
    nodes = [("Div", "logits T", "warm", {}), ("Softmax", "warm", "out", {"axis": 1})]
    found, _ = read(saved(foreign_model(nodes, PROBABILITIES, {"T": np.float32(1.7)})))
    assert found.logits == "warm"


@pytest.mark.parametrize("opset", [11, 12])
def test_a_softmax_that_the_conversion_of_old_opsets_wraps_is_seen_through(opset, foreign_model, saved):
    for axis in (1, -1):
        nodes = [("Softmax", "logits", "out", {"axis": axis})]
        assert read(saved(foreign_model(nodes, PROBABILITIES, opset=opset)))[0].logits == "logits"


def test_a_head_of_convolutions_under_a_softmax_gives_flat_logits(foreign_model, saved):
    nodes = [
        ("Reshape", "logits four", "square", {}),
        ("Softmax", "square", "soft", {"axis": 1}),
        ("Flatten", "soft", "out", {}),
    ]
    model = foreign_model(nodes, PROBABILITIES, {"four": np.array([-1, 4, 1, 1])})
    assert read(saved(model))[0].logits == "logits"


@pytest.mark.parametrize("jacobian", ["none", "closed-form"])
def test_a_fully_convolutional_head_is_embedding_and_logits_at_once(jacobian, foreign_model, saved):
    middle = [
        ("Conv", "a square", "k", {}),
        ("Relu", "k", "r", {}),
        ("GlobalAveragePool", "r", "p", {}),
        ("Flatten", "p", "z", {}),
        ("Softmax", "p", "out", {"axis": 1}),
    ]
    square = np.random.default_rng(2).normal(size=(4, 6, 1, 1)).astype(np.float32)
    head = {"square": square, "head": np.eye(4, dtype=np.float32)}
    model = foreign_model((), [("out", ["n", 4, 1, 1])], head, middle=middle)
    del model.graph.node[-1]
    found, notes = read(saved(model), jacobian=jacobian)
    assert notes == ["the output 'out' holds probabilities; the logits before it, 'p', are taken"]
    graph = scored_graph(found, jacobian)
    runner = GraphRunner(graph.model(expose=("logits", "embedding")), extra_outputs=("logits", "embedding"))
    *_, logits, embedding = runner.run(np.random.default_rng(3).integers(0, 256, (3, 16, 16, 3), np.uint8))
    np.testing.assert_array_equal(logits, embedding)


def test_plain_scores_stay_as_they_are_and_nothing_is_said(foreign_model, saved):
    found, notes = read(saved(foreign_model()))
    assert (found.logits, notes) == ("logits", [])


def test_scores_from_0_to_1_that_are_not_squashed_are_kept(foreign_model, saved):
    nodes = [
        ("Relu", "logits", "up", {}),
        ("ReduceMax", "up", "m", {"axes": [1]}),
        ("Add", "m unit", "k", {}),
    ]
    nodes += [("Div", "up k", "out", {})]
    assert read(saved(foreign_model(nodes, PROBABILITIES, {"unit": np.float32(40)})))[0].logits == "out"


def test_probabilities_without_their_logits_are_refused_with_the_way_out(foreign_model, saved):
    nodes = [
        ("Softmax", "logits", "one", {"axis": 1}),
        ("Gemm", "z other bias", "second", {"transB": 1}),
        ("Softmax", "second", "two", {"axis": 1}),
        ("Add", "one two", "sum", {}),
        ("Mul", "sum half", "out", {}),
    ]
    other = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    path = saved(foreign_model(nodes, PROBABILITIES, {"other": other, "half": np.float32(0.5)}))
    with pytest.raises(ExportError, match=r"'out'.*holds probabilities.*--logits TENSOR"):
        read(path)
    assert read(path, logits="second")[0].logits == "second"


HEADS = [("Gemm", "z other bias", "light", {"transB": 1})]
OTHER = {"other": np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)}


@pytest.mark.parametrize("first", ["light", "logits"])
def test_two_outputs_that_fit_are_listed_and_one_can_be_named(first, foreign_model, saved):
    both = [(name, ["n", 4]) for name in sorted(("light", "logits"), key=lambda name: name != first)]
    path = saved(foreign_model(HEADS, both, OTHER))
    with pytest.raises(UsageError, match=r"'light' float32 \[n, 4\].*--logits"):
        read(path)
    for name in ("light", "logits"):
        assert read(path, logits=name)[0].logits == name


def test_outputs_of_another_form_are_listed_by_the_names_they_have_in_the_file(foreign_model, saved):
    nodes = [*HEADS, ("Reshape", "light square", "far", {}), ("Reshape", "logits square", "near", {})]
    held = {**OTHER, "square": np.array([-1, 4, 1, 1])}
    path = saved(foreign_model(nodes, [("far", ["n", 4, 1, 1]), ("near", ["n", 4, 1, 1])], held))
    with pytest.raises(UsageError, match=r"'far' float32 .*'near' float32 .*--logits far$"):
        read(path)
    assert read(path, logits="near")[1] == []


def test_probabilities_and_their_own_logits_are_one_head(foreign_model, saved):
    for outputs in ("out", "logits"), ("logits", "out"):
        model = foreign_model(TAILS["softmax"][0], [(name, ["n", 4]) for name in outputs])
        assert read(saved(model))[0].logits == "logits"


def test_the_output_of_as_many_values_as_there_are_classes_is_taken(foreign_model, saved):
    found, notes = read(saved(foreign_model((), [("z", ["n", 6]), ("logits", ["n", 4])])))
    assert found.logits == "logits"
    assert notes == ["the output 'logits' is taken, which alone has 4 values; not 'z' float32 [n, 6]"]


def test_an_inner_tensor_can_be_named_and_a_wrong_one_is_refused(foreign_model, saved):
    path = saved(foreign_model(TAILS["softmax"][0], PROBABILITIES))
    assert read(path, logits="logits")[0].logits == "logits"
    with pytest.raises(ExportError, match="no tensor named 'logit'; did you mean 'logits'"):
        read(path, logits="logit")
    with pytest.raises(ExportError, match=r"class scores in the tensor 'a'.*'a' float32"):
        read(path, logits="a")
    with pytest.raises(UsageError, match="the tensor of --logits z has 6 values, but there are 4 known"):
        read(path, logits="z")


def test_a_network_in_training_mode_is_refused(foreign_model, saved):
    statistics = {name: np.ones(4, np.float32) for name in ("scale", "shift", "mean", "var")}
    model = foreign_model((), [("out", ["n", 4])], statistics)
    normal = helper.make_node(
        "BatchNormalization", ["logits", "scale", "shift", "mean", "var"], ["out", "m", "v"], training_mode=1
    )
    model.graph.node.append(normal)
    with pytest.raises(ExportError, match=r"alone and in a batch.*evaluation mode"):
        read(saved(model))
