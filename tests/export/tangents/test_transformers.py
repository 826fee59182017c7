"""Vision transformers as a stranger brings them: torch module, torch's exporter, opset 18, open batch."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeosr.export.tangents.differentiate import add_tangents
from edgeosr.export.torch_export import onnx_bytes_from_backbone

SIDE, CHANNELS, HEADS, WINDOW = 16, 12, 3, 4
DIRECTIONS, STEP = 3, 1e-6


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.out = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x, bias=None):
        batch, length, channels = x.shape
        parts = self.qkv(x).reshape(batch, length, 3, HEADS, channels // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        joined = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out(joined.transpose(1, 2).reshape(batch, length, channels))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)
        self.attention = Attention()
        self.perceptron = nn.Sequential(
            nn.Linear(CHANNELS, 2 * CHANNELS), nn.GELU(), nn.Linear(2 * CHANNELS, CHANNELS)
        )

    def forward(self, x):
        x = x + self.attention(self.first(x))
        return x + self.perceptron(self.second(x))


class VisionTransformer(nn.Module):
    """Patches, class token, position embedding, two blocks; the embedding is the class token's."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, CHANNELS))
        self.position = nn.Parameter(torch.randn(1, 1 + (SIDE // 4) ** 2, CHANNELS))
        self.blocks = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.norm(self.blocks(x))[:, 0]


class ShiftedWindows(nn.Module):
    """A Swin-like block: a cyclic shift, windows, attention with a bias by relative position, a mask."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.attention = Attention()
        self.table = nn.Parameter(torch.randn((2 * WINDOW - 1) ** 2, HEADS))
        places = torch.stack(torch.meshgrid(*[torch.arange(WINDOW)] * 2, indexing="ij")).flatten(1)
        down, right = places[:, :, None] - places[:, None] + WINDOW - 1
        self.register_buffer("index", down * (2 * WINDOW - 1) + right)

    def forward(self, x):
        batch, height, width, channels = x.shape
        rows, columns, shift = height // WINDOW, width // WINDOW, WINDOW // 2
        y = torch.roll(self.norm(x), (-shift, -shift), (1, 2))
        y = y.view(batch, rows, WINDOW, columns, WINDOW, channels).permute(0, 1, 3, 2, 4, 5)
        bias = self.table[self.index.flatten()].view(WINDOW**2, WINDOW**2, HEADS).permute(2, 0, 1)
        y = self.attention(y.reshape(-1, WINDOW**2, channels), bias[None])
        y = y.view(batch, rows, columns, WINDOW, WINDOW, channels).permute(0, 1, 3, 2, 4, 5)
        return x + torch.roll(y.reshape(batch, height, width, channels), (shift, shift), (1, 2))


class Swin(nn.Module):
    """Patches, shifted windows, patch merging, the mean over all places."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, 2, 2)
        self.windows = ShiftedWindows()
        self.merge = nn.Linear(4 * CHANNELS, CHANNELS, bias=False)
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, images):
        x = self.windows(self.patches(images).permute(0, 2, 3, 1))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        return self.norm(self.merge(x)).mean((1, 2))


def tangents_of(network, images, directions, cut="input"):
    """Export the network, add tangents at the cut, run: (embedding [B, D], tangents [K, B, D])."""
    model = ir.from_proto(onnx.load_from_string(onnx_bytes_from_backbone(network, SIDE, SIDE)))
    name = add_tangents(model, cut=cut, embedding="embedding", seeds=directions.astype(np.float32))
    model.graph.outputs.append(next(v for n in model.graph for v in n.outputs if v.name == name))
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": images.astype(np.float32)})


@pytest.mark.parametrize("network", [VisionTransformer, Swin])
def test_a_foreign_transformer_has_the_tangents_that_torch_gives(network):
    torch.manual_seed(0)
    network = network()
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 3, SIDE, SIDE))
    directions = generator.normal(size=(DIRECTIONS, 3, SIDE, SIDE))
    embedding, tangents = tangents_of(network, images, directions)
    with torch.no_grad():
        double, double_images = network.double(), torch.from_numpy(images)
        np.testing.assert_allclose(embedding, double(double_images), rtol=1e-4, atol=1e-5)
        for direction, tangent in zip(directions, tangents, strict=True):
            step = STEP * torch.from_numpy(direction)
            # Forward mode has no fused attention in torch, and float64 makes this exact enough.
            expected = (double(double_images + step) - double(double_images - step)).numpy() / (2 * STEP)
            assert np.linalg.norm(tangent - expected) < 1e-4 * np.linalg.norm(expected)
