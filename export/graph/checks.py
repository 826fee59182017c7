"""Load a classifier's ONNX file, and refuse with a reason what edgeosr cannot score."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeosr.errors import ExportError, UnsupportedGraphError, import_extra
from edgeosr.export.graph.assemble import remove_unused
from edgeosr.export.graph.branches import refuse_control_flow, without_constant_branches
from edgeosr.export.graph.class_scores import keep_class_scores
from edgeosr.export.graph.free_batch import free_batch, require_batch
from edgeosr.export.graph.image_input import planes_first, require_image_input
from edgeosr.export.graph.newer_opset import IR_VERSION
from edgeosr.export.graph.operators import QUANTISED_GRAPH
from edgeosr.export.graph.opset import NEWEST, converted, require_readable_opset
from edgeosr.export.graph.planes import with_planes_inside
from edgeosr.export.graph.precomputed import with_constants_computed, with_sizes_computed
from edgeosr.export.graph.writer import find_value
from edgeosr.files import storage_errors

if TYPE_CHECKING:
    import onnx_ir as ir

_STANDARD = ("", "ai.onnx")
NOTES = "edgeosr.notes"


def load_classifier_onnx(
    path: Path,
    size: tuple[int, int] | None = None,
    *,
    classes: int | None = None,
    logits: str | None = None,
    embedding: str | None = None,
) -> "ir.Model":
    """Read a float image classifier.

    Functions of the file and branches that are always the same are inlined, an opset that is too old or too
    new is converted, what is computed of constants or of fixed sizes alone becomes a constant, channels that
    come last are moved, a grey input is made of colour planes, a batch size that was frozen into the graph is
    freed, and shapes are inferred. Inputs that are really weights (files of
    IR version 3) are dropped, and so are outputs that cannot be the class scores.

    Args:
        path: an ONNX file that holds its own weights.
        size: (height, width) in pixels for a classifier whose input leaves them open; else ignored.
        classes: how many the scores must be of; None if nobody knows.
        logits: the tensor that is the class scores, an output or an inner one; None to look for it.
        embedding: a tensor that stays in the graph even if the scores do not depend on it.

    Returns:
        A model with one input, float32 ``[batch, 3, height, width]`` with a symbolic batch and fixed height
        and width, one output, float32 ``[batch, C]`` with C >= 2, or several where each can be the class
        scores, and standard operators of opset 13 to 20. Its metadata hold ``GREY_NOTE`` if its own input is
        grey; ``model.meta[NOTES]`` is what is worth telling, a list of sentences.

    Raises:
        StorageError: the file cannot be read.
        ExportError: it is damaged, keeps weights elsewhere, or is no float image classifier.
        UnsupportedGraphError: an operator is not a standard one, or a quantised one; the message names it.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    onnx_ir = import_extra("onnx_ir", extra="export", purpose="reading an ONNX file")
    proto = parse_onnx(path)
    _refuse_external_data(proto, path)
    if proto.functions:
        inliner = import_extra("onnx.inliner", extra="export", purpose="reading an ONNX file")
        proto = inliner.inline_local_functions(proto)
    for node in _nodes(proto.graph):
        _refuse_foreign_operator(node, path)
    _refuse_half_precision(proto, path, onnx)
    opset = require_readable_opset(proto, path)
    _drop_weight_inputs(proto)
    if opset <= NEWEST:  # a newer file format around it holds nothing that is used
        proto.ir_version = min(proto.ir_version, IR_VERSION)
    _open_sizes(proto)
    _check(proto, path, onnx)
    require_image_input(proto, path, size)
    require_batch(proto, path)
    proto = without_constant_branches(proto)
    # Constants are computed after a new opset is converted, for an older onnxruntime computes nothing in it;
    # and before an old one is, for onnx's converter loses shapes that it would have to compute.
    if opset > NEWEST:
        proto = converted(proto, path)
    proto = converted(with_constants_computed(proto), path)
    proto = _inferred(with_planes_inside(planes_first(proto)), path, onnx)
    model: ir.Model = onnx_ir.from_proto(proto)
    notes = keep_class_scores(model, path, classes=classes, named=logits)
    _remove_unused(model, embedding)
    proto = free_batch(_inferred(onnx_ir.to_proto(model), path, onnx), path)
    refuse_control_flow(onnx_ir.from_proto(proto), path)
    with_sizes = with_sizes_computed(proto)
    model = onnx_ir.from_proto(proto if with_sizes is proto else _inferred(with_sizes, path, onnx))
    _remove_unused(model, embedding)
    model.meta[NOTES] = notes
    return model


