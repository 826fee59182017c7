"""A list of a trained protocol: ``train_run``, ``export_run``, and the scores of the exported graph."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeosr.bench.open_set.frozen import plain_head
from edgeosr.bench.open_set.observed import Observed, Side
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.recorded import reopen_parts
from edgeosr.export.export_run import export_run
from edgeosr.export.graph.assemble import model_bytes, parse_graph
from edgeosr.export.graph.writer import find_value
from edgeosr.export.left_out import weighed_in
from edgeosr.export.measure import GraphRunner, Measured
from edgeosr.export.settings import ExportSettings
from edgeosr.run import LAST, RECORD
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train_run import train_run


def run_folder(settings: TrainSettings, folder: Path) -> Path:
    """Return where a run of these settings lies: another recipe is another run."""
    recipe = json.dumps(settings.as_json(), sort_keys=True).encode()
    return folder / f"run-{hashlib.sha256(recipe).hexdigest()[:12]}"


def trained_bundle(settings: TrainSettings, folder: Path, threads: int | None = None) -> Path:
    """Return the bundle of a run of these settings: a finished run is taken, a stopped one goes on.

    Raises:
        UsageError, DataError, TrainingError, ExportError, StorageError: see ``train_run``, ``export_run``.
    """
    out = run_folder(settings, folder)
    # Of a finished run only what is still missing is trained.
    train_run(replace(settings, out=out, resume=(out / LAST).exists() or (out / RECORD).exists()))
    # The export is done again: what it decides by may be newer than the run.
    bundle = out / "list.edgeosr"
    export = ExportSettings(out=bundle, data_root=settings.data_root, parts="all", threads=threads)
    return export_run(out, export).path


def observe_bundle(path: Path, data_root: Path | None = None, threads: int | None = None) -> Observed:
    """Read a bundle's scores off its own graph, for the images that its record names.

    Raises:
        BundleError: the bundle is damaged.
        DataError: its images are missing, changed, or cannot be read.
    """
    bundle = read_bundle(path)
    manifest, scorer = bundle.manifest, bundle_scorer(bundle)
    parts = reopen_parts(manifest.data, data_root)[1]
    runner = GraphRunner(_with_embedding(bundle), extra_outputs=(EMBEDDING,), threads=threads)

    def measured(images: LabelledImages, what: str) -> tuple[Measured, np.ndarray]:
        found, (embeddings,) = runner.measure_with_extras(images, f"scoring the {what} images")
        return found, embeddings

    def side(images: LabelledImages, what: str) -> Side:
        found, embeddings = measured(images, what)
        return Side(
            embeddings=embeddings,
            labels=found.labels,
            groups=found.groups,
            predictions=found.predictions,
            values=found.values,
            scores=found.scores,
        )

    assert parts.unknown_test is not None, "a protocol leaves classes unknown"
    train, embeddings = measured(parts.train, "train")
    # As the frozen protocols have it: rivals that ask for linear logits get those of the same embeddings.
    linear_head = None
    frozen = manifest.training is not None and bool(manifest.training["freeze"])
    if frozen:
        linear_head = plain_head(embeddings, train.labels, len(manifest.classes))
    # Classes that served as outliers are no longer unknown: the record leaves them out.
    unknown = parts.unknown_test.of_classes(manifest.data.unknown)
    return Observed(
        head=scorer.head,
        linear_head=linear_head,
        fusion=manifest.fusion,
        weighed=weighed_in(manifest.left_out, frozen=frozen),
        train_embeddings=embeddings,
        train_labels=train.labels,
        calibrate=side(parts.calibrate, "calibrate"),
        test=side(parts.test, "known test"),
        unknown=side(unknown, "unknown test"),
        threshold=manifest.threshold.value,
        left_out=manifest.left_out,
    )


def _with_embedding(bundle: Bundle) -> bytes:
    """Return the bundle's graph with the embedding as one more output."""
    model = parse_graph(bundle.files["model.onnx"])
    model.graph.outputs.append(find_value(model, EMBEDDING))
    return model_bytes(model)
