"""A small deployed classifier of random weights, scored in each of the three ways."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.data.catalogue import open_image_set
from edgeosr.export.export_run import export_run
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.probing import make_probes
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.export.train_features import train_features
from edgeosr.scoring.parts import with_constants

SIDE, CHANNELS = 8, 12
KNOWN = ("2", "4", "5")


@pytest.fixture(scope="session")
def images():
    return open_image_set("digits").train.of_classes(KNOWN).subset(np.arange(90))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    rng = np.random.default_rng(3)
    arrays = {
        "first": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "middle": rng.normal(0, 0.3, (8, 8, 3, 3)),
        "second": rng.normal(0, 0.3, (CHANNELS, 8, 3, 3)),
        "head": rng.normal(0, 1, (len(KNOWN), CHANNELS)),
        "bias": np.zeros(len(KNOWN)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["y1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["y1"], ["a1"], "relu1"),
        helper.make_node("Conv", ["a1", "middle"], ["ym"], "conv_middle", pads=[1] * 4),
        helper.make_node("Relu", ["ym"], ["am"], "relu_middle"),
        helper.make_node("Conv", ["am", "second"], ["y2"], "conv2", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["y2"], ["a2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["a2"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "head", "bias"], ["scores"], "gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "deployed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(KNOWN)])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = tmp_path_factory.mktemp("deployed") / "small.onnx"
    onnx.save(model, file)
    return classifier_from_onnx(file, KNOWN, ExportSettings())


@pytest.fixture(scope="session")
def probes(classifier, images):
    return make_probes(classifier, K=3, cut="input", family="random", seed=0, images=images)


@pytest.fixture(scope="session", params=["closed-form", "probes", "none"])
def graph(request, classifier, probes, images):
    bare = scored_graph(classifier, request.param, probes if request.param == "probes" else None)
    constants = with_constants(bare.scorer, train_features(bare, images, seed=0)).constants
    of_class = {"class_jacobian"} if request.param == "closed-form" else set()
    assert set(constants) == {"bank", "relative_mahalanobis"} | of_class
    return scored_graph(classifier, request.param, probes if request.param == "probes" else None, constants)


@pytest.fixture(scope="session")
def frames():
    return np.random.default_rng(5).integers(0, 256, (6, 20, 26, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def report(digits_run, tmp_path_factory):
    """What the export of the small run at fp16 said; its bundle is for reading only."""
    out = tmp_path_factory.mktemp("typed") / "digits.edgeosr"
    return export_run(digits_run, ExportSettings(out=out, precision="fp16", min_agreement=0.97))
