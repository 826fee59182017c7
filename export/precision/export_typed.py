"""The typed half of an export: type the graph, fit what is asked for anew, pass the gate, record it."""

from dataclasses import dataclass, replace
from pathlib import Path

from edgeosr.bundle.backbone import BackboneRecord
from edgeosr.export.calibrate import SelectFit, fit_on_select, score_select, threshold_on_calibrate
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.gate import decision_gate
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.precision.pixels import calibration_pixels
from edgeosr.export.precision.refused import require_passed
from edgeosr.export.precision.tangent_gain import scaled_tangents
from edgeosr.export.precision.typed import TypedGraph, typed_graph
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import Scorer
from edgeosr.scoring.thresholds import Threshold


@dataclass(frozen=True, kw_only=True)
class TypedExport:
    """``backbone``: the file; ``record``: for the manifest; ``scorer``: what the kernel takes with it."""

    backbone: bytes
    record: BackboneRecord
    scorer: Scorer


def export_typed(
    graph: ScoredGraph,
    probes: Probes | None,
    fit: SelectFit,
    threshold: Threshold,
    portable: bytes,
    parts: CalibrationParts,
    settings: ExportSettings,
    picture: Path,
) -> TypedExport:
    """Make ``backbone.onnx`` in the wanted precision, if its decisions are those of ``model.onnx``.

    Args:
        graph: float32.
        probes: its probes, if it has any.
        fit: of the fusion of ``model.onnx``.
        threshold: of ``model.onnx``.
        portable: ``model.onnx`` for frames of any size.
        parts: the images.
        settings: of the export.
        picture: where the worst images are drawn if the gate fails.

    Raises:
        ExportError: the graph cannot be typed, or the gate failed (the picture is then written).
        DataError, StorageError: images cannot be read, or the picture cannot be written.
    """
    assert settings.precision is not None
    typed = _typed(graph, probes, fit.fusion, parts, settings)
    fusion, limit = _fitted(typed, fit, threshold, parts, settings)
    whole = GraphRunner(typed.whole(fusion), as_typed=True, threads=settings.threads)
    gate = decision_gate(
        GraphRunner(portable, threads=settings.threads),
        whole,
        thresholds=(threshold.value, limit.value),
        known=(parts.select, parts.calibrate),
        unknown=parts.open_select,
        minimum=settings.min_agreement,
        recalibrated=settings.recalibrate,
    )
    other = f"--engine {'fp16' if settings.precision == 'int8' else 'fp32'}"
    require_passed(gate, graph.classifier.classes, settings.precision, settings, picture, instead=(other,))
    scorer = graph.fitted(fusion, limit.value)
    if scorer.probes is not None:
        scorer = replace(scorer, probes=replace(scorer.probes, gain=typed.gain))
    record = BackboneRecord(
        precision=typed.precision,
        ending=typed.boundary.ending,
        logits=typed.boundary.logits,
        dtype=typed.dtype,
        converter=typed.converter,
        fusion=fusion if settings.recalibrate else None,
        threshold=limit if settings.recalibrate else None,
        gate=gate.record,
    )
    return TypedExport(backbone=typed.backbone(settings.frame), record=record, scorer=scorer)


def _typed(
    graph: ScoredGraph,
    probes: Probes | None,
    fusion: Fusion,
    parts: CalibrationParts,
    settings: ExportSettings,
) -> TypedGraph:
    scaled = None
    assert settings.precision is not None
    if probes is not None and settings.precision != "fp32":
        scaled = scaled_tangents(graph, probes, parts.select, threads=settings.threads)
    return typed_graph(
        graph,
        settings.precision,
        scaled=scaled,
        fusion=fusion,
        pixels=lambda: calibration_pixels(parts.train, graph.classifier.preprocessing),
        threads=settings.threads,
    )


def _fitted(
    typed: TypedGraph,
    fit: SelectFit,
    threshold: Threshold,
    parts: CalibrationParts,
    settings: ExportSettings,
) -> tuple[Fusion, Threshold]:
    if not settings.recalibrate:
        return fit.fusion, threshold
    unfitted = GraphRunner(typed.whole(), as_typed=True, threads=settings.threads)
    anew = fit_on_select(
        score_select(unfitted, parts.select, parts.open_select),
        default_part=typed.graph.classifier.default_part,
        parts=typed.graph.parts,
        given=fit.given,
    )
    runner = GraphRunner(typed.whole(anew.fusion), as_typed=True, threads=settings.threads)
    limit, _ = threshold_on_calibrate(runner, parts.calibrate, settings.false_reject_rate)
    return anew.fusion, limit
