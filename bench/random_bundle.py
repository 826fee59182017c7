"""A complete bundle around a network that knows nothing: what it costs does not depend on its weights.

Only for timing. The default of the product is built as an export builds it: closed-form Jacobian norm,
discriminator D-512-256-128-64-1, all score parts, uint8 front end for frames of any size.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeosr import __version__
from edgeosr.bench.device import versions
from edgeosr.bundle.data import DataRecord
from edgeosr.bundle.directory import write_bundle
from edgeosr.bundle.manifest import Manifest
from edgeosr.bundle.network import DiscriminatorRecord, EmbeddingRecord, HeadRecord, JacobianRecord
from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.errors import import_extra
from edgeosr.export.golden import Calibrated, recorded
from edgeosr.export.golden_frames import stored_size
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.torch_export import INPUT_NAME, onnx_bytes_from_backbone
from edgeosr.preprocessing import Preprocessing
from edgeosr.runtime.golden import LEAST_FRAMES, write_golden
from edgeosr.scoring.fusion import float32_values, unfitted_fusion
from edgeosr.scoring.part import TrainFeatures
from edgeosr.scoring.parts import with_constants
from edgeosr.scoring.scorer import Float32, Head
from edgeosr.scoring.scorer_file import write_scorer
from edgeosr.scoring.thresholds import Threshold

HIDDEN = (512, 256, 128, 64, 1)
# As many as the bank has rows at most.
EMBEDDINGS = 256
CLASSES = 10
TEMPERATURE = 32.0
MARGIN = 0.5


def random_classifier(arch: str, size: int, *, seed: int = 0) -> ClassifierGraph:
    """Return ``arch`` with random weights, a cosine head and a discriminator, for ``size`` pixels square.

    Args:
        arch: a name of ``edgeosr.model.catalogue.ARCHITECTURES``.
        size: side of the square network input, pixels.
        seed: of all weights.

    Raises:
        MissingDependencyError: torch or onnx is not installed.
    """
    torch = import_extra("torch", extra="train", purpose="building a network to time")
    from edgeosr.model.catalogue import build_backbone

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(arch, size)
    random = np.random.default_rng(seed)
    dimension = int(backbone.dimension)
    prototypes = random.normal(size=(CLASSES, dimension))
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    return ClassifierGraph(
        graph=onnx_bytes_from_backbone(backbone, size, size),
        input_name=INPUT_NAME,
        embedding=EMBEDDING,
        logits=None,
        dimension=dimension,
        classes=tuple(f"class {i}" for i in range(CLASSES)),
        head=Head(
            kind="cosine",
            weight=prototypes.astype(np.float32),
            bias=np.zeros(CLASSES, np.float32),
            temperature=TEMPERATURE,
            margin=MARGIN,
        ),
        preprocessing=Preprocessing(height=size, width=size),
        layers=_layers(dimension, random),
        default_part="movr_loss",
    )


def write_random_bundle(path: Path, arch: str, size: int, *, seed: int = 0) -> Path:
    """Write a bundle of ``random_classifier`` and return ``path``, a name that ends in ``.edgeosr``.

    Raises:
        MissingDependencyError: torch or onnx is not installed.
    """
    classifier = random_classifier(arch, size, seed=seed)
    random = np.random.default_rng(seed)
    graph = _graph(classifier, random, seed)
    count = len(graph.parts)
    fusion = replace(
        unfitted_fusion(graph.parts),
        weights=float32_values(np.full(count, 1 / count)),
        note="equal weights, fitted on nothing",
    )
    model = graph.model(fusion)
    asked = Calibrated(graph=graph, fusion=fusion, threshold=0.0, frame=None, model=model, any_size=model)
    noise = random.integers(0, 256, (LEAST_FRAMES, *stored_size((size, size)), 3), np.uint8)
    manifest = Manifest(
        name=f"{arch} at {size} px, random weights",
        edgeosr=__version__,
        created="2000-01-01T00:00:00Z",
        classes=classifier.classes,
        preprocessing=classifier.preprocessing,
        frame=None,
        embedding=EmbeddingRecord(classifier.dimension),
        jacobian=JacobianRecord("closed-form", "J_z", graph.with_respect_to),
        head=HeadRecord("cosine", TEMPERATURE, MARGIN),
        discriminator=DiscriminatorRecord((classifier.dimension, *HIDDEN), "nothing: random weights"),
        fusion=fusion,
        threshold=Threshold(
            value=0.0,
            target_false_reject_rate=0.05,
            interval=(0.0, 1.0),
            confidence=0.95,
            groups=1,
            images=1,
            method="none: random weights",
        ),
        data=DataRecord(
            "none", "random weights", classifier.classes, (), None, seed, (0.8, 0.1, 0.1), None, 0.2, {}, {}
        ),
        outliers=None,
        training=None,
        files={},
        versions=versions(),
    )
    files = {
        "model.onnx": model,
        "scorer.npz": write_scorer(graph.fitted(fusion, 0.0)),
        "golden.npz": write_golden(recorded(asked, noise)),
    }
    write_bundle(path, manifest, files)
    return path


def _graph(classifier: ClassifierGraph, random: np.random.Generator, seed: int) -> ScoredGraph:
    """Return the scored graph with every part, those with constants included, of random features."""
    features = TrainFeatures(
        embeddings=np.abs(random.normal(size=(EMBEDDINGS, classifier.dimension))).astype(np.float32),
        labels=np.arange(EMBEDDINGS) % CLASSES,
        classes=CLASSES,
        seed=seed,
        jacobian_squared=np.exp(random.normal(size=EMBEDDINGS)),
    )
    plain = scored_graph(classifier, "closed-form")
    return scored_graph(classifier, "closed-form", constants=with_constants(plain.scorer, features).constants)


def _layers(dimension: int, random: np.random.Generator) -> tuple[tuple[Float32, Float32], ...]:
    sizes = (dimension, *HIDDEN)
    return tuple(
        (
            (random.normal(size=(wide, narrow)) / np.sqrt(narrow)).astype(np.float32),
            np.zeros(wide, np.float32),
        )
        for narrow, wide in itertools.pairwise(sizes)
    )
