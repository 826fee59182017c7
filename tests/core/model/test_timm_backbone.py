"""The timm adapter against a small double: timm itself needs a torchvision that is not here."""

import sys
import types

import pytest
import torch
from torch import nn

from edgeosr.errors import MissingDependencyError, UsageError
from edgeosr.model.catalogue import build_backbone


class SmallNet(nn.Module):
    """What timm.create_model(..., num_classes=0) gives: pooled features."""

    def __init__(self):
        super().__init__()
        self.num_features = 99  # like MobileNetV3's, not the length of what comes out
        self.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3)}
        self.conv = nn.Conv2d(3, 6, 3, stride=2)

    def forward(self, x):
        if x.shape[-1] == 33:
            raise AssertionError("Input height (33) doesn't match model (64).\nmore")
        return self.conv(x).relu().mean((2, 3))


@pytest.fixture
def timm(monkeypatch):
    double = types.ModuleType("timm")
    double.calls = []
    double.is_model = lambda name: name in double.list_models()
    double.list_models = lambda: ["resnet10t", "mobilenetv2_100"]

    def create_model(name, **options):
        double.calls.append((name, options))
        return SmallNet()

    double.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", double)
    return double


def test_a_timm_model_is_asked_for_without_classifier_and_dropout(timm):
    backbone = build_backbone("timm:resnet10t", 64)
    assert timm.calls == [("resnet10t", {"pretrained": False, "num_classes": 0, "drop_rate": 0.0})]
    assert backbone.dimension == 6
    assert backbone(torch.rand(2, 3, 64, 64)).shape == (2, 6)
    assert backbone.mean is None
    assert backbone.training


def test_pretrained_weights_bring_their_normalisation(timm):
    backbone = build_backbone("timm:resnet10t", 64, pretrained=True)
    assert timm.calls[0][1]["pretrained"] is True
    assert backbone.mean == (0.5, 0.4, 0.3)
    assert backbone.std == (0.1, 0.2, 0.3)


def test_an_unknown_timm_model_is_refused_with_near_names(timm):
    with pytest.raises(UsageError, match="timm has no model 'resnet10'; did you mean 'resnet10t'"):
        build_backbone("timm:resnet10", 64)


def test_an_input_size_the_model_does_not_take_is_refused(timm):
    with pytest.raises(UsageError, match="does not take images of 33 pixels"):
        build_backbone("timm:resnet10t", 33)


def test_a_missing_timm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match="pip install timm"):
        build_backbone("timm:resnet10t", 64)
