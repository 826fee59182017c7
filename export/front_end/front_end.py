"""The uint8 front end: frames of any size in, the classifier's normalised input out, inside the graph.

Only operators that TensorRT takes are used; ``Resize`` with ``antialias`` is not one of them (TensorRT
refuses it and OpenVINO computes something else without a word).
"""

from typing import TYPE_CHECKING

import numpy as np

from edgeosr.bundle.tensors import CHANNEL_ORDER, FRAMES, PIXELS
from edgeosr.errors import ExportError
from edgeosr.export.front_end.resize import dynamic_resize, fixed_resize
from edgeosr.export.graph.writer import NodeWriter, claim_name, find_value, import_onnx_ir
from edgeosr.preprocessing import Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir


def add_preprocessing(
    model: "ir.Model",
    preprocessing: Preprocessing,
    input_name: str | None = None,
    frame: tuple[int, int] | None = None,
) -> None:
    """Put the front end before a classifier, in place.

    The model then takes ``frames`` (uint8 ``[batch, height, width, 3]``, RGB) and ``channel_order`` (int64
    ``[3]``: [0, 1, 2]; [2, 1, 0] for BGR frames), both required: a back end that builds a default in judges
    BGR frames as RGB. Its former input is the internal tensor ``pixels`` (float32
    ``[batch, 3, preprocessing.height, preprocessing.width]``).

    Args:
        model: a classifier whose input is float32 ``[batch, 3, height, width]``.
        preprocessing: how frames become that input.
        input_name: that input; None: the only one.
        frame: (height, width) of a camera that never changes size, or None for any size. If given, the
            input's shape is fixed and all resampling weights are constants; a frame of the network's own
            size is then not resampled at all.

    Raises:
        ExportError: the input is not what ``preprocessing`` makes, or there is no such input.
    """
    ir = import_onnx_ir()
    old = _classifier_input(model, preprocessing, input_name)
    for name in (FRAMES, CHANNEL_ORDER):
        claim_name(model, name)
    claim_name(model, PIXELS, owner=old)
    batch = old.shape[0] if old.shape is not None and isinstance(old.shape[0], int) else "batch"
    sizes: tuple[int | str, int | str] = frame if frame is not None else ("height", "width")
    frames = ir.Value(name=FRAMES, type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape([batch, *sizes, 3]))
    order = ir.Value(name=CHANNEL_ORDER, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([3]))
    model.graph.inputs.remove(old)
    old.name = f"{PIXELS}__former"
    writer = NodeWriter(model, "preprocessing")
    if frame is None:
        planes = dynamic_resize(writer, frames, preprocessing)
    else:
        planes = fixed_resize(writer, frames, preprocessing, frame)
    pixels = _normalise(writer, planes, order, preprocessing)
    pixels.dtype = ir.DataType.FLOAT
    pixels.shape = ir.Shape([batch, 3, preprocessing.height, preprocessing.width])
    writer.insert_first()
    ir.convenience.replace_all_uses_with(old, pixels)
    for index, output in enumerate(model.graph.outputs):
        if output is old:
            model.graph.outputs[index] = pixels
    model.graph.inputs.insert(0, frames)
    model.graph.inputs.insert(1, order)


def _classifier_input(model: "ir.Model", preprocessing: Preprocessing, name: str | None) -> "ir.Value":
    onnx_ir = import_onnx_ir()
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if name is None and len(inputs) != 1:
        raise ExportError(
            f"the classifier must have one input; got {len(inputs)}: "
            f"{', '.join(str(value.name) for value in inputs) or 'none'}"
        )
    value: ir.Value = inputs[0] if name is None else find_value(model, name)
    if value not in inputs:
        raise ExportError(
            f"{name!r} is not an input of the classifier; its inputs: "
            f"{', '.join(str(item.name) for item in inputs) or 'none'}"
        )
    expected = (3, preprocessing.height, preprocessing.width)
    shape = None if value.shape is None else list(value.shape)
    if value.dtype != onnx_ir.DataType.FLOAT or (
        shape is not None
        and (
            len(shape) != 4
            or any(
                isinstance(got, int) and got != want for got, want in zip(shape[1:], expected, strict=True)
            )
        )
    ):
        raise ExportError(
            f"the classifier's input {value.name!r} must be float32 "
            f"[batch, 3, {expected[1]}, {expected[2]}]; "
            f"got {value.dtype} {value.shape}; pass the size it was trained with"
        )
    return value


def _normalise(
    writer: NodeWriter, planes: "ir.Value", order: "ir.Value", preprocessing: Preprocessing
) -> "ir.Value":
    """Put channels in the network's order and values 0..255 through (value / 255 - mean) / std."""
    mean = np.array(preprocessing.mean, np.float64).reshape(3, 1, 1)
    std = np.array(preprocessing.std, np.float64).reshape(3, 1, 1)
    if preprocessing.color == "bgr":
        mean, std = mean[::-1], std[::-1]
        order = writer.op("Gather", order, writer.constant(np.array([2, 1, 0], np.int64)), axis=0)
    planes = writer.op("Gather", planes, order, axis=1)
    scaled = writer.op("Mul", planes, writer.constant((1 / (255 * std)).astype(np.float32)))
    return writer.op("Add", scaled, writer.constant((-mean / std).astype(np.float32)), name=PIXELS)
