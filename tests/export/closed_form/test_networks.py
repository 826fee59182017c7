"""Whole backbones through torch's exporter, against autograd at their last convolution."""

import copy

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeosr.export.closed_form.jacobian import add_closed_form


def last_convolution(backbone, image):
    """Return the 3x3 or 1x1 Conv2d that makes the map: the last one to run that is no shortcut."""
    ran = []
    hooks = [
        module.register_forward_hook(lambda conv, inputs, _: ran.append((conv, inputs[0].shape)))
        for module in backbone.modules()
        if isinstance(module, nn.Conv2d)
    ]
    backbone(image)
    for hook in hooks:
        hook.remove()
    return ran[-1][0]


def exact_norm(backbone, image, weights=None):
    """|sqrt(w) dz/dh|_F / |z| in float64 (w: ones), by autograd through the backbone from the padded h.

    The convolution's input and output are replaced on the fly, so that everything before h, the skip
    included, stays constant.
    """
    conv = last_convolution(backbone, image)
    held = {}
    hook = conv.register_forward_hook(lambda _, inputs, output: held.update(h=inputs[0], y=output))
    backbone(image)
    hook.remove()
    vertical, horizontal = conv.padding
    padded = functional.pad(held["h"], (horizontal, horizontal, vertical, vertical)).detach()

    def embedding(value):
        y = functional.conv2d(value, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
        replacing = conv.register_forward_hook(lambda *_: y)
        try:
            return backbone(image)[0]
        finally:
            replacing.remove()

    torch.testing.assert_close(embedding(padded), backbone(image)[0])
    jacobian = torch.func.jacrev(embedding, chunk_size=64)(padded)
    rows = jacobian.flatten(1).square().sum(1)
    total = rows.sum() if weights is None else (rows * torch.from_numpy(weights)).sum()
    return (total.sqrt() / embedding(padded).norm()).item()


@pytest.mark.parametrize(
    ("arch", "side", "activation", "taps", "weighed"),
    [
        ("classifier32", 24, "leaky_relu", 5, False),
        ("classifier32", 24, "leaky_relu", 5, True),
        ("resnet18-32", 16, "relu", 13, False),
        ("efficientnet-lite0", 64, "clip", 1, False),
    ],
)
def test_norm_in_an_exported_backbone_equals_autograd(
    exported_backbone, arch, side, activation, taps, weighed
):
    backbone, data = exported_backbone(arch, side)
    model = ir.from_proto(onnx.load_model_from_string(data))
    weights = np.random.default_rng(2).uniform(0.1, 3, backbone.dimension) if weighed else None
    added = add_closed_form(model, channel_weights=weights)
    assert added.closed_form.activation == activation
    assert len(added.closed_form.offsets) == taps
    assert added.dimension == backbone.dimension
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs[:] = [values["jacobian_squared"], values["embedding"]]
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    squared, z = session.run(None, {"input": images.numpy()})
    got = np.sqrt(squared) / np.linalg.norm(z, axis=1)
    with torch.no_grad():
        precise = copy.deepcopy(backbone).double()
        exact = [exact_norm(precise, image[None].double(), weights) for image in images]
    np.testing.assert_allclose(got, exact, rtol=1e-5)
