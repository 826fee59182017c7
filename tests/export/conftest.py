"""Backbones as torch exports them, each exported once: it takes seconds.

Torch is imported on use: wrapping a foreign classifier is tested without it too.
"""

import functools

import pytest


@pytest.fixture(scope="session")
def randomised():
    """Return what gives a network's BatchNormalizations statistics as after training, in place.

    Fresh ones would hide a wrong scale.
    """

    import torch
    from torch import nn

    def changed(network, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
                module.weight.data.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
        return network.eval()

    return changed


@pytest.fixture(scope="session")
def exported_backbone(randomised):
    """Return what gives (the torch network, its ONNX file) of an architecture and side; for reading only."""

    import torch

    from edgeosr.export.torch_export import onnx_bytes_from_backbone
    from edgeosr.model.catalogue import build_backbone

    @functools.cache
    def exported(arch, side):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            backbone = randomised(build_backbone(arch, side))
        return backbone, onnx_bytes_from_backbone(backbone, side, side)

    return exported
