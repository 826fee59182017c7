"""The last step of an export: golden frames, scorer, manifest, bundle, and the report of it all."""

from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from shlex import quote
from typing import Any

from edgeosr import __version__
from edgeosr.bundle.data import DataRecord, OutliersRecord
from edgeosr.bundle.directory import write_bundle
from edgeosr.bundle.left_out import LeftOutRecord
from edgeosr.bundle.manifest import BACKBONE, Manifest
from edgeosr.bundle.network import DiscriminatorRecord, EmbeddingRecord, HeadRecord, JacobianRecord
from edgeosr.errors import StorageError
from edgeosr.export.calibrate import SelectFit
from edgeosr.export.false_accepts_picture import estimate_png
from edgeosr.export.golden import Calibrated, GoldenImages, golden_verdicts
from edgeosr.export.precision.export_typed import TypedExport
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.files import storage_errors, write_bytes
from edgeosr.metrics import auroc
from edgeosr.printed import json_text, say
from edgeosr.runtime.golden import write_golden
from edgeosr.scoring.decides import decides
from edgeosr.scoring.parts import part
from edgeosr.scoring.scorer_file import write_scorer
from edgeosr.scoring.thresholds import Threshold

PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "pillow", "scikit-learn", "torch")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a classifier comes from, for the manifest.

    Attributes:
        name, out: the bundle's name and path.
        data, outliers, training: see ``Manifest``.
        discriminator_selected_by: what chose its epoch, in words; empty without one.
    """

    name: str
    out: Path
    data: DataRecord
    outliers: OutliersRecord | None
    training: dict[str, Any] | None
    discriminator_selected_by: str


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export made.

    Attributes:
        path: the bundle.
        manifest: as written.
        select_accuracy, calibrate_accuracy: closed-set accuracy of the exported graph, 0 to 1.
        select_auroc: of the fused score on the select part against the open validation images, by which its
            weights were chosen (so it flatters); None without such images.
        without_discriminator: the run, if it should have a discriminator whose training was stopped.
        estimate_picture: PNG of the false accepts that left-out classes let expect; None without them, or
            if it could not be written.
    """

    path: Path
    manifest: Manifest
    select_accuracy: float
    calibrate_accuracy: float
    select_auroc: float | None
    without_discriminator: Path | None = None
    estimate_picture: Path | None = None

    def as_json(self) -> str:
        """Return one JSON document."""
        return json_text(
            {
                "kind": "export",
                "bundle": str(self.path),
                "select_accuracy": self.select_accuracy,
                "calibrate_accuracy": self.calibrate_accuracy,
                "select_auroc": self.select_auroc,
                "estimate_picture": None if self.estimate_picture is None else str(self.estimate_picture),
                "manifest": self.manifest.as_json(),
            },
            indent=1,
        )

    def as_text(self) -> str:
        """Return what a user wants to know before trusting the bundle."""
        manifest, threshold = self.manifest, self.manifest.threshold
        low, high = threshold.interval
        lines = [
            f"classes          {len(manifest.classes)}: {_shortened(manifest.classes)}",
            f"closed accuracy  {self.select_accuracy:.1%} select, {self.calibrate_accuracy:.1%} calibrate "
            "(exported graph)",
            f"Jacobian norm    {_jacobian(manifest.jacobian)}",
            f"score parts      {_parts(manifest.parts)}",
            f"decides          {decides(manifest.fusion)} (share of the score; {manifest.fusion.note})",
            *_left_out(manifest.left_out),
            f"threshold        {threshold.value:.4g}, for at most "
            f"{threshold.target_false_reject_rate:.1%} of known "
            f"images rejected\n                 ({threshold.confidence:.0%} interval of that rate: "
            f"{low:.1%} to "
            f"{high:.1%}, from {threshold.groups} independent groups)",
            *_false_accepts(manifest, self.estimate_picture),
        ]
        if self.select_auroc is not None:
            lines.append(
                f"select AUROC     {self.select_auroc:.3f} against the open validation images that chose the "
                "weights; not a test figure"
            )
        if self.without_discriminator is not None:
            again = f"edgeosr train --resume {quote(str(self.without_discriminator))}"
            lines.append(
                "discriminator    none: its training was stopped, or still runs; if it was stopped, add it "
                f"with: {again}, then export again"
            )
        if manifest.backbone is not None:
            lines.append(f"backbone         {manifest.backbone.described()}")
            lines.append(f"decision gate    {manifest.backbone.gate.described()}")
        size = sum(record.bytes for record in manifest.files.values())
        lines.append(f"size             {size / 1e6:.1f} MB in {len(manifest.files)} files")
        return "\n".join(lines)


