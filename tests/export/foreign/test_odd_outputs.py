"""Classifiers whose output is squashed in an odd way, or smallest for the right class."""

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import ExportError, UnsupportedGraphError
from edgeosr.export.foreign.classifier import read_classifier
from edgeosr.export.foreign.recipe import normalised
from edgeosr.export.measure import GraphRunner
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings

CLASSES = ("a", "b", "c", "d")
COLOURS = np.array([[210, 60, 50], [60, 200, 70], [70, 80, 220], [200, 190, 60]])
OUTPUT = (("out", ["n", 4]),)
SOFT = ("Softmax", "logits", "soft", {"axis": 1})
TAILS = {
    "softmax twice": ([SOFT, ("Softmax", "soft", "out", {"axis": 1})], {}, "probabilities of probabilities"),
    "sigmoid of a softmax": (
        [SOFT, ("Sigmoid", "soft", "out", {})],
        {},
        "values from 0 to 1 of probabilities",
    ),
    "in 0..255": (
        [SOFT, ("Mul", "soft most", "out", {})],
        {"most": np.float32(255)},
        "probabilities times a constant",
    ),
    "tanh": ([("Tanh", "logits", "out", {})], {}, "values squashed by a tanh"),
    "one less a softmax": (
        [SOFT, ("Sub", "unit soft", "out", {})],
        {"unit": np.float32(1)},
        "negated probabilities times a constant",
    ),
    "negative log-softmax": (
        [("LogSoftmax", "logits", "log", {"axis": 1}), ("Neg", "log", "out", {})],
        {},
        "negative log-probabilities",
    ),
    "log-softmax times a factor": (
        [("LogSoftmax", "logits", "log", {"axis": 1}), ("Mul", "log most", "out", {})],
        {"most": np.float32(3)},
        "log-probabilities times a constant",
    ),
}


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(4)
    labels = np.arange(48) % 4
    frames = COLOURS[labels][:, None, None] + random.normal(0, 25, (48, 16, 16, 3))
    frames = np.clip(frames, 0, 255).astype(np.uint8)
    return LabelledImages(CLASSES, labels, np.arange(48), lambda i: frames[i], lambda i: f"frame {i}")


@pytest.fixture(scope="module")
def embeddings(foreign_model, images):
    """What the small classifier makes of the images, ``[48, 6]``."""
    session = onnxruntime.InferenceSession(
        foreign_model((), (("z", ["n", 6]),)).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.stack([images.read(i) for i in range(len(images))])
    return session.run(["z"], {"image": normalised(pixels, read_preprocessing())})[0]


def read_preprocessing():
    from edgeosr.export.foreign.stated import stated_preprocessing

    return stated_preprocessing(ExportSettings(), 16, 16).preprocessing


@pytest.fixture(scope="module")
def fitted(foreign_model, embeddings, images):
    """Return what makes the classifier with a head that knows the colours, and a tail."""
    centres = np.stack([embeddings[images.labels == label].mean(axis=0) for label in range(4)])
    spread = embeddings.std()
    head, bias = centres / spread**2, -0.5 * np.square(centres).sum(axis=1) / spread**2

    def made(tail, held):
        model = foreign_model(tail, OUTPUT, {**held, "centres": centres[None].astype(np.float32)})
        for tensor in model.graph.initializer:
            if tensor.name in ("head", "bias"):
                values = {"head": head, "bias": bias}[tensor.name].astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return model

    return made


def read(path, images):
    return read_classifier(path, CLASSES, ExportSettings(), images)


def answers(classifier, images):
    runner = GraphRunner(
        scored_graph(classifier, "none").model(expose=("logits",)), extra_outputs=("logits",)
    )
    frames = np.stack([images.read(i) for i in range(len(images))])
    return runner.run(frames)[-1].reshape(len(images), -1)


@pytest.mark.parametrize("tail", TAILS)
def test_what_is_before_an_oddly_squashed_output_is_taken_and_said(tail, fitted, images, saved):
    nodes, held, said = TAILS[tail]
    found, notes = read(saved(fitted(nodes, held)), images)
    assert found.logits == "logits"
    assert notes == [f"the output 'out' holds {said}; the logits before it, 'logits', are taken"]
    assert (answers(found, images).argmax(axis=1) == images.labels).mean() > 0.9


DISTANCES = [
    ("Unsqueeze", "z axis", "rows", {}),
    ("Sub", "rows centres", "from", {}),
    ("ReduceL2", "from", "out", {"axes": [2], "keepdims": 0}),
]


def test_distances_are_taken_with_the_other_sign_and_that_is_said(fitted, images, saved):
    model = fitted(DISTANCES, {"axis": np.array([1])})
    found, notes = read(saved(model), images)
    assert len(notes) == 1 and "right class has the smallest value of 'out'" in notes[0]
    rows = answers(found, images)
    assert rows.max() <= 0 and (rows.argmax(axis=1) == images.labels).mean() > 0.9


def test_without_images_nothing_is_turned_round(fitted, saved):
    found, notes = read(saved(fitted(DISTANCES, {"axis": np.array([1])})), None)
    assert (found.logits, notes) == ("out", [])


def test_a_softmax_of_negative_distances_gives_these_distances(fitted, images, saved):
    nodes = [
        *DISTANCES[:2],
        ("ReduceL2", "from", "far", {"axes": [2], "keepdims": 0}),
        ("Neg", "far", "near", {}),
        ("Softmax", "near", "out", {"axis": 1}),
    ]
    found, notes = read(saved(fitted(nodes, {"axis": np.array([1])})), images)
    assert found.logits == "near" and len(notes) == 1


def test_a_mean_of_two_heads_in_0_to_255_is_refused_by_what_it_holds(fitted, images, saved):
    nodes = [
        SOFT,
        ("Gemm", "z other bias", "second", {"transB": 1}),
        ("Softmax", "second", "also", {"axis": 1}),
        ("Add", "soft also", "sum", {}),
        ("Mul", "sum half", "out", {}),
    ]
    other = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    model = fitted(nodes, {"other": other, "half": np.float32(127.5)})
    with pytest.raises(ExportError, match=r"'out'.*probabilities times a constant.*--logits TENSOR"):
        read(saved(model), images)


NO_POOL = [("MaxPool", "a", "m", {"kernel_shape": [5, 5], "strides": [5, 5]}), ("Flatten", "m", "f", {})]
NO_POOL += [("Gemm", "f hidden", "h", {}), ("Relu", "h", "z", {})]


def test_without_a_global_pool_what_the_last_layer_reads_is_the_embedding_and_that_is_said(
    foreign_model, images, saved
):
    hidden = np.random.default_rng(0).normal(0, 0.1, (24, 6)).astype(np.float32)
    path = saved(foreign_model(middle=NO_POOL, held={"hidden": hidden}))
    with pytest.raises(UnsupportedGraphError, match="perhaps 'z', which the last layer reads"):
        read(path, images)
    for jacobian in ("none", "probes"):
        found, notes = read_classifier(path, CLASSES, ExportSettings(jacobian=jacobian), images)
        assert (found.embedding, found.dimension, found.logits) == ("z", 6, "logits")
        assert len(notes) == 1 and "'z', which the last layer reads, is taken as the embedding" in notes[0]
