"""Turn an edited graph into the bytes of ``model.onnx``: clean, checked, the same for the same input."""

from typing import TYPE_CHECKING, Any

from edgeosr.errors import ExportError, import_extra
from edgeosr.export.graph.left_over import with_nothing_left_over
from edgeosr.export.graph.writer import import_onnx_ir

if TYPE_CHECKING:
    import onnx_ir as ir

# onnxruntime 1.17, the oldest that the runtime accepts, reads IR 9 and opset 20.
IR_VERSION = 9
NEWEST_OPSET = 20
# A protobuf message ends at 2 GiB; external data would make the bundle's graph two files.
LARGEST_MODEL = 2_000_000_000
# Notes on the model that are ours and stay.
OWN_NOTES = "edgeosr."
# How many tangents ride along with every tensor: who runs the graph in batches divides them by it.
TANGENTS_NOTE = "edgeosr.tangents"


def model_bytes(model: "ir.Model", *, title: str = "") -> bytes:
    """Serialise a finished graph.

    What does not belong in it is taken out first, in place: nodes and constants that reach no output, and
    the notes that exporters leave (torch writes source paths of the machine into them). What is computed of
    constants alone is kept as what it makes, because a bundle's reader refuses it (``left_over.py``).

    Args:
        model: the graph; changed in place.
        title: what the model is, for people who open the file; goes into its metadata.

    Returns:
        The ONNX file; equal for equal graphs.

    Raises:
        ExportError: the graph is not valid ONNX, too large, or newer than onnxruntime 1.17 reads.
    """
    ir = import_onnx_ir()
    onnx = import_extra("onnx", extra="export", purpose="writing the graph")
    opset = model.opset_imports.get("", 0)
    if opset > NEWEST_OPSET:
        raise ExportError(
            f"the ONNX opset must be at most {NEWEST_OPSET} (onnxruntime 1.17); got {opset}; "
            "export the classifier again with opset 18"
        )
    remove_unused(model)
    _remove_notes(model, title)
    proto: Any = with_nothing_left_over(ir.to_proto(model))
    if proto.ByteSize() > LARGEST_MODEL:
        raise ExportError(
            f"the graph has {proto.ByteSize()} bytes; at most {LARGEST_MODEL} fit one ONNX file; "
            "use a smaller backbone"
        )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph is not valid ONNX: {error}; this is a bug, please report it") from error
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def remove_unused(model: "ir.Model") -> None:
    """Take out nodes and constants that reach no output, in place."""
    ir = import_onnx_ir()
    kept = {value.name for value in model.graph.inputs}
    for node in reversed(list(model.graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            _let_go(node)
            model.graph.remove(node, safe=True)
    for name, value in list(model.graph.initializers.items()):
        if name not in kept and not value.uses() and not value.is_graph_output():
            del model.graph.initializers[name]
    used = {node.domain for node in ir.traversal.RecursiveGraphIterator(model.graph)} | {""}
    for domain in list(model.opset_imports):
        if domain not in used and not model.functions:
            del model.opset_imports[domain]


def _let_go(node: "ir.Node") -> None:
    """Take the inputs of the nodes in a node's bodies away, or what makes them would stay in the graph."""
    ir = import_onnx_ir()
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in ir.traversal.RecursiveGraphIterator(attribute.value):
                for index in range(len(inner.inputs)):
                    inner.replace_input_with(index, None)


def _remove_notes(model: "ir.Model", title: str) -> None:
    ir = import_onnx_ir()
    from edgeosr import __version__

    graph = model.graph
    for node in ir.traversal.RecursiveGraphIterator(graph):
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None
    for value in [*graph.inputs, *graph.initializers.values()]:
        value.metadata_props.clear()
        value.doc_string = None
    graph.metadata_props.clear()
    graph.doc_string = None
    graph.name = "edgeosr"
    own = {name: text for name, text in model.metadata_props.items() if name.startswith(OWN_NOTES)}
    model.metadata_props.clear()
    model.metadata_props.update(own)
    model.metadata_props["edgeosr.version"] = __version__
    if title:
        model.metadata_props["edgeosr.title"] = title
    model.producer_name = "edgeosr"
    model.producer_version = __version__
    model.domain = None
    model.model_version = None
    model.doc_string = None
    model.ir_version = IR_VERSION


def parse_graph(data: bytes) -> "ir.Model":
    """Return the model of a serialised graph."""
    onnx = import_extra("onnx", extra="export", purpose="editing ONNX graphs")
    from_proto = import_onnx_ir().from_proto
    model: ir.Model = from_proto(onnx.load_model_from_string(data))
    return model


def serialise_graph(model: "ir.Model") -> bytes:
    """Return a graph's bytes, as it is; ``model_bytes`` makes what ships."""
    data: bytes = import_onnx_ir().to_proto(model).SerializeToString()
    return data
