"""NVIDIA's own parser and compiler take our graphs: TensorRT-RTX builds engines with no GPU.

Strongly typed, for sm_86, in a process of its own (the parser can end a process). It proves that every
operator parses and compiles as the graph types it; nothing here runs on a GPU.
"""

import json
import subprocess
import sys
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.data.catalogue import open_image_set
from edgeosr.export.precision.pixels import calibration_pixels
from edgeosr.export.precision.tangent_gain import scaled_tangents
from edgeosr.export.precision.typed import typed_graph
from edgeosr.export.probing import make_probes
from edgeosr.export.scored_graph import ClassifierGraph, scored_graph
from edgeosr.export.torch_export import INPUT_NAME, onnx_bytes_from_backbone
from edgeosr.preprocessing import Preprocessing
from edgeosr.scoring.scorer import Head

CLASSES = 4
FRAME = (40, 56)
# Reads JSON lines {path, frame}, answers each with a line of its own; TensorRT prints between them.
COMPILER = """
import json, sys
import tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.ERROR)
def answer(**found):
    print("ANSWER " + json.dumps(found), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(open(asked["path"], "rb").read()):
        answer(error=[parser.get_error(i).desc() for i in range(parser.num_errors)])
        continue
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("frames", *((batch, *asked["frame"], 3) for batch in (1, 1, 4)))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    plan = builder.build_serialized_network(network, config)
    found = [network.get_output(i) for i in range(network.num_outputs)]
    outputs = {tensor.name: str(tensor.dtype) for tensor in found}
    answer(bytes=0 if plan is None else plan.nbytes, outputs=outputs)
"""


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        count, width = x.shape[1:]
        q, k, v = (
            part.reshape(-1, count, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        mixed = torch.softmax(q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5, dim=-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(-1, count, width))
        return x + self.mlp(self.norm2(x))


class SmallVisionTransformer(nn.Module):
    """Patches of 8, a class token, two blocks."""

    dimension = 48

    def __init__(self, side):
        super().__init__()
        self.patches = nn.Conv2d(3, 48, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 48))
        self.places = nn.Parameter(torch.randn(1, 1 + (side // 8) ** 2, 48))
        self.blocks, self.norm = nn.Sequential(Attention(48, 4), Attention(48, 4)), nn.LayerNorm(48)

    def forward(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2)
        token = self.token.expand(patches.shape[0], -1, -1)
        return self.norm(self.blocks(torch.cat([token, patches], dim=1) + self.places))[:, 0]


def classifier(backbone, data, side):
    dimension = int(backbone.dimension)
    random = np.random.default_rng(0)
    weight = random.normal(size=(CLASSES, dimension))
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    layers = ((0.1 * random.normal(size=(1, dimension)).astype(np.float32), np.zeros(1, np.float32)),)
    return ClassifierGraph(
        graph=data,
        input_name=INPUT_NAME,
        embedding=EMBEDDING,
        logits=None,
        dimension=dimension,
        classes=tuple("abcd"),
        head=Head(
            kind="cosine",
            weight=weight.astype(np.float32),
            bias=np.zeros(CLASSES, np.float32),
            temperature=32.0,
            margin=0.5,
        ),
        preprocessing=Preprocessing(height=side, width=side),
        layers=layers,
        default_part="movr_loss",
    )


@cache
def images():
    return open_image_set("digits").train.subset(np.arange(16))


@pytest.fixture(scope="module")
def graph_of(exported_backbone):
    """Return what gives (the scored graph, its probes or None) of a network."""

    @cache
    def transformer(side):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            backbone = SmallVisionTransformer(side).eval()
        return backbone, onnx_bytes_from_backbone(backbone, side, side)

    @cache
    def made(arch, side, probing=None):
        found = transformer(side) if arch == "transformer" else exported_backbone(arch, side)
        wrapped = classifier(*found, side)
        if probing is None:
            return scored_graph(wrapped, "closed-form"), None
        count, cut = probing
        probes = make_probes(wrapped, K=count, cut=cut, family="random", seed=0, images=images())
        return scored_graph(wrapped, "probes", probes), probes

    return made


@pytest.fixture(scope="module")
def compile_in_rtx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rtx")
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )

    def compiled(data, name):
        path = folder / f"{name}.onnx"
        path.write_bytes(data)
        process.stdin.write(json.dumps({"path": str(path), "frame": FRAME}) + "\n")
        process.stdin.flush()
        said = []
        for line in process.stdout:
            if line.startswith("ANSWER "):
                break
            said.append(line)
        else:
            raise AssertionError(f"the compiler died with {process.wait()} on {name}: {''.join(said)}")
        found = json.loads(line.removeprefix("ANSWER "))
        assert found.get("bytes"), found
        return found

    with process:
        yield compiled


NETWORKS = [("classifier32", 24), ("resnet18-32", 16), ("efficientnet-lite0", 64)]
PROBING = [(4, "input"), (1, "last-conv")]


@pytest.mark.parametrize(("arch", "side"), NETWORKS)
def test_the_whole_graph_with_the_closed_form_compiles(graph_of, arch, side, compile_in_rtx):
    graph, _ = graph_of(arch, side)
    found = compile_in_rtx(graph.model(), arch)
    assert set(found["outputs"]) == {"label", "score", "values"}


@pytest.mark.parametrize("probing", PROBING, ids=str)
@pytest.mark.parametrize(("arch", "side"), NETWORKS)
def test_the_whole_graph_with_probes_compiles(graph_of, arch, side, probing, compile_in_rtx):
    graph, _ = graph_of(arch, side, probing)
    compile_in_rtx(graph.model(), f"{arch}-{probing[0]}-{probing[1]}")


@pytest.mark.parametrize("count", [1, 4])
def test_a_vision_transformer_with_probes_compiles(graph_of, count, compile_in_rtx):
    graph, _ = graph_of("transformer", 32, (count, "input"))
    compile_in_rtx(graph.model(), f"transformer-{count}")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("ending", ["map", "tangents"])
@pytest.mark.parametrize(("arch", "side"), NETWORKS)
def test_a_typed_backbone_compiles_and_ends_in_the_kernel_s_type(
    graph_of, arch, side, ending, precision, compile_in_rtx
):
    graph, probes = graph_of(arch, side, None if ending == "map" else (2, "last-conv"))
    typed = typed_graph(
        graph,
        precision,
        scaled=scaled_tangents(graph, probes, images()) if probes and precision != "fp32" else None,
        pixels=lambda: calibration_pixels(images(), graph.classifier.preprocessing),
    )
    found = compile_in_rtx(typed.backbone(), f"{arch}-{ending}-{precision}")
    wanted = "DataType.FLOAT" if precision == "fp32" else "DataType.HALF"
    names = ("map",) if ending == "map" else ("embedding", "tangents")
    assert found["outputs"] == dict.fromkeys(names, wanted)


def test_what_nvidia_s_parser_refuses_is_seen(compile_in_rtx):
    """The gate can fail: MaxPool with indices is valid ONNX that the parser does not take."""
    make, kind = onnx.helper, onnx.TensorProto
    graph = make.make_graph(
        [
            make.make_node("Cast", ["frames"], ["x"], to=kind.FLOAT),
            make.make_node("MaxPool", ["x"], ["y", "indices"], kernel_shape=[2, 2]),
        ],
        "refused",
        [make.make_tensor_value_info("frames", kind.UINT8, ["batch", *FRAME, 3])],
        [
            make.make_tensor_value_info(name, t, None)
            for name, t in (("y", kind.FLOAT), ("indices", kind.INT64))
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(AssertionError, match="outputs for MaxPool"):
        compile_in_rtx(model.SerializeToString(), "refused")
