"""The classifier of a training run, as the exporter needs it."""

from pathlib import Path

import numpy as np

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.export.scored_graph import ClassifierGraph
from edgeosr.export.torch_export import INPUT_NAME, onnx_bytes_from_backbone
from edgeosr.run import read_discriminator, read_run
from edgeosr.scoring.scorer import Head


def classifier_from_run(run: Path) -> ClassifierGraph:
    """Trace a run's backbone, and take its head and its discriminator.

    Args:
        run: the run directory.

    Raises:
        StorageError, DataError: the run cannot be read.
        ExportError: torch cannot trace the backbone.
        MissingDependencyError: torch is not installed.
    """
    from edgeosr.model.classifier import load_classifier

    record = read_run(run)
    network = load_classifier(run)
    cosine = record.model["head"] == "cosine"
    preprocessing = record.preprocessing
    return ClassifierGraph(
        graph=onnx_bytes_from_backbone(network.backbone, preprocessing.height, preprocessing.width),
        input_name=INPUT_NAME,
        embedding=EMBEDDING,
        logits=None,
        dimension=network.dimension,
        classes=tuple(record.data["known"]),
        head=Head(
            kind=record.model["head"],
            weight=network.head_weight.detach().numpy().astype(np.float32),
            bias=network.head_bias.detach().numpy().astype(np.float32),
            temperature=float(record.model["temperature"]) if cosine else 1.0,
            margin=float(record.training["margin"]) if cosine else 0.0,
        ),
        preprocessing=preprocessing,
        layers=read_discriminator(run) or (),
        default_part="movr_loss" if cosine else "max_logit",
    )
