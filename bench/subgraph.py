"""Parts of a bundle's model.onnx, cut out by tensor name, to be timed beside the whole."""

from typing import Any

from edgeosr.bundle.tensors import LABEL, LOGITS, PIXELS
from edgeosr.errors import BundleError, import_extra

# All that may lie between the logits and the label for the cut to be a plain classifier.
LABEL_OPERATORS = frozenset({"ArgMax", "Cast", "Identity", "Reshape", "Squeeze"})


def front_end(model_bytes: bytes) -> bytes:
    """Return the graph from uint8 frames to the normalised network input ``pixels``."""
    return _cut(model_bytes, [PIXELS])


def plain_classifier(model_bytes: bytes) -> bytes:
    """Return the graph from uint8 frames to ``logits`` and ``label``: the classifier without unknowns.

    Same inputs, same preprocessing, same weights; nothing of the Jacobian norm, the discriminator, the
    losses and the fusion is in it.

    Raises:
        BundleError: a tensor is missing, or the label is made of more than the logits.
    """
    plain = _cut(model_bytes, [LOGITS, LABEL])
    onnx = import_extra("onnx", extra="export", purpose="benchmarking")
    without_label = onnx.load_from_string(_cut(model_bytes, [LOGITS])).graph.node
    known = {name for node in without_label for name in node.output}
    for node in onnx.load_from_string(plain).graph.node:
        if not known.intersection(node.output) and node.op_type not in LABEL_OPERATORS:
            raise BundleError(
                f"the label of model.onnx depends on {node.op_type} node {node.name or node.output[0]!r} "
                "besides the logits, so no plain classifier can be cut out of it; export the bundle again"
            )
    return plain


def _cut(model_bytes: bytes, outputs: list[str]) -> bytes:
    """Return the part of the graph between its own inputs (kept all) and ``outputs``."""
    onnx = import_extra("onnx", extra="export", purpose="benchmarking")
    utils = import_extra("onnx.utils", extra="export", purpose="benchmarking")
    model: Any = onnx.load_from_string(model_bytes)
    present = {name for node in model.graph.node for name in node.output}
    for name in outputs:
        if name not in present:
            raise BundleError(
                f"model.onnx has no tensor named {name!r}, which edgeosr's exports have; "
                "export the bundle again with this version"
            )
    described = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    for name in outputs:
        if name not in described:
            model.graph.value_info.append(onnx.helper.make_empty_tensor_value_info(name))
    inferred = onnx.shape_inference.infer_shapes(model)
    inputs = [value.name for value in model.graph.input]
    part = utils.Extractor(inferred).extract_model(inputs, outputs)
    # Shapes inside are a by-product; the runtime infers its own, exactly as it does for the whole graph.
    del part.graph.value_info[:]
    onnx.checker.check_model(part)
    return bytes(part.SerializeToString())
