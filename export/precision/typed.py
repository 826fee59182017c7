"""A scored graph in a precision: ``backbone.onnx`` for engines, and the whole typed graph for the CPU.

    backbone      frames -> map | embedding, tangents | embedding (and logits), typed
    whole graph   backbone, then the float32 tail: what the kernel computes from what the engine gives

The front end stays float32 (a uint8 frame has more levels than fp16 has between 0.5 and 1), as do logits of
an external head and everything behind the cut.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import LOGITS, TANGENTS
from edgeosr.data.labelled_images import evenly_spaced
from edgeosr.errors import import_extra
from edgeosr.export.front_end.front_end import add_preprocessing
from edgeosr.export.graph.assemble import TANGENTS_NOTE, model_bytes, parse_graph
from edgeosr.export.graph.opset import raised
from edgeosr.export.graph.writer import NodeWriter, find_value, import_onnx_ir
from edgeosr.export.precision import fp16, int8
from edgeosr.export.precision.sensitivity import ScoreShift
from edgeosr.export.precision.split import Boundary, body_bytes, boundary_of, tail_model
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.scoring.fusion import Fusion

if TYPE_CHECKING:
    import onnx_ir as ir

Pixels = Callable[[], Iterator[NDArray[np.float32]]]
_TAIL = "tail/"
# Batches of the calibration images on which int8 is judged, layer by layer.
JUDGED_BATCHES = 4


@dataclass(frozen=True, kw_only=True)
class TypedGraph:
    """A scored graph in one precision.

    Attributes:
        graph: the float32 graph it was made from.
        precision: ``fp32``, ``fp16`` or ``int8``.
        boundary: where body and tail meet.
        dtype: ``float16`` or ``float32``, of the body's outputs, logits apart.
        converter: what typed it, in words.
        gain: the tangents are this power of two times the true ones; 1 without probes.
        body: the typed body, serialised.
    """

    graph: ScoredGraph
    precision: str
    boundary: Boundary
    dtype: str
    converter: str
    gain: float
    body: bytes

    def backbone(self, frame: tuple[int, int] | None = None) -> bytes:
        """Return ``backbone.onnx``: inputs ``frames`` and ``channel_order``, see ``BackboneRecord``.

        Args:
            frame: (height, width) of a camera that never changes size, or None for any size.
        """
        return model_bytes(self._with_front_end(frame), title=f"edgeosr backbone, {self.precision}")

    def whole(self, fusion: Fusion | None = None) -> bytes:
        """Return the typed graph from frames to label, score and values, for onnxruntime on the CPU."""
        onnx = import_extra("onnx", extra="export", purpose="joining the typed graph")
        to_proto = import_onnx_ir().to_proto
        body = to_proto(self._with_front_end(None))
        tail_ir = tail_model(self.graph, fusion)
        _read_typed(tail_ir, self)
        tail = to_proto(tail_ir)
        tail = onnx.compose.add_prefix(tail, _TAIL, rename_outputs=False)
        if self.precision == "int8":
            tail = raised(tail, int8.OPSET, int8.IR_VERSION)
        tail.ir_version = body.ir_version
        joined = onnx.compose.merge_models(
            body, tail, io_map=[(name, _TAIL + name) for name in self.boundary.outputs]
        )
        model: ir.Model = import_onnx_ir().from_proto(joined)
        if self.graph.scorer.probes is not None:
            model.metadata_props[TANGENTS_NOTE] = str(self.graph.scorer.probes.K)
        return model_bytes(model)

    def _with_front_end(self, frame: tuple[int, int] | None) -> "ir.Model":
        model = parse_graph(self.body)
        classifier = self.graph.classifier
        _float32_input(model, classifier.input_name)
        _typed_outputs(model, self)
        add_preprocessing(model, classifier.preprocessing, f"{classifier.input_name}__pixels", frame)
        return model


def typed_graph(
    graph: ScoredGraph,
    precision: str,
    *,
    pixels: Pixels | None = None,
    fusion: Fusion | None = None,
    scaled: "Scaled | None" = None,
    threads: int | None = None,
) -> TypedGraph:
    """Type a scored graph.

    Args:
        graph: float32.
        precision: ``fp32``, ``fp16`` or ``int8``.
        pixels: makes batches of normalised training images, for ``int8``.
        fusion: of the score by which ``int8`` chooses its layers; None: it takes all.
        scaled: the same graph with scaled tangents, for probes in fp16 or int8.
        threads: of onnxruntime; None for what suits the graph. (Its calibration for int8 takes no such
            option.)

    Raises:
        ExportError: the graph cannot be had in this precision; says why and what to do.
    """
    source = graph if scaled is None else scaled.graph
    body = body_bytes(source)
    converter = "none"
    if precision == "fp16":
        body, converter = fp16.to_fp16(body), fp16.converter_name()
    elif precision == "int8":
        assert pixels is not None
        batches = list(pixels())
        shift = None
        if fusion is not None:
            some = [batches[i] for i in evenly_spaced(len(batches), JUDGED_BATCHES)]
            shift = ScoreShift(source, fusion, body, np.concatenate(some), threads)
        made = int8.to_int8(body, graph.classifier.input_name, batches, shift)
        body, converter = made.with_fp16(), made.converter
    return TypedGraph(
        graph=graph,
        precision=precision,
        boundary=boundary_of(graph),
        dtype="float32" if precision == "fp32" else "float16",
        converter=converter,
        gain=1.0 if scaled is None else scaled.gain,
        body=body,
    )


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """``graph`` has ``gain`` times the tangents of the graph it stands for."""

    graph: ScoredGraph
    gain: float


def _float32_input(model: "ir.Model", name: str) -> None:
    """Give the body a float32 input ``NAME__pixels``, cast to what the body takes."""
    ir = import_onnx_ir()
    old: Any = find_value(model, name)
    new = ir.Value(name=f"{name}__pixels", type=ir.TensorType(ir.DataType.FLOAT), shape=old.shape)
    model.graph.inputs[model.graph.inputs.index(old)] = new
    if old.dtype == ir.DataType.FLOAT:
        ir.convenience.replace_all_uses_with(old, new)
        return
    writer = NodeWriter(model, "typed_input")
    typed = writer.op("Cast", new, to=old.dtype.value)
    typed.dtype, typed.shape = old.dtype, old.shape
    ir.convenience.replace_all_uses_with(old, typed)
    writer.insert_first()


def _typed_outputs(model: "ir.Model", typed: TypedGraph) -> None:
    """Cast outputs that are not yet of the type that the kernel takes; names stay."""
    ir = import_onnx_ir()
    writer = NodeWriter(model, "typed_output")
    outputs = []
    for value in list(model.graph.outputs):
        name = value.name
        wanted = "float32" if name == LOGITS else typed.dtype
        dtype = ir.DataType.FLOAT16 if wanted == "float16" else ir.DataType.FLOAT
        if value.dtype == dtype:
            outputs.append(value)
            continue
        value.name = f"{name}__body"
        cast = writer.op("Cast", value, to=dtype.value, name=name)
        cast.dtype, cast.shape = dtype, value.shape
        outputs.append(cast)
    writer.append()
    model.graph.outputs[:] = outputs


def _read_typed(tail: "ir.Model", typed: TypedGraph) -> None:
    """Let the tail read what the body gives: cast to float32, and the tangents' gain taken out."""
    ir = import_onnx_ir()
    writer = NodeWriter(tail, "typed_tail")
    for value in list(tail.graph.inputs):
        name = value.name
        plain: Any = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=value.shape)
        if typed.dtype == "float16" and name != LOGITS:
            plain.dtype = ir.DataType.FLOAT16
        tail.graph.inputs[tail.graph.inputs.index(value)] = plain
        value.name = f"{name}__typed"
        read = plain
        if plain.dtype != ir.DataType.FLOAT:
            # onnxruntime computes fp16 nodes in float32 and rounds behind them; a Cast alone would be taken
            # out with that rounding, and the tail would read what no engine gives. A copy in fp16 stays.
            rounded = writer.op("Concat", plain, axis=0)
            read = writer.op("Cast", rounded, to=ir.DataType.FLOAT.value)
        if name == TANGENTS and typed.gain != 1.0:
            read = writer.op("Mul", read, writer.constant(np.array(1 / typed.gain, np.float32)))
        ir.convenience.replace_all_uses_with(value, read)
    writer.insert_first()
