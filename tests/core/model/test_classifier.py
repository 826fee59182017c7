import numpy as np
import pytest
import torch

from edgeosr.model.classifier import Classifier, build_classifier
from edgeosr.verdict import FLOOR


@pytest.fixture
def cosine():
    torch.manual_seed(0)
    return build_classifier("classifier32", 32, 5, "cosine").eval()


def test_cosine_logits_are_cosines_between_z_and_the_prototypes(cosine):
    z = torch.rand(4, 128) * 7
    w = cosine.weight.detach().double().numpy()
    a = z.double().numpy()
    expected = (a @ w.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(w, axis=1)[None]
    np.testing.assert_allclose(cosine.logits(z).detach().numpy(), expected, atol=1e-6)
    torch.testing.assert_close(torch.linalg.vector_norm(cosine.head_weight, dim=1), torch.ones(5))
    assert torch.equal(cosine.head_bias, torch.zeros(5))


def test_an_embedding_of_zero_or_tiny_length_has_finite_cosines(cosine):
    logits = cosine.logits(torch.stack([torch.zeros(128), torch.full((128,), FLOOR / 1000)]))
    assert torch.isfinite(logits).all()
    assert torch.equal(logits[0], torch.zeros(5))


def test_linear_logits_are_affine_and_classifier32_has_no_bias():
    torch.manual_seed(0)
    plain = build_classifier("classifier32", 32, 5, "linear")
    assert plain.bias is None
    biased = build_classifier("resnet18-32", 32, 5, "linear")
    assert biased.bias is not None
    biased.bias.data += torch.arange(5)
    z = torch.rand(3, 512)
    torch.testing.assert_close(biased.logits(z), z @ biased.head_weight.T + biased.head_bias)


def test_the_classifier_is_backbone_then_head(cosine):
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(cosine(images), cosine.logits(cosine.backbone(images)))


def test_the_cosine_head_ignores_the_scale_of_prototypes(cosine):
    z = torch.rand(4, 128)
    before = cosine.logits(z)
    cosine.weight.data *= 3
    torch.testing.assert_close(cosine.logits(z), before)


def test_prototypes_start_at_about_unit_length():
    torch.manual_seed(0)
    classifier = Classifier(build_classifier("classifier32", 32, 2, "cosine").backbone, 50, "cosine")
    lengths = torch.linalg.vector_norm(classifier.weight, dim=1)
    assert 0.8 < lengths.mean().item() < 1.2
