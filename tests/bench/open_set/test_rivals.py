"""What pytorch-ood is given. Its place is taken by a package of the same face: it is no part of our tests."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeosr.bench.open_set.rivals import LeftOut, pytorch_ood, rival_scores
from edgeosr.bench.open_set.torchvision_stub import stand_in
from edgeosr.errors import MissingDependencyError

INIT = """
__version__ = "9.9"
import torchvision.transforms as tvt
from torchvision.models.resnet import BasicBlock, ResNet
class Net(ResNet): pass
"""
DETECTORS = """
import torch
class MaxSoftmax:
    def __init__(self, model): assert model is None
    def predict_logits(self, logits): return -logits.softmax(dim=1).max(dim=1).values
class MaxLogit(MaxSoftmax):
    def predict_logits(self, logits): return -logits.max(dim=1).values
class KNN:
    def __init__(self, encoder): assert encoder is None
    def fit_features(self, z, labels):
        if len(z) < 10: raise ValueError("k=10 exceeds the number of samples\\nmore")
        self.z = z
        return self
    def predict_features(self, z): return torch.cdist(z, self.z).min(dim=1).values
class Mahalanobis(KNN):
    def fit_features(self, z, labels):
        self.z, self.type = z, torch.get_default_dtype()
        return self
    def predict_features(self, z):
        assert z.dtype == self.z.dtype == self.type == torch.float64
        return z[:, 0]
class ViM(KNN):
    def __init__(self, encoder, d, w, b): self.d, self.w, self.b = d, w, b
    def predict_features(self, z): return -torch.logsumexp(z @ self.w.T + self.b, dim=1) + 0 * self.d
class fDBD(KNN):
    def __init__(self, encoder, head): self.head = head
    def predict_features(self, z): return -self.head(z).max(dim=1).values
class ASH:
    def __init__(self, backbone, head): self.head = head
    def fit_feature_maps(self, maps, labels): assert maps.ndim == 4
    def predict_feature_maps(self, maps):
        assert maps.shape[2:] == (1, 1)
        return -self.head(maps).max(dim=1).values
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "pytorch_ood"
    (folder / "detector").mkdir(parents=True)
    (folder / "__init__.py").write_text(INIT, "utf-8")
    (folder / "detector" / "__init__.py").write_text(DETECTORS, "utf-8")
    for name in ("pytorch_ood", "pytorch_ood.detector"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield pytorch_ood(tmp_path)
    for name in ("pytorch_ood", "pytorch_ood.detector"):
        sys.modules.pop(name, None)


def scores(package, network):
    return {score.name: score for score in rival_scores(package, network)}


def test_a_package_that_wants_torchvision_is_imported_and_no_stub_is_left(package, tmp_path):
    assert package.__version__ == "9.9"
    assert not [name for name in sys.modules if name.partition(".")[0] == "torchvision"]
    assert str(tmp_path) not in sys.path
    with pytest.raises(ModuleNotFoundError):
        __import__("torchvision.transforms")


def test_only_torchvision_is_stood_in_for():
    with stand_in(), pytest.raises(ModuleNotFoundError):
        __import__("torch_no_such_thing")


def test_detectors_that_a_version_lacks_are_not_asked_for(package, make_network):
    names = {name.partition(" ")[0] for name in scores(package, make_network(kind="linear"))}
    assert names == {
        f"pytorch-ood:{name}" for name in ("MSP", "MaxLogit", "KNN", "Mahalanobis", "ViM", "ASH", "fDBD")
    }


def test_a_cosine_head_is_temperature_times_cosine_for_every_detector(package, make_network):
    network = make_network()
    found, z = scores(package, network), network.test.embeddings
    cosines = z @ network.head.weight.T / np.linalg.norm(z, axis=1, keepdims=True)
    for name in ("MaxLogit", "ASH", "fDBD"):
        np.testing.assert_allclose(found[f"pytorch-ood:{name}"].test, -32 * cosines.max(axis=1), rtol=1e-5)
    energy = -np.log(np.exp(32 * cosines.astype(np.float64)).sum(axis=1))
    np.testing.assert_allclose(found["pytorch-ood:ViM d=32"].test, energy, rtol=1e-5)


def test_a_linear_head_gets_the_raw_embedding_and_its_bias(package, make_network):
    network = make_network()
    found, head = scores(package, network), network.linear_head
    logits = network.unknown.embeddings @ head.weight.T + head.bias
    for name in ("MaxLogit", "ASH", "fDBD"):
        score = found[f"pytorch-ood:{name} (linear head)"]
        np.testing.assert_allclose(score.unknown, -logits.max(axis=1), rtol=1e-5)
    right = (network.test.embeddings @ head.weight.T).argmax(axis=1) == network.test.labels
    assert score.accuracy == np.mean(right)


def test_detectors_are_fitted_on_the_train_part_alone(package, make_network):
    network = make_network(kind="linear")
    nearest = scores(package, network)["pytorch-ood:KNN"].calibrate
    distances = np.linalg.norm(network.calibrate.embeddings[:, None] - network.train_embeddings[None], axis=2)
    np.testing.assert_allclose(nearest, distances.min(axis=1), rtol=1e-4)


def test_a_detector_that_fails_is_left_out_and_the_others_stay(package, make_network):
    network = make_network(kind="linear")
    few = replace(
        network, train_embeddings=network.train_embeddings[:5], train_labels=network.train_labels[:5]
    )
    found = scores(package, few)
    left = {name: score for name, score in found.items() if isinstance(score, LeftOut)}
    assert set(left) == {
        "pytorch-ood:KNN",
        "pytorch-ood:ViM d=32",
        "pytorch-ood:ViM d=512",
        "pytorch-ood:fDBD",
    }
    assert left["pytorch-ood:KNN"].why == "k=10 exceeds the number of samples"
    assert len(found) == 8


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_ood", None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps --target") as told:
        pytorch_ood(tmp_path)
    assert "--without-pytorch-ood" in str(told.value)
