"""Free the batch axis of a classifier that was exported for one image at a time."""

from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.errors import ExportError, import_extra
from edgeosr.export.graph.opset import largest_difference

BATCH = "batch"
_ADVICE = "export the classifier with a dynamic batch axis"


def require_batch(proto: Any, path: Path) -> None:
    """Raise ExportError if the batch size is fixed at more than 1."""
    axis = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if axis.HasField("dim_value") and axis.dim_value > 1:
        raise ExportError(f"the batch size must be open or 1; {path} fixes it at {axis.dim_value}; {_ADVICE}")


def free_batch(proto: Any, path: Path) -> Any:
    """Give the input a symbolic batch axis.

    A batch size of 1 that the exporter froze into Reshape targets is replaced by "as in the input"; whether
    that was right is tested: two images at once must give what they give one by one.

    Args:
        proto: ``onnx.ModelProto`` with inferred shapes and one input, float32 ``[B, 3, H, W]``, B open or 1.
        path: the file, for messages.

    Returns:
        The graph, shapes inferred again, with the batch axis called "batch".

    Raises:
        ExportError: the batch size cannot be freed.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    axis = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if not axis.HasField("dim_value"):
        return proto
    freed = onnx.ModelProto()
    freed.CopyFrom(proto)
    freed.graph.input[0].type.tensor_type.shape.dim[0].dim_param = BATCH
    del freed.graph.value_info[:]
    for value in freed.graph.output:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    _free_reshapes(freed, onnx)
    try:
        freed = onnx.shape_inference.infer_shapes(freed, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"{path} fixes the batch size at 1, and it cannot be freed; {_ADVICE}") from error
    difference = largest_difference(proto, freed, 2)
    if difference is None or difference > 1e-3:
        raise ExportError(f"{path} fixes the batch size at 1, and it cannot be freed; {_ADVICE}")
    return freed


def _free_reshapes(proto: Any, onnx: Any) -> None:
    """Let every Reshape to ``[1, ...]`` copy its first axis from its input (a 0 says that)."""
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants = {node.output[0]: node for node in proto.graph.node if node.op_type == "Constant"}
    for number, node in enumerate(proto.graph.node):
        if node.op_type != "Reshape":
            continue
        name = node.input[1]
        tensor = weights.get(name)
        if tensor is None and name in constants and constants[name].attribute[0].name == "value":
            tensor = constants[name].attribute[0].t
        if tensor is None:
            continue
        target = onnx.numpy_helper.to_array(tensor).copy()
        if target.size < 2 or target[0] != 1:
            continue
        target[0] = 0
        # Each Reshape gets its own: the constant may be shared with a node that means 1.
        own = onnx.numpy_helper.from_array(target.astype(np.int64), f"{name}_free_{number}")
        proto.graph.initializer.append(own)
        node.input[1] = own.name
        kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)
