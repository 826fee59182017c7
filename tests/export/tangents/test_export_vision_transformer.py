"""A vision transformer that edgeosr did not train gets a Jacobian norm: no closed form could give it one."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from torch import nn

from edgeosr import Runtime
from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import read_bundle
from edgeosr.data.catalogue import open_image_set
from edgeosr.errors import UsageError
from edgeosr.export.foreign import export_model as exporting
from edgeosr.export.foreign.export_model import export_model
from edgeosr.export.measure import GraphRunner
from edgeosr.export.settings import ExportSettings
from edgeosr.export.torch_export import onnx_bytes_from_backbone
from edgeosr.preprocessing import Preprocessing
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer_file import read_scorer

SIDE, WIDTH, HEADS = 16, 48, 4
KNOWN = ("0", "1", "2", "3", "4", "5", "6")
MEAN, STD = (0.3, 0.3, 0.3), (0.35, 0.35, 0.35)


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x):
        tokens = x.shape[1]
        q, k, v = (
            part.reshape(-1, tokens, HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        weights = torch.softmax(q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5, dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(-1, tokens, WIDTH))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches of 4, a class token, two blocks; the embedding is the class token after the last norm."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(0.5 * torch.randn(1, 1 + (SIDE // 4) ** 2, WIDTH))
        self.blocks = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2)
        token = self.token.expand(patches.shape[0], -1, -1)
        return self.norm(self.blocks(torch.cat([token, patches], dim=1) + self.places))[:, 0]


@pytest.fixture(scope="module")
def backbone():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = VisionTransformer()
        for block in network.blocks:  # untrained attention is nearly uniform: sharpen it
            block.qkv.weight.data *= 3
    return network.eval()


@pytest.fixture(scope="module")
def deployed(backbone, tmp_path_factory):
    """Its features and a linear head fitted to seven digits, as one ONNX file."""
    images = open_image_set("digits").train.of_classes(KNOWN)
    preprocessing = Preprocessing(height=SIDE, width=SIDE)
    pixels = np.stack([preprocessing.resize(images.read(i)) for i in range(len(images))])
    inputs = ((pixels / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    model = onnx.load_model_from_string(onnx_bytes_from_backbone(backbone, SIDE, SIDE))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"input": inputs})
    head = LogisticRegression(C=1e2, max_iter=500).fit(features, images.labels)
    model.graph.node.append(
        helper.make_node("Gemm", ["embedding", "head_weight", "head_bias"], ["scores"], "head", transB=1)
    )
    for name, array in (("head_weight", head.coef_), ("head_bias", head.intercept_)):
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("scores", 1, ["batch", len(KNOWN)]))
    path = tmp_path_factory.mktemp("vit") / "vit.onnx"
    onnx.save(model, path)
    return path


def settings(**changes):
    given = {"data": "digits", "known": KNOWN, "mean": MEAN, "std": STD, "embedding": "embedding"}
    return ExportSettings(**{**given, "jacobian": "probes", "probes": 3, **changes})


@pytest.fixture(scope="module")
def report(deployed, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:  # a discriminator is not what is tested here
        patch.setattr(exporting, "torch_is_there", lambda: False)
        return export_model(deployed, settings(out=tmp_path_factory.mktemp("out") / "vit.edgeosr"))


def test_its_scores_are_those_of_the_reference_from_torchs_own_derivatives(report, backbone):
    bundle = read_bundle(report.path)
    images = open_image_set("digits").train.of_classes(KNOWN)
    frames = np.stack([images.read(i) for i in range(3)])
    model = onnx.load_model_from_string(bundle.files["model.onnx"])
    names = ("pixels", "embedding", "logits")
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    got = GraphRunner(model.SerializeToString(), extra_outputs=names).run(frames)
    values, pixels, embedding, logits = got[2:]

    from edgeosr.export.tangents.probes import random_directions

    directions = torch.from_numpy(random_directions(3, 768, 0)).double().reshape(3, 3, SIDE, SIDE)
    wide = backbone.double()
    tangents = []
    for image in pixels:
        x = torch.from_numpy(image).double()[None]
        jacobian = torch.autograd.functional.jacobian(lambda h: wide(h)[0], x)[:, 0]
        tangents.append(torch.einsum("dchw,kchw->kd", jacobian, directions).numpy())
    backbone.float()
    expected = reference_scores(
        read_scorer(bundle.files["scorer.npz"]),
        embedding=embedding,
        logits=logits,
        tangents=np.stack(tangents, axis=1),
    )
    np.testing.assert_allclose(values, expected["values"], rtol=1e-4, atol=1e-5)
    with Runtime(report.path) as runtime:
        scores = [verdict.score for verdict in runtime(frames)]
    np.testing.assert_allclose(scores, expected["score"], rtol=1e-4, atol=1e-4)


def test_its_bundle_is_evaluated_on_the_digits_it_does_not_know(report, tmp_path):
    quality = evaluate_bundle(report.path, QualitySettings(out=tmp_path / "evaluation"))
    assert quality.manifest.jacobian.kind == "J_u"
    assert quality.manifest.data.unknown == ("7", "8", "9")
    assert quality.fused.closed_accuracy > 0.6
    jacobian = next(row for row in quality.rows if row.name == "log_jacobian")
    assert 0 < jacobian.metrics.auroc < 1


def test_a_cut_inside_it_is_named_by_its_tensor(deployed, monkeypatch, tmp_path):
    monkeypatch.setattr(exporting, "torch_is_there", lambda: False)
    graph = onnx.load(deployed).graph
    tokens = next(node.output[0] for node in graph.node if node.op_type == "LayerNormalization")
    made = export_model(deployed, settings(cut=tokens, probes=1, out=tmp_path / "inside.edgeosr"))
    assert made.manifest.jacobian.probes is not None
    assert made.manifest.jacobian.probes.n == 17 * WIDTH
    assert tokens in made.manifest.jacobian.with_respect_to


def test_a_wrong_cut_is_answered_with_the_near_names_and_nothing_is_written(deployed, tmp_path):
    with pytest.raises(UsageError, match=r"must lead to the embedding 'embedding'; 'scores' does not"):
        export_model(deployed, settings(cut="scores", out=tmp_path / "no.edgeosr"))
    with pytest.raises(UsageError, match=r"got 'embeding'; did you mean 'embedding'"):
        export_model(deployed, settings(cut="embeding", out=tmp_path / "no.edgeosr"))
    assert not list(tmp_path.iterdir())
