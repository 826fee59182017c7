"""The proof is against the file, also where its logits are taken with the other sign or times a factor."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgeosr.data.catalogue import open_image_set
from edgeosr.export.foreign.classifier import read_classifier
from edgeosr.export.foreign.own_model import OwnModel
from edgeosr.export.settings import ExportSettings

NAMES, SIDE = ("1", "2", "3", "10", "20", "30"), 32
OWN = {"mean": (0.2, 0.45, 0.7), "std": (0.15, 0.25, 0.35), "threads": 1}
FLAT = [("Neg", "scores", "out")]
SQUARE = [("Neg", "scores", "n"), ("Reshape", "n four", "out")]
CAPPED = [("Div", "scores cap", "s"), ("Tanh", "s", "t"), ("Mul", "t cap", "out")]
CAP = 30.0


def run(path, name, inputs):
    model = onnx.load(path)
    model.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = pytest.importorskip("onnxruntime").InferenceSession(model.SerializeToString())
    return session.run([name], {"image": inputs})[0]


@pytest.mark.parametrize("tail", [FLAT, SQUARE, CAPPED], ids=["sign", "sign, four axes", "soft cap"])
def test_the_file_itself_runs_behind_an_end_of_ours(tail, deployed, known, tmp_path, monkeypatch):
    # Of these classes an order of the names explains the signs too.
    monkeypatch.setattr("edgeosr.export.foreign.logits.smallest_is_right", lambda *given: tail is not CAPPED)
    model = onnx.load(deployed())
    del model.graph.node[-1]
    model.graph.node.extend(helper.make_node(kind, given.split(), [made]) for kind, given, made in tail)
    for name, value in {"cap": np.float32(CAP), "four": np.array([-1, 6, 1, 1])}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    sizes = ["n", 6, 1, 1] if tail is SQUARE else ["n", 6]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", 1, sizes))
    path = tmp_path / "deployed.onnx"
    onnx.save(model, path)
    images = open_image_set(str(known), None).train
    classifier, notes = read_classifier(path, NAMES, ExportSettings(data=str(known), **OWN), images)
    assert len(notes) == 1
    own = OwnModel(path, classifier, threads=1)
    assert own.is_the_file
    inputs = np.random.default_rng(0).normal(size=(5, 3, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(own.logits(inputs), run(path, "scores", inputs), rtol=1e-4, atol=1e-4)
    # What is changed in the file is seen: it is not the edited graph that runs.
    head = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) + np.float32(1), "bias"))
    onnx.save(model, path)
    changed = OwnModel(path, classifier, threads=1)
    np.testing.assert_allclose(changed.logits(inputs), own.logits(inputs) + 1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flat", [True, False], ids=["flattened", "four axes"])
def test_the_file_itself_runs_where_the_pool_gives_the_logits(flat, tmp_path):
    """A fully convolutional head, as SqueezeNet's: what follows the pool is embedding and logits at once."""
    random = np.random.default_rng(0)
    held = {
        "first": random.normal(0, 0.5, (8, 3, 3, 3)).astype(np.float32),
        "second": random.normal(0, 0.5, (6, 8, 1, 1)).astype(np.float32),
    }
    nodes = [("Conv", "image first", "c"), ("Relu", "c", "a"), ("Conv", "a second", "maps")]
    nodes += [("GlobalAveragePool", "maps", "p"), *([("Flatten", "p", "out")] if flat else ())]
    graph = helper.make_graph(
        [helper.make_node(kind, given.split(), [made]) for kind, given, made in nodes],
        "convolutions alone",
        [helper.make_tensor_value_info("image", 1, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out" if flat else "p", 1, ["n", 6] if flat else ["n", 6, 1, 1])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    path = tmp_path / "convolutions.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    classifier, _ = read_classifier(path, NAMES, ExportSettings(**OWN), None)
    own = OwnModel(path, classifier, threads=1)
    assert own.is_the_file
    inputs = random.normal(size=(5, 3, SIDE, SIDE)).astype(np.float32)
    expected = run(path, "maps", inputs).mean((2, 3))
    np.testing.assert_allclose(own.logits(inputs), expected, rtol=1e-4, atol=1e-4)