def write_calibrated(
    graph: ScoredGraph,
    fit: SelectFit,
    threshold: Threshold,
    *,
    calibrate_accuracy: float,
    any_size: bytes,
    model: bytes,
    golden_images: GoldenImages,
    settings: ExportSettings,
    provenance: Provenance,
    typed: TypedExport | None = None,
    left_out: LeftOutRecord | None = None,
) -> ExportReport:
    """Write the bundle of a calibrated graph.

    Args:
        graph: what was calibrated.
        fit: of the fusion.
        threshold: of the fused score.
        calibrate_accuracy: closed-set accuracy on the calibrate part, 0 to 1.
        any_size: the calibrated graph, for frames of any size.
        model: the graph that ships; ``any_size`` itself, or its twin for one frame size.
        golden_images: what the golden frames are made of.
        settings: of the export.
        provenance: where the classifier comes from.
        typed: the typed half, if one was asked for.
        left_out: what folds of left-out classes said; None without folds.

    Raises:
        ExportError: the graph that ships does not score like the one that was calibrated.
        UsageError, BundleError, StorageError: the bundle cannot be written.
    """
    golden = golden_verdicts(
        Calibrated(
            graph=graph,
            fusion=fit.fusion,
            threshold=threshold.value,
            frame=settings.frame,
            model=model,
            any_size=any_size,
            typed=None if typed is None else (typed.backbone, typed.scorer),
            threads=settings.threads,
        ),
        golden_images,
    )
    scorer = graph.fitted(fit.fusion, threshold.value) if typed is None else typed.scorer
    files = {"model.onnx": model, "scorer.npz": write_scorer(scorer), "golden.npz": write_golden(golden)}
    if typed is not None:
        files[BACKBONE] = typed.backbone
    manifest = _manifest(graph, fit, threshold, settings, provenance, typed, left_out)
    # Whatever cannot be drawn is told before there is a bundle.
    drawn = None
    if left_out is not None and left_out.false_accepts:
        drawn = estimate_png(manifest, left_out)
    manifest = write_bundle(provenance.out, manifest, files)
    select_auroc, picture = None, _picture(provenance.out, drawn)
    if fit.unknown is not None:
        select_auroc = auroc(fit.fusion.scores(fit.known.values), fit.fusion.scores(fit.unknown.values))
    return ExportReport(
        path=provenance.out,
        manifest=manifest,
        select_accuracy=fit.known.accuracy,
        calibrate_accuracy=calibrate_accuracy,
        select_auroc=select_auroc,
        estimate_picture=picture,
    )


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


def _jacobian(record: JacobianRecord) -> str:
    if record.method == "none":
        return "none"
    probes = record.probes
    if probes is None:
        return f"{record.kind}, closed form, by {record.with_respect_to}"
    count = f"{probes.K} {probes.family} probe{'s' * (probes.K > 1)}"
    lines = [f"{record.kind}, {count}, by {record.with_respect_to}"]
    if probes.errors:
        tried = ", ".join(f"{error:.2f} ({count})" for count, error in probes.errors)
        lines.append(f"noise of the probes, as a share of log J_u's spread over select images: {tried}")
        aim = probes.largest_error or 0.0
        if probes.errors[-1][1] > aim and probes.n != probes.K:
            lines.append(f"more than the {aim:g} aimed at: a deeper --cut needs fewer probes")
    return "\n                 ".join(lines)


def _parts(names: tuple[str, ...]) -> str:
    width = max(map(len, names), default=0)
    return "\n                 ".join(f"{name:<{width}}  {part(name).title}" for name in names)


def _left_out(record: LeftOutRecord | None) -> list[str]:
    lines = [] if record is None else record.described()
    return [f"{'' if i else 'left-out classes':<16} {line}" for i, line in enumerate(lines)]


def _false_accepts(manifest: Manifest, picture: Path | None) -> list[str]:
    if manifest.left_out is None:
        return []
    rate = manifest.threshold.target_false_reject_rate
    lines = [f"false accepts    {manifest.left_out.false_accepts_described(rate)}"]
    return lines if picture is None else [*lines, f"{'':<16} other rates: {picture}"]


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
