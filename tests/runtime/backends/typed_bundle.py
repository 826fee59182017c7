"""Small bundles with a typed backbone, made by the export's own graph code around random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeosr.bundle.backbone import BackboneRecord, GateRecord
from edgeosr.bundle.directory import write_bundle
from edgeosr.bundle.manifest import BACKBONE, Manifest
from edgeosr.bundle.network import EmbeddingRecord, HeadRecord
from edgeosr.data.catalogue import open_image_set
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.golden import Calibrated, recorded
from edgeosr.export.precision.tangent_gain import scaled_tangents
from edgeosr.export.precision.typed import typed_graph
from edgeosr.export.probing import make_probes
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.export.train_features import train_features
from edgeosr.runtime.golden import LEAST_FRAMES, write_golden
from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.runtime.rows import Rows
from edgeosr.scoring.fusion import Fusion, float32_values
from edgeosr.scoring.parts import with_constants
from edgeosr.scoring.scorer import Head
from edgeosr.scoring.scorer_file import write_scorer

SIDE, CHANNELS = 8, 12
HEIGHT, WIDTH = 20, 30
CLASSES = ("zero", "one", "Zwei", "三")
GATE = GateRecord(
    known=900, unknown=100, ties=0, agreement=1.0, labels=1.0, decisions=1.0, minimum=0.995,
    score_distance=(0.001, 0.004), auroc=None, recalibrated=False,
)  # fmt: skip


def sample_frames(count: int = 12, seed: int = 5) -> np.ndarray:
    """Frames of different contrast and colour, so that both decisions and several classes occur."""
    rng = np.random.default_rng(seed)
    cast = rng.uniform(0.1, 1, (count, 1, 1, 3))
    return (rng.integers(0, 256, (count, HEIGHT, WIDTH, 3)) * cast).astype(np.uint8)


def deployed_classifier(path: Path, channels: int = CHANNELS) -> Path:
    """Two convolutions, pooled, with a linear head of random weights, as an ONNX file."""
    rng = np.random.default_rng(3)
    arrays = {
        "first": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "second": rng.normal(0, 0.3, (channels, 8, 3, 3)),
        "head": rng.normal(0, 1, (len(CLASSES), channels)),
        "bias": np.zeros(len(CLASSES)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["y1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["y1"], ["a1"], "relu1"),
        helper.make_node("Conv", ["a1", "second"], ["y2"], "conv2", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["y2"], ["a2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["a2"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "head", "bias"], ["scores"], "gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "deployed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(CLASSES)])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def write_typed_bundle(
    path: Path,
    manifest: Manifest,
    method: str = "closed-form",
    precision: str = "fp16",
    head: str = "external",
    channels: int = CHANNELS,
) -> Path:
    """Write a bundle and return its path.

    Args:
        path: a name that ends in ``.edgeosr``.
        manifest: a sample; what is not of this network stays as it is.
        method: of the Jacobian norm: ``closed-form`` (ends at the map), ``probes`` or ``none``.
        precision: ``fp32`` or ``fp16``.
        head: ``external`` (the engine gives the logits), or ``cosine`` with a discriminator.
        channels: D of its features.
    """
    deployed = deployed_classifier(path.with_suffix(".onnx"), channels)
    classifier = classifier_from_onnx(deployed, CLASSES, ExportSettings())
    if head == "cosine":
        classifier = _with_own_head(classifier, channels)
    probes = None
    if method == "probes":
        probes = make_probes(classifier, K=3, cut="input", family="random", seed=0, images=None)
    bare = scored_graph(classifier, method, probes)
    known = open_image_set("digits").train.of_classes([str(digit) for digit in range(len(CLASSES))])
    features = train_features(bare, known.subset(np.arange(60)), seed=0)
    constants = with_constants(bare.scorer, features).constants
    graph = scored_graph(classifier, method, probes, constants)
    fusion = _fusion(graph)
    model = graph.model(fusion)
    limit = float(np.float32(np.median(_run(graph, model).score)))
    scaled = None
    if probes is not None and precision != "fp32":
        scaled = scaled_tangents(graph, probes, open_image_set("digits").train.subset(np.arange(24)))
    typed = typed_graph(graph, precision, scaled=scaled)
    scorer = graph.fitted(fusion, limit)
    if scorer.probes is not None:
        scorer = replace(scorer, probes=replace(scorer.probes, gain=typed.gain))
    asked = Calibrated(
        graph=graph, fusion=fusion, threshold=limit, frame=(HEIGHT, WIDTH), model=model, any_size=model,
        typed=(typed.backbone(), scorer),
    )  # fmt: skip
    golden = recorded(asked, sample_frames(LEAST_FRAMES, seed=9))
    record = BackboneRecord(
        precision=precision, ending=typed.boundary.ending, logits=typed.boundary.logits, dtype=typed.dtype,
        converter=typed.converter, fusion=None, threshold=None, gate=GATE,
    )  # fmt: skip
    files = {
        "model.onnx": model,
        "scorer.npz": write_scorer(scorer),
        "golden.npz": write_golden(golden),
        BACKBONE: typed.backbone(),
    }
    changed = replace(
        manifest, classes=CLASSES, backbone=record, jacobian=graph.jacobian, fusion=fusion,
        preprocessing=classifier.preprocessing,
        head=HeadRecord(scorer.head.kind, scorer.head.temperature, scorer.head.margin),
        embedding=EmbeddingRecord(graph.scorer.dimension), discriminator=None,
        threshold=replace(manifest.threshold, value=limit),
    )  # fmt: skip
    write_bundle(path, changed, files)
    return path


def _with_own_head(classifier: ClassifierGraph, channels: int) -> ClassifierGraph:
    """The same features with prototypes and a discriminator of random weights, as a training leaves them."""
    rng = np.random.default_rng(4)
    rows = rng.normal(0, 1, (len(CLASSES), channels))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    layers = tuple(
        (rng.normal(0, 0.3, (wide, narrow)).astype(np.float32), np.zeros(wide, np.float32))
        for narrow, wide in ((channels, 16), (16, 1))
    )
    own = Head(
        kind="cosine",
        weight=rows.astype(np.float32),
        bias=np.zeros(len(CLASSES), np.float32),
        temperature=8.0,
    )
    return replace(classifier, logits=None, head=own, layers=layers, default_part="movr_loss")


def _fusion(graph: ScoredGraph) -> Fusion:
    """Standardise each part on sample frames; equal weights."""
    values = _run(graph, graph.model()).values
    spread = values.std(axis=0)
    used = spread > 1e-3
    return Fusion(
        parts=graph.parts,
        means=float32_values(values.mean(axis=0)),
        stds=float32_values(np.where(used, spread, 1.0)),
        weights=float32_values(used / used.sum()),
        note="equal",
    )


def _run(graph: ScoredGraph, model: bytes) -> Rows:
    return OnnxRuntimeGraph(model, parts=len(graph.parts)).run(sample_frames(40, seed=2))
