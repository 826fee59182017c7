"""Whole networks as torch exports them: tangents, the exact norm, cuts and the clock."""

import functools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn

from edgeosr.export.tangents.cuts import resolve_cut
from edgeosr.export.tangents.differentiate import add_tangents
from edgeosr.export.tangents.jacobian import add_probe_jacobian
from edgeosr.export.torch_export import onnx_bytes_from_backbone


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, 8, 1),
            nn.ReLU(),
            nn.Conv2d(8, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x):
        return x * self.gate(x)


def inverted_residual(channels, width, kernel, stride, activation):
    """MobileNetV3's block: expand, depthwise, squeeze and excite, project."""
    hidden = 3 * channels
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        activation(),
        nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
        nn.BatchNorm2d(hidden),
        activation(),
        SqueezeExcite(hidden),
        nn.Conv2d(hidden, width, 1, bias=False),
        nn.BatchNorm2d(width),
    )


class Residual(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return x + self.inside(x)


def mobilenet_v3_like():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        Residual(inverted_residual(8, 8, 3, 1, nn.ReLU)),
        inverted_residual(8, 12, 5, 2, nn.Hardswish),
        nn.Conv2d(12, 24, 1, bias=False),
        nn.BatchNorm2d(24),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(24, 16, 1),  # the head is a convolution over one position
        nn.Hardswish(),
        nn.Flatten(),
    )


class ChannelsFirstNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.perceptron = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.scale = nn.Parameter(torch.rand(channels))

    def forward(self, x):
        y = self.perceptron(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.scale * y).permute(0, 3, 1, 2)


def convnext_like():
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        ChannelsFirstNorm(8),
        ConvNextBlock(8),
        ChannelsFirstNorm(8),
        nn.Conv2d(8, 16, 2, 2),
        ConvNextBlock(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(16),
    )


def mixed_pools():
    """Small enough for its whole Jacobian: max-pool, average pool, softplus, transposed convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.ConvTranspose2d(6, 5, 2, 2),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Conv2d(5, 7, 3, padding=1, stride=2),
        nn.SiLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )


# How to build it, None for one of the catalogue, and the side of its images.
NETWORKS = {
    "classifier32": (None, 24),
    "resnet18-32": (None, 16),
    "resnet18": (None, 48),
    "efficientnet-lite0": (None, 64),
    "mobilenet-v3-like": (mobilenet_v3_like, 24),
    "convnext-like": (convnext_like, 32),
    "mixed-pools": (mixed_pools, 8),
}


@pytest.fixture(scope="module")
def exported(exported_backbone, randomised):
    """Return what gives (the torch network, its ONNX file, the side of its images) by name."""

    @functools.cache
    def made(name):
        build, side = NETWORKS[name]
        if build is None:
            return *exported_backbone(name, side), side
        with torch.random.fork_rng():
            torch.manual_seed(0)
            backbone = randomised(build())
        return backbone, onnx_bytes_from_backbone(backbone, side, side), side

    return made


@pytest.fixture
def graph_of(exported):
    return lambda name: ir.from_proto(onnx.load_model_from_string(exported(name)[1]))


def run(model, images, *names):
    """Check the graph and return these tensors of it."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs[:] = [values[name] for name in names]
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": images})


@pytest.mark.parametrize(
    ("name", "directions"),
    # A single direction is written in another layout.
    [
        *((name, 2) for name in NETWORKS),
        ("resnet18-32", 1),
        ("mobilenet-v3-like", 1),
        ("convnext-like", 1),
        ("mixed-pools", 1),
    ],
)
def test_tangents_from_the_input_equal_torch(exported, graph_of, torch_tangent, name, directions):
    backbone, _, side = exported(name)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 3, side, side)).astype(np.float32)
    seeds = rng.standard_normal((directions, 3, side, side)).astype(np.float32)
    model = graph_of(name)
    before = [node.name for node in model.graph]
    tangents = add_tangents(model, cut="input", embedding="embedding", seeds=seeds)
    assert [node.name for node in model.graph][: len(before)] == before
    z, t = run(model, images, "embedding", tangents)
    points = torch.from_numpy(images)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(z), backbone(points), rtol=1e-3, atol=1e-4)
        for seed, got in zip(seeds, t, strict=True):
            moved = torch.from_numpy(seed).expand_as(points).contiguous()
            want = torch_tangent(backbone, (points,), (moved,)).numpy()
            assert np.linalg.norm(got - want) / np.linalg.norm(want) < 1e-4


@pytest.mark.parametrize("cut", ["input", "last-stage", "last-conv"])
def test_with_every_direction_the_norm_is_exact(exported, graph_of, cut):
    backbone, _, side = exported("mixed-pools")
    model = graph_of("mixed-pools")
    tensor = resolve_cut(model, cut, "embedding")
    images = np.random.default_rng(1).standard_normal((2, 3, side, side)).astype(np.float32)
    layer = {"input": 0, "last-stage": 7, "last-conv": 7}[cut]
    with torch.no_grad():
        h = backbone[:layer](torch.from_numpy(images))
    space = h[0].numel()
    # Any orthonormal basis will do; a random one leaves no zeros for a fault to hide in.
    basis, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((space, space)))
    added = add_probe_jacobian(model, cut=tensor, embedding="embedding", directions=basis.astype(np.float32))
    z, squared = run(model, images, "embedding", added.jacobian_squared)
    for index in range(len(images)):
        jacobian = torch.func.jacrev(lambda h: nn.functional.normalize(backbone[layer:](h[None])[0], dim=0))
        want = jacobian(h[index]).norm().item()
        assert np.sqrt(squared[index]) / np.linalg.norm(z[index]) == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "cut", "shape"),
    [
        ("resnet18-32", "last-stage", (256, 4, 4)),
        ("resnet18-32", "last-conv", (512, 2, 2)),
        ("efficientnet-lite0", "last-conv", (320, 2, 2)),
        ("mobilenet-v3-like", "last-conv", (12, 6, 6)),
        ("convnext-like", "last-stage", (8, 8, 8)),
        ("convnext-like", "last-conv", (16, 4, 4)),
    ],
)
def test_named_cuts_lie_where_they_say(exported, graph_of, name, cut, shape):
    model = graph_of(name)
    tensor = resolve_cut(model, cut, "embedding")
    value = next(value for node in model.graph for value in node.outputs if value.name == tensor)
    assert tuple(value.shape)[1:] == shape
    seeds = np.random.default_rng(3).standard_normal((1, *shape)).astype(np.float32)
    tangents = add_tangents(model, cut=tensor, embedding="embedding", seeds=seeds)
    side = exported(name)[2]
    (t,) = run(model, np.ones((3, 3, side, side), np.float32), tangents)
    assert t.shape[:2] == (1, 3)
    assert np.isfinite(t).all() and np.abs(t).max() > 0


def test_what_the_tangents_do_not_need_is_not_written(graph_of):
    model = graph_of("mobilenet-v3-like")
    count = len(model.graph)
    add_tangents(model, cut="input", embedding="embedding", seeds=np.ones((4, 3, 24, 24), np.float32))
    written = list(model.graph)[count:]
    assert all(value.uses() or value.name == "tangents" for node in written for value in node.outputs)
    assert all(value.uses() for name, value in model.graph.initializers.items() if "tangents" in name)
