"""The typed half of an export: type the graph, fit what is asked for anew, pass the gate, record it."""

from dataclasses import dataclass, replace

from edgeosr.bundle.backbone import BackboneRecord
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.precision.pixels import calibration_pixels
from edgeosr.export.precision.portable import Portable
from edgeosr.export.precision.tangent_gain import scaled_tangents
from edgeosr.export.precision.typed import TypedGraph, typed_graph
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class TypedExport:
    """``backbone``: the file; ``record``: for the manifest; ``scorer``: what the kernel takes with it."""

    backbone: bytes
    record: BackboneRecord
    scorer: Scorer


def export_typed(portable: Portable, probes: Probes | None) -> TypedExport:
    """Make ``backbone.onnx`` in the wanted precision, if its decisions are those of ``model.onnx``.

    Args:
        portable: ``model.onnx``, with ``precision`` in the settings.
        probes: its probes, if it has any.

    Raises:
        ExportError: the graph cannot be typed, or the gate failed (the picture is then written).
        DataError, StorageError: images cannot be read, or the picture cannot be written.
    """
    graph, settings = portable.graph, portable.settings
    assert settings.precision is not None
    typed = _typed(graph, probes, portable.fit.fusion, portable.parts, settings)

    def runner(fusion: Fusion | None) -> GraphRunner:
        return GraphRunner(typed.whole(fusion), as_typed=True, threads=settings.threads)

    fusion, limit = portable.fitted(runner)
    other = f"--engine {'fp16' if settings.precision == 'int8' else 'fp32'}"
    gate = portable.gate(runner(fusion), limit, settings.precision, instead=(other,))
    scorer = graph.fitted(fusion, limit.value)
    if scorer.probes is not None:
        scorer = replace(scorer, probes=replace(scorer.probes, gain=typed.gain))
    own_fusion, own_threshold = portable.own(fusion, limit)
    record = BackboneRecord(
        precision=typed.precision,
        ending=typed.boundary.ending,
        logits=typed.boundary.logits,
        dtype=typed.dtype,
        converter=typed.converter,
        fusion=own_fusion,
        threshold=own_threshold,
        gate=gate,
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
