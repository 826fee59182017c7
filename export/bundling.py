"""The last step of an export: golden frames, scorer, manifest and bundle."""

import os
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeosr import __version__
from edgeosr.bundle.data import DataRecord, OutliersRecord
from edgeosr.bundle.directory import MANIFEST_NAME, read_manifest, write_bundle
from edgeosr.bundle.left_out import LeftOutRecord
from edgeosr.bundle.manifest import BACKBONE, BODY, Manifest
from edgeosr.bundle.network import DiscriminatorRecord, EmbeddingRecord, HeadRecord
from edgeosr.class_report import ClassReport
from edgeosr.data.outlier_weighing import too_few_to_weigh
from edgeosr.errors import BundleError, StorageError
from edgeosr.export.calibrate import SelectFit
from edgeosr.export.conformal import is_largest
from edgeosr.export.false_accepts_picture import estimate_png
from edgeosr.export.golden import Calibrated, GoldenImages, JudgedBody, golden_verdicts
from edgeosr.export.measure import Measured
from edgeosr.export.precision.export_body import BodyExport
from edgeosr.export.precision.export_typed import TypedExport
from edgeosr.export.report import ExportReport
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.files import storage_errors, write_bytes
from edgeosr.metrics import auroc
from edgeosr.printed import say
from edgeosr.runtime.golden import write_golden
from edgeosr.scoring.scorer_file import write_scorer
from edgeosr.scoring.thresholds import Threshold

PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "openvino", "pillow", "scikit-learn", "torch")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a classifier comes from, for the manifest.

    Attributes:
        name, out: the bundle's name and path.
        data, outliers, training: see ``Manifest``.
        discriminator_selected_by: what chose its epoch, in words; empty without one.
        unknown_outputs: what becomes of outputs that are no known class, in words; empty without any.
    """

    name: str
    out: Path
    data: DataRecord
    outliers: OutliersRecord | None
    training: dict[str, Any] | None
    discriminator_selected_by: str
    unknown_outputs: str = ""


def write_calibrated(
    graph: ScoredGraph,
    fit: SelectFit,
    threshold: Threshold,
    *,
    calibrate: Measured,
    by_class: ClassReport,
    any_size: bytes,
    model: bytes,
    golden_images: GoldenImages,
    settings: ExportSettings,
    provenance: Provenance,
    typed: TypedExport | None = None,
    body: BodyExport | None = None,
    left_out: LeftOutRecord | None = None,
) -> ExportReport:
    """Write the bundle of a calibrated graph.

    Args:
        graph: what was calibrated.
        fit: of the fusion.
        threshold: of the fused score.
        calibrate: the calibrate part as the calibrated graph measured it.
        by_class: figures of each class there.
        any_size: the calibrated graph, for frames of any size.
        model: the graph that ships; ``any_size`` itself, or its twin for one frame size.
        golden_images: what the golden frames are made of.
        settings: of the export.
        provenance: where the classifier comes from.
        typed: the typed half, if one was asked for.
        body: the body for OpenVINO, if one was asked for.
        left_out: what folds of left-out classes said; None without folds.

    Raises:
        ExportError: the graph that ships does not score like the one that was calibrated.
        UsageError, BundleError, StorageError: the bundle cannot be written.
    """
    golden = golden_verdicts(
        Calibrated(
            graph=graph,
            fusion=fit.fusion,
            threshold=threshold.limit,
            frame=settings.frame,
            model=model,
            any_size=any_size,
            typed=None if typed is None else (typed.backbone, typed.scorer),
            body=_judged_body(body, fit, threshold),
            threads=settings.threads,
        ),
        golden_images,
    )
    own = None if body is None else body.record.threshold
    golden = replace(
        golden,
        threshold=threshold.limit,
        body_threshold=None if own is None else own.limit,
        classes=graph.classifier.classes,
        preprocessing=graph.classifier.preprocessing,
    )
    scorer = graph.fitted(fit.fusion, threshold.value, threshold.class_values)
    if typed is not None:
        scorer = typed.scorer
    files = {"model.onnx": model, "scorer.npz": write_scorer(scorer), "golden.npz": write_golden(golden)}
    if typed is not None:
        files[BACKBONE] = typed.backbone
    if body is not None:
        files[BODY] = body.data
    manifest = _manifest(graph, fit, threshold, settings, provenance, typed, left_out)
    manifest = replace(manifest, body=None if body is None else body.record)
    # Whatever cannot be drawn is told before there is a bundle.
    drawn = None
    if left_out is not None and left_out.false_accepts:
        drawn = estimate_png(manifest, left_out)
    replaced = replaced_bundle(provenance.out)
    manifest = write_bundle(provenance.out, manifest, files)
    select_auroc, few, picture = None, "", _picture(provenance.out, drawn)
    if fit.unknown is not None:
        known, unknown = fit.known.groups, fit.unknown.groups
        few = too_few_to_weigh(len(known), len(unknown), known, unknown)
        select_auroc = auroc(fit.fusion.scores(fit.known.values), fit.fusion.scores(fit.unknown.values))
    return ExportReport(
        path=provenance.out,
        manifest=manifest,
        select_accuracy=fit.known.accuracy,
        calibrate_accuracy=calibrate.accuracy,
        by_class=by_class,
        select_auroc=select_auroc,
        too_few_outliers=few,
        threshold_is_largest=is_largest(threshold, calibrate.scores),
        estimate_picture=picture,
        replaced=replaced,
    )


def replaced_bundle(path: Path) -> str:
    """Return what the bundle at ``path`` is, which will be replaced; "" if there is none."""
    if not os.path.isfile(path / MANIFEST_NAME):
        return ""
    try:
        old = read_manifest(path)
    except (BundleError, StorageError):
        return f"a bundle at {path} that could not be read"
    typed = "" if old.backbone is None else f", with a backbone in {old.backbone.precision}"
    body = "" if old.body is None else f", with a body in {old.body.precision}"
    return f"the bundle made {old.created}{typed}{body}; to keep one, write the other with --out"


def _judged_body(body: BodyExport | None, fit: SelectFit, threshold: Threshold) -> JudgedBody | None:
    if body is None:
        return None
    own = body.record.threshold
    limit = threshold.limit if own is None else own.value
    return JudgedBody(runner=body.runner, fusion=body.record.fusion or fit.fusion, threshold=limit)


def _picture(bundle: Path, drawn: bytes | None) -> Path | None:
    """Write the picture beside a finished bundle, or remove one of an older bundle; None without one."""
    path = bundle.with_suffix(".false-accepts.png")
    try:
        with storage_errors("remove", path):
            path.unlink(missing_ok=True)
        if drawn is not None:
            write_bytes(path, drawn)
    except StorageError as error:
        say(f"{bundle} is finished, but not the picture beside it: {error}")
        return None
    return None if drawn is None else path


def _manifest(
    graph: ScoredGraph,
    fit: SelectFit,
    threshold: Threshold,
    settings: ExportSettings,
    provenance: Provenance,
    typed: TypedExport | None,
    left_out: LeftOutRecord | None,
) -> Manifest:
    classifier, scorer, fusion = graph.classifier, graph.scorer, fit.fusion
    discriminator = None
    if scorer.layers:
        sizes = (scorer.dimension, *(len(bias) for _, bias in scorer.layers))
        discriminator = DiscriminatorRecord(sizes, provenance.discriminator_selected_by)
    return Manifest(
        name=provenance.name,
        edgeosr=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        classes=classifier.classes,
        preprocessing=classifier.preprocessing,
        frame=settings.frame,
        embedding=EmbeddingRecord(scorer.dimension),
        jacobian=graph.jacobian,
        backbone=None if typed is None else typed.record,
        head=HeadRecord(scorer.head.kind, scorer.head.temperature, scorer.head.margin),
        discriminator=discriminator,
        fusion=fusion,
        left_out=left_out,
        threshold=threshold,
        data=provenance.data,
        outliers=provenance.outliers,
        training=provenance.training,
        files={},
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {"edgeosr": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
