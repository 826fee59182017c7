"""A deployed classifier of six colours and patterns, whose preprocessing the tests choose; and its images."""

import colorsys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.linear_model import LogisticRegression

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.parts import four_parts
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.foreign.export_model import FOREIGN_FRACTIONS
from edgeosr.export.foreign.known_check import check_on_known_images
from edgeosr.export.foreign.stated import stated_preprocessing
from edgeosr.export.graph.image_input import LUMA
from edgeosr.export.settings import ExportSettings

# As folders sort them: 1, 10, 2, 20, 3, 30.
NAMES = ("1", "2", "3", "10", "20", "30")
SIDE, CHANNELS, EACH = 32, 32, 30
MEAN, STD = (0.2, 0.45, 0.7), (0.15, 0.25, 0.35)


def texture(kind: int, rng: np.random.Generator, size: int) -> np.ndarray:
    """Stripes: kind 0 to 5 sets hue, direction and period."""
    rows, columns = np.mgrid[0:size, 0:size]
    angle = np.pi * kind / len(NAMES) + rng.normal(0, 0.05)
    waves = np.sin((rows * np.cos(angle) + columns * np.sin(angle)) / (1 + kind % 3) + rng.uniform(0, 6))
    colour = np.array(colorsys.hsv_to_rgb((kind / len(NAMES) + rng.normal(0, 0.01)) % 1, 0.8, 0.9))
    image = (0.6 + 0.4 * waves)[..., None] * colour * 255 + rng.normal(0, 10, (size, size, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def write_folder(root: Path, names: tuple[str, ...], kinds: tuple[int, ...], size: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for name, kind in zip(names, kinds, strict=True):
        (root / name).mkdir(parents=True)
        for number in range(EACH):
            Image.fromarray(texture(kind, rng, size)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """Images of the model's own size, one folder a class."""
    return write_folder(tmp_path_factory.mktemp("known"), NAMES, tuple(range(len(NAMES))), SIDE, seed=0)


@pytest.fixture(scope="session")
def another():
    """Writes ``folder/name`` with new pictures of the class ``of``."""

    def write(folder: Path, name: str, of: str) -> None:
        write_folder(folder, (name,), (NAMES.index(of),), SIDE, seed=9)

    return write


class Deployed:
    """Classifiers as somebody else trained them, each with a preprocessing of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, {}
        rng = np.random.default_rng(1)
        images = [texture(kind, rng, SIDE) for kind in range(len(NAMES)) for _ in range(EACH)]
        self._pixels = np.stack(images) / 255
        self._labels = np.repeat(np.arange(len(NAMES)), EACH)

    def __call__(self, mean=MEAN, std=STD, *, bgr=False, grey=False):
        """Return the ONNX file of a model that takes (value / 255 - mean) / std; both in its own order."""
        key = (tuple(mean), tuple(std), bgr, grey)
        if key not in self._made:
            pixels = self._pixels[..., ::-1] if bgr else self._pixels
            if grey:
                pixels, mean, std = pixels @ np.array(LUMA)[:, None], mean[:1], std[:1]
            inputs = ((pixels - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
            self._made[key] = self._fitted(inputs)
        return self._made[key]

    def _fitted(self, inputs):
        blank = np.zeros((len(NAMES), CHANNELS), np.float32)
        first = _graph(inputs, blank, blank[:, 0].copy())
        first.graph.output.append(helper.make_empty_tensor_value_info("features"))
        session = onnxruntime.InferenceSession(first.SerializeToString(), providers=["CPUExecutionProvider"])
        (features,) = session.run(["features"], {"image": inputs})
        centre, spread = features.mean(0), features.std(0) + 1e-6
        head = LogisticRegression(C=10, max_iter=500).fit((features - centre) / spread, self._labels)
        weight = (head.coef_ / spread).astype(np.float32)
        bias = (head.intercept_ - weight @ centre).astype(np.float32)
        path = self._folder / f"deployed{len(self._made)}.onnx"
        onnx.save(_graph(inputs, weight, bias), path)
        return path


def _graph(inputs, weight, bias):
    planes, largest = inputs.shape[1], float(np.abs(inputs).max())
    random = np.random.default_rng(5)
    arrays = {
        "kernel": (random.normal(0, 0.3, (CHANNELS, planes, 5, 5)) / largest).astype(np.float32),
        "offset": random.normal(0, 0.2, CHANNELS).astype(np.float32),
        "weight": weight,
        "bias": bias,
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "offset"], ["y"], "conv", strides=[2, 2], pads=[2] * 4),
        helper.make_node("Relu", ["y"], ["a"], "relu"),
        helper.make_node("GlobalAveragePool", ["a"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["scores"], "head", transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "deployed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", planes, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(bias)])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory):
    return Deployed(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="session")
def checked():
    """Return what checks a model on its known images: the first step of an export; settings as keywords.

    ``graph_of`` is another model, whose graph stands for a badly exported one.
    """

    def check(path, folder, graph_of=None, **changes):
        settings = ExportSettings(**{"data": str(folder), "known": NAMES, "threads": 1, **changes})
        image_set = open_image_set(settings.data, None)
        names = settings.known or image_set.train.class_names
        parts = four_parts(image_set, known=names, seed=settings.seed, fractions=FOREIGN_FRACTIONS)
        classifier = classifier_from_onnx(graph_of or path, tuple(names), settings)
        size = classifier.preprocessing
        stated = stated_preprocessing(settings, size.height, size.width)
        return check_on_known_images(path, classifier, stated, parts, settings)

    return check
