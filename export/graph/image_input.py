"""The image input of a foreign classifier: what may come, and how it becomes three planes, channels first."""

from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.errors import ExportError, import_extra

# Of red, green and blue in a grey picture: ITU-R 601, what Pillow's convert("L") computes.
LUMA = (0.299, 0.587, 0.114)
# Set in the model's notes where its own input is grey.
GREY_NOTE = "edgeosr.grey"
_TO_FIRST, _TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def require_image_input(proto: Any, path: Path, size: tuple[int, int] | None) -> None:
    """Check for one float32 input of images; write ``size`` into it where it leaves height and width open.

    Args:
        proto: ``onnx.ModelProto``; its input may have its channels first or last, three of them or one.
        path: the file, for messages.
        size: (height, width) in pixels, or None.

    Raises:
        ExportError: there is no such input, or its size is open and not given.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    inputs = proto.graph.input
    expected = "a classifier with one image input, float32 [batch, 3, height, width]"
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise ExportError(f"expected {expected}; {path} has {len(inputs)} inputs ({names})")
    tensor = inputs[0].type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
    shape = shape_of(inputs[0])
    got = f"{path} has the input {inputs[0].name!r}, {kind.lower()} {spelled(shape)}"
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise ExportError(
            f"expected {expected}; {got}; pass the float32 graph, without preprocessing of its own: export "
            "it again, or cut its first nodes off with onnx.utils.extract_model"
        )
    channels = _channel_axis(shape)
    if channels is None:
        raise ExportError(
            f"expected {expected}; {got}; edgeosr feeds colour images, channels first or last, or grey ones "
            "of one channel"
        )
    sides = [axis for axis in (1, 2, 3) if axis != channels]
    for axis, given in zip(sides, size or (None, None), strict=True):
        length = shape[axis]
        if isinstance(length, int) and length > 0:
            continue
        if given is None:
            raise ExportError(
                f"expected {expected} of one fixed size; {got}, whose height and width are open; export it "
                "with the size that it was trained for"
            )
        tensor.shape.dim[axis].dim_value = given


def planes_first(proto: Any) -> Any:
    """Give a classifier the input ``[batch, 3, height, width]``, whatever its own is.

    Channels that come last are moved by a Transpose; one that is there for the opposite falls out. A grey
    input is made of the three planes by ``LUMA``, which is right if all three are normalised alike.

    Args:
        proto: ``onnx.ModelProto`` of opset 13 or later whose input ``require_image_input`` took.

    Returns:
        The graph; unchanged if that is its input already.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    shape = shape_of(proto.graph.input[0])
    axis = _channel_axis(shape)
    if axis == 1 and shape[1] == 3:
        return proto
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    graph, make = changed.graph, onnx.helper.make_node
    own = graph.input[0].name
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {own}
    image = _free("image" if own != "image" else "image_planes", taken)
    nodes, value = [], image
    if shape[axis or 1] == 1:
        weight, axes = _free("luma", taken), _free("luma_axes", taken)
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(LUMA, np.float32).reshape(1, 3, 1, 1), weight)
        )
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), axes))
        weighted, grey = _free("weighted", taken), _free("grey", taken)
        nodes.append(make("Mul", [value, weight], [weighted]))
        nodes.append(make("ReduceSum", [weighted, axes], [grey], keepdims=1))
        value = grey
        changed.metadata_props.add(key=GREY_NOTE, value="luma of ITU-R 601")
    if axis == 3 and not _cancelled(graph, own, value):
        nodes.append(make("Transpose", [value], [own], perm=_TO_LAST))
    elif axis == 1:
        nodes.append(make("Identity", [value], [own]))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    height, width = [size for index, size in enumerate(shape) if index not in (0, axis)]
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    planes = onnx.helper.make_tensor_value_info(image, onnx.TensorProto.FLOAT, [None, 3, height, width])
    planes.type.tensor_type.shape.dim[0].CopyFrom(batch)
    graph.input[0].CopyFrom(planes)
    return changed


def shape_of(value: Any) -> list[int | str]:
    """Return an input's or output's dimensions; open ones by name ("?" without one)."""
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    ]


def spelled(shape: list[int | str]) -> str:
    """Return dimensions as people write them."""
    return "[" + ", ".join(str(dim) for dim in shape) + "]"


def _channel_axis(shape: list[int | str]) -> int | None:
    """Return the axis of the channels, 1 or 3; None if the shape is none of an image."""
    if len(shape) != 4:
        return None
    places = ((1, 3), (3, 3), (1, 1), (3, 1))
    return next((axis for axis, channels in places if shape[axis] == channels), None)


def _cancelled(graph: Any, own: str, planes: str) -> bool:
    """Take out Transposes that would turn the planes round again; True if nothing else reads the input."""
    left = any(value.name == own for value in graph.output)
    for node in graph.node:
        if own not in node.input:
            continue
        perm = next((list(each.ints) for each in node.attribute if each.name == "perm"), None)
        if node.op_type == "Transpose" and perm == _TO_FIRST:
            node.op_type, node.input[0] = "Identity", planes
            del node.attribute[:]
        else:
            left = True
    return not left


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
