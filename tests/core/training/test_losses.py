"""The losses against a float64 NumPy oracle written from the paper's formulas, not from our code."""

import numpy as np
import pytest
import torch

from edgeosr.training.losses import cross_entropy, movr_loss


def paper_movr(cosines, labels, temperature, margin):
    """Eq. 2 and 3 of arXiv 2209.11436v2, literally, in float64."""
    s = np.cos(np.arccos(cosines.astype(np.float64)) + margin)
    p = 1 / (1 + np.exp(-temperature * s))
    total = np.zeros(len(labels))
    for i, y in enumerate(labels):
        for k in range(cosines.shape[1]):
            total[i] -= np.log(p[i, k]) if k == y else np.log1p(-p[i, k])
    return total


@pytest.mark.parametrize("classes", [2, 6, 43])
@pytest.mark.parametrize(("temperature", "margin"), [(32.0, 0.5), (32.0, 0.0), (8.0, 0.5), (1.0, 0.1)])
def test_movr_equals_the_papers_formula(classes, temperature, margin):
    rng = np.random.default_rng(classes)
    cosines = rng.uniform(-0.95, 0.95, (50, classes)).astype(np.float32)
    labels = rng.integers(0, classes, 50)
    got = movr_loss(torch.tensor(cosines), torch.tensor(labels), temperature=temperature, margin=margin)
    np.testing.assert_allclose(
        got.numpy(), paper_movr(cosines, labels, temperature, margin), rtol=2e-5, atol=1e-5
    )


def test_the_margin_acts_on_every_class_not_only_on_the_target():
    cosines = np.array([[0.3, 0.2, -0.4]], np.float32)
    labels = np.array([0])
    got = movr_loss(torch.tensor(cosines), torch.tensor(labels), temperature=4.0, margin=0.5).item()
    target_only = paper_movr(cosines, labels, 4.0, 0.0)[0]
    s = np.cos(np.arccos(0.3) + 0.5)
    target_only += np.log1p(np.exp(-4 * s)) - np.log1p(np.exp(-4 * 0.3))
    assert abs(got - target_only) > 0.1


def test_movr_stays_finite_where_the_formula_overflows():
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    loss = movr_loss(cosines, torch.tensor([0, 0, 1]), temperature=1000.0, margin=0.5)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(cosines.grad).all()


def test_movr_gradient_is_that_of_the_formula():
    rng = np.random.default_rng(3)
    values = rng.uniform(-0.9, 0.9, (1, 5))
    labels = np.array([2])
    cosines = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    movr_loss(cosines, torch.tensor(labels), temperature=8.0, margin=0.5).sum().backward()
    for k in range(5):
        up, down = values.copy(), values.copy()
        up[0, k] += 1e-6
        down[0, k] -= 1e-6
        slope = (paper_movr(up, labels, 8.0, 0.5) - paper_movr(down, labels, 8.0, 0.5))[0] / 2e-6
        assert cosines.grad[0, k].item() == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_movr_of_half_precision_cosines_is_computed_in_float32():
    cosines = torch.tensor([[0.5, -0.5]], dtype=torch.bfloat16)
    assert movr_loss(cosines, torch.tensor([0])).dtype == torch.float32


def test_cross_entropy_equals_minus_log_softmax():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, (40, 7))
    labels = rng.integers(0, 7, 40)
    shifted = logits - logits.max(axis=1, keepdims=True)
    expected = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(40), labels]
    got = cross_entropy(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