def parse_onnx(path: Path) -> Any:
    """Return a file's ``onnx.ModelProto``; raises StorageError, or ExportError if it is none."""
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    decode_error = import_extra(
        "google.protobuf.message", extra="export", purpose="reading an ONNX file"
    ).DecodeError
    with storage_errors("read", path):
        data = path.read_bytes()
    try:
        proto = onnx.load_model_from_string(data)
    except decode_error as error:
        raise ExportError(
            f"{path} must be an ONNX file, and cannot be parsed as one ({len(data)} bytes); it is damaged, "
            "cut off, or of another format: export or copy it again"
        ) from error
    if not proto.ir_version or not proto.graph.node:
        raise ExportError(
            f"{path} must be an ONNX file with a graph; it has no nodes: export or copy it again"
        )
    return proto


def _refuse_external_data(proto: Any, path: Path) -> None:
    for tensor in _tensors(proto.graph):
        if tensor.data_location == 1:  # EXTERNAL
            files = sorted({entry.value for entry in tensor.external_data if entry.key == "location"})
            raise ExportError(
                f"{path} keeps weights in other files (tensor {tensor.name!r} in {', '.join(files)}); "
                "edgeosr reads one file only; merge them: "
                f"python -c \"import onnx; onnx.save(onnx.load('{path}'), '{path.stem}-merged.onnx')\""
            )


def _refuse_foreign_operator(node: Any, path: Path) -> None:
    where = f"node {node.name or '(unnamed)'!r} (output {', '.join(node.output)!r}) of {path}"
    if node.domain not in _STANDARD:
        hint = (
            "it was written by an optimiser of onnxruntime: use the graph from before it"
            if node.domain.startswith("com.microsoft")
            else "export the classifier with standard operators"
        )
        raise UnsupportedGraphError(
            f"only standard ONNX operators can be exported; {where} is {node.domain}.{node.op_type}; {hint}"
        )
    if node.op_type in QUANTISED_GRAPH:
        raise UnsupportedGraphError(
            f"a float32 classifier is needed, because thresholds are fitted on what is exported; {where} is "
            f"{node.op_type}, of a quantised graph; pass the graph from before quantisation"
        )


def _refuse_half_precision(proto: Any, path: Path, onnx: Any) -> None:
    halves = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
    for tensor in _tensors(proto.graph):
        if tensor.data_type in halves:
            raise ExportError(
                f"a float32 classifier is needed; {path} holds {halves[tensor.data_type]} values (tensor "
                f"{tensor.name!r}); pass the graph from before the conversion"
            )


def _drop_weight_inputs(proto: Any) -> None:
    """Before IR 4 every initialiser had to be listed as an input; no caller means to replace them."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    images = [value for value in proto.graph.input if value.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(images)
    proto.ir_version = max(proto.ir_version, 8)


def _open_sizes(proto: Any) -> None:
    """Some writers say -1 or 0 for a size that may be any."""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 1:
                dim.Clear()


def _check(proto: Any, path: Path, onnx: Any) -> None:
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"{path} is not a valid ONNX graph: {reason}; export it again") from error


def _remove_unused(model: "ir.Model", embedding: str | None) -> None:
    """Take out what reaches neither an output nor the embedding: it need not even run for every batch."""
    scores = list(model.graph.outputs)
    if embedding is not None:
        model.graph.outputs.append(find_value(model, embedding))
    remove_unused(model)
    model.graph.outputs[:] = scores


def _inferred(proto: Any, path: Path, onnx: Any) -> Any:
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the shapes in {path} do not fit together: {reason}; export it again") from error


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those of subgraphs (If, Loop, Scan) included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _nodes(subgraph)


def _tensors(graph: Any) -> Iterator[Any]:
    """All constants: initialisers, and tensors in attributes, those of subgraphs included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _tensors(subgraph)
