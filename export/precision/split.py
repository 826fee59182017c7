"""Cut a scored graph where the fused kernel takes over: the body an engine runs, the tail it does not.

    body    the classifier's input -> map | embedding, tangents | embedding, and logits for an external head
    tail    these tensors, float32 -> label, score, values

Both come from one graph, so body and tail together are that graph.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeosr.bundle.tensors import EMBEDDING, LOGITS, MAP, TANGENTS
from edgeosr.errors import ExportError
from edgeosr.export.graph.assemble import model_bytes, parse_graph, remove_unused
from edgeosr.export.graph.writer import claim_name, find_value, import_onnx_ir
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.scoring_graph import set_fusion
from edgeosr.scoring.fusion import Fusion

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Where a scored graph is cut.

    Attributes:
        ending: see ``edgeosr.bundle.backbone.ENDINGS``.
        logits: the body computes the logits too.
        tensors: the scored graph's names of the outputs, in order.
        outputs: the body's names of them.
    """

    ending: str
    logits: bool
    tensors: tuple[str, ...]
    outputs: tuple[str, ...]


def boundary_of(graph: ScoredGraph) -> Boundary:
    """Return where the kernel takes over."""
    logits = graph.scorer.head.kind == "external"
    extra = (LOGITS,) if logits else ()
    if graph.scorer.closed_form is not None:
        return Boundary(ending=MAP, logits=logits, tensors=(MAP, *extra), outputs=(MAP, *extra))
    if graph.tangents is not None:
        return Boundary(
            ending=TANGENTS,
            logits=logits,
            tensors=(EMBEDDING, graph.tangents, *extra),
            outputs=(EMBEDDING, TANGENTS, *extra),
        )
    return Boundary(ending=EMBEDDING, logits=logits, tensors=(EMBEDDING, *extra), outputs=(EMBEDDING, *extra))


def body_bytes(graph: ScoredGraph) -> bytes:
    """Return the body, float32, as a clean ONNX file; its input keeps its name."""
    model, boundary = parse_graph(graph.core), boundary_of(graph)
    values = [find_value(model, name) for name in boundary.tensors]
    model.graph.outputs[:] = values
    for value, tensor, name, shape in zip(
        values, boundary.tensors, boundary.outputs, _shapes(graph, boundary), strict=True
    ):
        if tensor != name:
            claim_name(model, name, owner=value)
            value.name = name
        value.dtype = import_onnx_ir().DataType.FLOAT
        if value.shape is None or any(not isinstance(size, int) for size in list(value.shape)[1:]):
            value.shape = import_onnx_ir().Shape(shape)
    return model_bytes(model)


def tail_model(graph: ScoredGraph, fusion: Fusion | None = None) -> "ir.Model":
    """Return the tail, float32: the body's outputs in, label, score and values out."""
    model, boundary = parse_graph(graph.core), boundary_of(graph)
    if fusion is not None:
        set_fusion(model, graph.fitted(fusion, 0.0).fusion)
    ir = import_onnx_ir()
    inputs = []
    for tensor, name, shape in zip(boundary.tensors, boundary.outputs, _shapes(graph, boundary), strict=True):
        old = find_value(model, tensor)
        new = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
        ir.convenience.replace_all_uses_with(old, new)
        old.name = f"{tensor}__body"
        inputs.append(new)
    remove_unused(model)
    for value in list(model.graph.inputs):
        if value.uses():
            raise ExportError(
                f"the scoring part reads {value.name!r} past the tensors it is cut at; this is a defect of "
                "edgeosr: please report it, and use --engine onnx"
            )
    model.graph.inputs[:] = inputs
    return model


def _shapes(graph: ScoredGraph, boundary: Boundary) -> list[list[int | str | None]]:
    scorer = graph.scorer
    known: dict[str, list[int | str | None]] = {
        MAP: ["batch", scorer.dimension, "map_height", "map_width"],
        EMBEDDING: ["batch", scorer.dimension],
        TANGENTS: [scorer.probes.K if scorer.probes else None, "batch", scorer.dimension],
        LOGITS: ["batch", scorer.classes],
    }
    return [known[name] for name in boundary.outputs]
