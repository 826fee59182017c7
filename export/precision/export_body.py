"""The body for OpenVINO: make it, run it as the Runtime does, pass the gate, record it.

The ends stay float32: the front end, and all that scores the body's last tensor. So a body can be had in bf16
or int8 without rounding logits, the Jacobian's table and the fusion.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.body import BF16, F32, INT8, BodyRecord
from edgeosr.bundle.tensors import LOGITS, PIXELS
from edgeosr.data.labelled_images import evenly_spaced
from edgeosr.errors import ExportError
from edgeosr.export.graph.assemble import model_bytes, parse_graph
from edgeosr.export.graph.writer import claim_name, find_value
from edgeosr.export.measure import Runner
from edgeosr.export.precision import int8
from edgeosr.export.precision.bf16 import for_bf16
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.precision.pixels import calibration_pixels
from edgeosr.export.precision.portable import Portable
from edgeosr.export.precision.sensitivity import ScoreShift
from edgeosr.export.precision.split import body_bytes, boundary_of
from edgeosr.export.precision.typed import JUDGED_BATCHES
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime.openvino_graph import OpenVinoGraph
from edgeosr.runtime.openvino_module import Core, load_openvino, processor_name, why_not
from edgeosr.runtime.openvino_stages import Body
from edgeosr.scoring.fusion import Fusion

_BF16_OPTIONS = "--precision bf16 --for openvino"
# VNNI multiplies uint8 with int8. The outer layers are a third of the time of a small network; what they do
# to the score is measured like what the others do.
_OPENVINO = int8.Scheme(symmetric=False, outer=True, instead=_BF16_OPTIONS)


@dataclass(frozen=True, kw_only=True)
class BodyExport:
    """``data``: the file; ``record``: for the manifest; ``runner``: of ``model.onnx`` with this body."""

    data: bytes
    record: BodyRecord
    runner: "BodyRunner"


class BodyRunner(Runner):
    """``model.onnx`` with a body on OpenVINO, as the Runtime runs it; gives the logits as an extra output.

    Args:
        model: ``model.onnx`` for frames of any size.
        body: in the place of its network.
        parts: number of score parts.
        fusion: of the score; None: as in the graph.
        tangents: K of them are computed beside each frame.
        threads: of one call; None: see ``OpenVinoGraph``.
    """

    def __init__(
        self,
        model: bytes,
        body: Body,
        *,
        parts: int,
        fusion: Fusion | None = None,
        tangents: int = 0,
        threads: int | None = None,
    ) -> None:
        self._graph = OpenVinoGraph(
            model, parts=parts, threads=threads, body=body, fusion=fusion, expose=(LOGITS,)
        )
        self.tangents = tangents

    def run(self, frames: NDArray[np.uint8], *, bgr: bool = False) -> list[NDArray[Any]]:
        """Score uint8 frames ``[b, h, w, 3]``; returns label, score, values and logits."""
        rows, exposed = self._graph.run_exposed(np.ascontiguousarray(frames), bgr=bgr)
        return [rows.label, rows.score, rows.values, *exposed]


def require_body_here(precision: str | None) -> None:
    """Refuse a body that this processor cannot judge before minutes of work; None: there is none.

    Raises:
        ExportError: it lacks the instructions.
        MissingDependencyError: openvino is missing.
    """
    if precision is None:
        return
    reason = why_not(precision, Core())
    if reason:
        raise ExportError(
            f"--precision {precision} is judged on the processor that exports, and {reason}; export on one "
            "that has them, or leave --precision out: such a machine gains nothing by it"
        )


def export_body(portable: Portable) -> BodyExport:
    """Make ``body.onnx`` in the wanted precision, if its decisions are those of ``model.onnx``.

    Args:
        portable: ``model.onnx``, with ``openvino`` in the settings.

    Raises:
        ExportError: the body cannot be made or run, or the gate failed (the picture is then written).
        InferenceError: OpenVINO cannot run it.
        DataError, StorageError: images cannot be read, or the picture cannot be written.
    """
    graph, settings = portable.graph, portable.settings
    precision, boundary = settings.openvino, boundary_of(graph)
    assert precision is not None
    data, converter = _made(graph, portable.fit.fusion, portable.parts, settings)
    body = Body(model=data, precision=precision, outputs=boundary.outputs)
    probes = graph.scorer.probes

    def runner(fusion: Fusion | None) -> BodyRunner:
        return BodyRunner(
            portable.model,
            body,
            parts=len(graph.parts),
            fusion=fusion,
            tangents=probes.K if probes else 0,
            threads=settings.threads,
        )

    fusion, limit = portable.fitted(runner)
    own_fusion, own_threshold = portable.own(fusion, limit)
    run = runner(own_fusion)
    others = (_BF16_OPTIONS,) if precision == INT8 else ("leave --precision out",)
    gate = portable.gate(run, limit, precision, instead=others)
    openvino = load_openvino()
    record = BodyRecord(
        precision=precision,
        ending=boundary.ending,
        logits=boundary.logits,
        converter=f"{converter}; OpenVINO {str(openvino.__version__).split('-')[0]}",
        processor=processor_name(Core()),
        fusion=own_fusion,
        threshold=own_threshold,
        gate=gate,
    )
    return BodyExport(data=data, record=record, runner=run)


def _made(
    graph: ScoredGraph, fusion: Fusion, parts: CalibrationParts, settings: ExportSettings
) -> tuple[bytes, str]:
    """Return ``body.onnx``, and what made it."""
    body, name = body_bytes(graph), graph.classifier.input_name
    if settings.openvino == F32:
        return _from_pixels(body, name), "as it is"
    batches = list(calibration_pixels(parts.train, graph.classifier.preprocessing))
    if settings.openvino == BF16:
        corrected, layers = for_bf16(body, name, batches, settings.threads)
        return _from_pixels(corrected, name), f"biases of {layers} convolutions corrected for bf16"
    some = np.concatenate([batches[i] for i in evenly_spaced(len(batches), JUDGED_BATCHES)])
    shift = ScoreShift(graph, fusion, body, some, settings.threads)
    made = int8.to_int8(body, name, batches, shift, _OPENVINO)
    return _from_pixels(made.data, name), made.quantiser


def _from_pixels(body: bytes, name: str) -> bytes:
    """Return the body with its input called ``pixels``."""
    model = parse_graph(body)
    value = find_value(model, name)
    if name != PIXELS:
        claim_name(model, PIXELS, owner=value)
        value.name = PIXELS
    return model_bytes(model, title="edgeosr body, for OpenVINO")
