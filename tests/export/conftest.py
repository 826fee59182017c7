"""Backbones as torch exports them, each exported once: it takes seconds.

Torch is imported on use: wrapping a foreign classifier is tested without it too.
"""

import functools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


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


@pytest.fixture(scope="session")
def foreign_model():
    """Return what makes a small classifier of 4 classes as others write it: image -> map a -> z -> logits."""

    random = np.random.default_rng(0)
    kernel = random.normal(0, 0.6, (6, 3, 3, 3)).astype(np.float32)
    head = random.normal(0, 2.0, (4, 6)).astype(np.float32)

    def made(
        tail=(),
        outputs=(("logits", ["n", 4]),),
        held=None,
        *,
        opset=17,
        image=("n", 3, 16, 16),
        start=(("Conv", "image kernel", "c", {}),),
        middle=(("GlobalAveragePool", "a", "p", {}), ("Flatten", "p", "z", {})),
        notes=None,
    ):
        """Nodes are (operator, inputs, outputs, attributes); ``start`` makes c, ``middle`` z from a."""
        nodes = [
            *start,
            ("Relu", "c", "a", {}),
            *middle,
            ("Gemm", "z head bias", "logits", {"transB": 1}),
            *tail,
        ]
        held = {"kernel": kernel, "head": head, "bias": np.zeros(4, np.float32), **(held or {})}
        graph = helper.make_graph(
            [
                helper.make_node(kind, given.split(), made.split(), name=f"node_{made.split()[0]}", **more)
                for kind, given, made, more in nodes
            ],
            "foreign",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(image))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.helper.set_model_props(model, notes or {})
        return model

    return made


@pytest.fixture
def saved(tmp_path):
    """Return what writes a model and gives its path."""

    def written(model, name="foreign.onnx"):
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return written
