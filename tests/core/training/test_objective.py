import pytest
import torch
from torch import nn

from edgeosr.model.backbone import Backbone
from edgeosr.model.classifier import Classifier
from edgeosr.training.losses import cross_entropy, movr_loss
from edgeosr.training.objective import Objective


class Recorder(Backbone):
    """A backbone that keeps what it was shown."""

    dimension = 8

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.ReLU())
        self.seen = None

    def forward(self, x):
        self.seen = x.detach().clone()
        return self.net(x)


def objective(rotation_weight, head="cosine"):
    torch.manual_seed(0)
    classifier = Classifier(Recorder(), 3, head)
    return Objective(classifier, temperature=8.0, margin=0.5, rotation_weight=rotation_weight)


def test_without_the_auxiliary_a_step_is_the_plain_loss_at_no_extra_cost():
    images, labels = torch.rand(8, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    plain = objective(0.0)
    loss, correct = plain(images, labels)
    logits = plain.classifier(images)
    expected = movr_loss(logits, labels, temperature=8.0, margin=0.5).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert int(correct) == int((logits.argmax(1) == labels).sum())
    plain(images, labels)
    assert plain.classifier.backbone.seen.shape[0] == 8
    assert plain.rotation is None


def test_the_auxiliary_turns_every_image_once_and_all_four_turns_alike():
    images, labels = torch.rand(8, 3, 4, 4), torch.zeros(8, dtype=torch.int64)
    both = objective(0.1)
    both(images, labels)
    seen = both.classifier.backbone.seen
    assert len(seen) == 8 + 6, "an image turned by nothing is not passed twice"
    assert torch.equal(seen[:8], images)
    turned = {(turn, i) for turn in range(1, 4) for i in range(turn, 8, 4)}
    for turn, i in turned:
        expected = torch.rot90(images[i], turn, (1, 2))
        assert any(torch.equal(extra, expected) for extra in seen[8:]), (turn, i)


def test_the_auxiliary_adds_its_weighted_cross_entropy():
    images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])
    both = objective(0.25)
    total, _ = both(images, labels)
    z = torch.cat([both.classifier.backbone(torch.rot90(images[i : i + 1], i, (2, 3))) for i in range(4)])
    rotation = cross_entropy(both.rotation(z), torch.arange(4)).mean()
    plain = movr_loss(both.classifier(images), labels, temperature=8.0, margin=0.5).mean()
    assert total.item() == pytest.approx((plain + 0.25 * rotation).item(), rel=1e-5)


def test_cross_entropy_goes_with_the_linear_head():
    images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])
    linear = objective(0.0, head="linear")
    loss, _ = linear(images, labels)
    assert loss.item() == pytest.approx(
        cross_entropy(linear.classifier(images), labels).mean().item(), rel=1e-6
    )


def test_embeddings_of_a_frozen_backbone_skip_it():
    frozen = objective(0.0)
    loss, _ = frozen(torch.rand(4, 8), torch.tensor([0, 1, 2, 0]))
    assert torch.isfinite(loss)
    assert frozen.classifier.backbone.seen is None
