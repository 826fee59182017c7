"""The uint8 front end: frames of any size in, the classifier's normalised input out, inside the graph.

Only operators that TensorRT takes are used; ``Resize`` with ``antialias`` is not one of them (TensorRT
refuses it and OpenVINO computes something else without a word).
"""

from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import ExportError
from edgeosr.export.node_writer import NodeWriter, claim_name, find_value, import_onnx_ir
from edgeosr.export.resampling import (
    BLOCK,
    Bands,
    GraphAxis,
    block_count,
    fixed_bands,
    graph_bands,
    resample,
)
from edgeosr.preprocessing import Axis, Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir

FRAMES = "frames"
CHANNEL_ORDER = "channel_order"
PIXELS = "pixels"


def add_preprocessing(
    model: "ir.Model",
    preprocessing: Preprocessing,
    input_name: str | None = None,
    frame: tuple[int, int] | None = None,
) -> None:
    """Put the front end before a classifier, in place.

    The model then takes ``frames`` (uint8 ``[batch, height, width, 3]``, RGB) and the optional
    ``channel_order`` (int64 ``[3]``, default [0, 1, 2]; [2, 1, 0] for BGR frames), and its former input is
    the internal tensor ``pixels`` (float32 ``[batch, 3, preprocessing.height, preprocessing.width]``).

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
    order_default = ir.tensor(np.array([0, 1, 2], np.int64), name=CHANNEL_ORDER)
    order = ir.Value(
        name=CHANNEL_ORDER,
        type=ir.TensorType(ir.DataType.INT64),
        shape=ir.Shape([3]),
        const_value=order_default,
    )
    model.graph.inputs.remove(old)
    old.name = f"{PIXELS}__former"
    writer = NodeWriter(model, "preprocessing")
    planes = _fixed_resize(writer, frames, preprocessing, frame) if frame else None
    if planes is None:
        planes = _dynamic_resize(writer, frames, preprocessing)
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
    model.graph.register_initializer(order)


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


def _fixed_resize(
    writer: NodeWriter, frames: "ir.Value", preprocessing: Preprocessing, frame: tuple[int, int]
) -> "ir.Value":
    """Return float32 ``[batch, 3, height, width]`` in 0..255 for one frame size."""
    image = frames
    is_float = False
    axes = preprocessing.axes(*frame)
    sizes = (preprocessing.height, preprocessing.width)
    copied = [_is_copy(axis, size) for axis, size in zip(axes, sizes, strict=True)]
    kept = [_kept_part(axis, size) for axis, size in zip(axes, frame, strict=True)]
    if not copied[0]:
        kept[0] = (0, frame[0])  # rows outside the crop are never gathered; cutting them off costs a copy
    cut = [number for number in (0, 1) if kept[number] != (0, frame[number])]
    if cut:
        image = writer.op(
            "Slice",
            image,
            *(
                writer.constant(np.array(numbers, np.int64))
                for numbers in (
                    [kept[number][0] for number in cut],
                    [kept[number][1] for number in cut],
                    [number + 1 for number in cut],
                )
            ),
        )
    if not copied[0]:
        bands = fixed_bands(writer, axes[0], sizes[0], frame[0], *kept[0])
        image = resample(writer, image, bands, is_float=False)
        image = _merge_rows(writer, image, bands.rows)
        is_float = True
    if copied[1]:
        image = writer.op("Transpose", image, perm=[0, 3, 1, 2])
        image = image if is_float else writer.op("Cast", image, to=1)
    else:
        bands = fixed_bands(writer, axes[1], sizes[1], frame[1], *kept[1])
        image = _resample_columns(writer, image, bands, is_float=is_float)
    return _cut_surplus(writer, image, preprocessing, copied)


def _kept_part(axis: Axis, frame: int) -> tuple[int, int]:
    """Return the part of the frame that the filter can reach, or exactly what is copied."""
    if axis.extent == axis.length and float(axis.start).is_integer() and axis.offset == 0:
        return int(axis.start), int(axis.start) + axis.length
    support = max(axis.extent / axis.length, 1.0)
    first = int(np.floor(axis.start - support))
    last = int(np.ceil(axis.start + axis.extent + support))
    return max(first, 0), min(last, frame)


def _is_copy(axis: Axis, size: int) -> bool:
    """Return whether the output is a run of the frame's own pixels."""
    return axis.extent == axis.length == size and float(axis.start).is_integer()


def _dynamic_resize(writer: NodeWriter, frames: "ir.Value", preprocessing: Preprocessing) -> "ir.Value":
    """Return float32 ``[batch, 3, height, width]`` in 0..255 for frames of any size."""
    op = writer.op
    shape = op("Shape", frames)
    sizes = [op("Gather", shape, writer.constant(np.array(number, np.int64)), axis=0) for number in (1, 2)]
    axes = _graph_axes(writer, sizes, preprocessing)
    image = frames
    zero = writer.constant(np.array(0, np.float32))
    parts = [(zero, axis.frame) for axis in axes]
    if preprocessing.fit == "crop":
        # Rows outside the crop are never gathered; columns are cut off first, so that nobody casts them.
        axis = axes[1]
        first = op("Max", op("Floor", op("Sub", axis.start, axis.support)), zero)
        last = op("Sub", axis.frame, first)
        ends = [op("Reshape", op("Cast", end, to=7), writer.constant(np.array([1]))) for end in (first, last)]
        image = op("Slice", image, *ends, writer.constant(np.array([2], np.int64)))
        parts[1] = (first, last)
    bands = graph_bands(writer, axes[0], preprocessing.height, *parts[0])
    image = _merge_rows(writer, resample(writer, image, bands, is_float=False), bands.rows)
    bands = graph_bands(writer, axes[1], preprocessing.width, *parts[1])
    image = _resample_columns(writer, image, bands, is_float=True)
    return _cut_surplus(writer, image, preprocessing, [False, False])


def _graph_axes(writer: NodeWriter, sizes: list["ir.Value"], preprocessing: Preprocessing) -> list[GraphAxis]:
    """``Preprocessing.axes`` as nodes: the (vertical, horizontal) mapping from int64 frame sizes."""
    op = writer.op
    lengths = (preprocessing.height, preprocessing.width)

    def number(value: float) -> "ir.Value":
        return writer.constant(np.array(value, np.float32))

    def whole(value: int) -> "ir.Value":
        return writer.constant(np.array(value, np.int64))

    frames = [op("Cast", size, to=1) for size in sizes]
    scales = [op("Div", size, number(length)) for size, length in zip(frames, lengths, strict=True)]
    if preprocessing.fit == "crop":
        scale = op("Mul", op("Min", *scales), number(preprocessing.crop_fraction))
        support = op("Max", scale, number(1))
        starts = [
            op("Mul", op("Sub", size, op("Mul", scale, number(length))), number(0.5))
            for size, length in zip(frames, lengths, strict=True)
        ]
        return [GraphAxis(size, start, scale, support) for size, start in zip(frames, starts, strict=True)]
    if preprocessing.fit == "stretch":
        return [
            GraphAxis(size, number(0), scale, op("Max", scale, number(1)))
            for size, scale in zip(frames, scales, strict=True)
        ]
    # Letterbox: the inner picture's length, round half up in whole numbers, is the network's own on the
    # axis that fills it: there the formula below gives it without a comparison, and Min takes it.
    axes = []
    for mine, other in ((0, 1), (1, 0)):
        twice = op("Mul", sizes[mine], whole(2 * lengths[other]))
        rounded = op("Div", op("Add", twice, sizes[other]), op("Mul", sizes[other], whole(2)))
        length = op("Max", op("Min", rounded, whole(lengths[mine])), whole(1))
        offset = op("Div", op("Sub", whole(lengths[mine]), length), whole(2))
        inner = op("Cast", length, to=1)
        scale = op("Div", frames[mine], inner)
        support = op("Max", scale, number(1))
        axes.append(GraphAxis(frames[mine], number(0), scale, support, op("Cast", offset, to=1), inner))
    return axes


def _merge_rows(writer: NodeWriter, blocks: "ir.Value", rows: int) -> "ir.Value":
    """``[batch, blocks, BLOCK, width * 3]`` -> ``[batch, rows, width, 3]``."""
    return writer.op("Reshape", blocks, writer.constant(np.array([0, rows, -1, 3], np.int64)))


def _resample_columns(writer: NodeWriter, image: "ir.Value", bands: Bands, *, is_float: bool) -> "ir.Value":
    """``[batch, height, width, 3]`` -> float32 ``[batch, 3, height, bands.rows]``.

    Columns become rows first: gathering whole rows of memory beats gathering three bytes at a time.
    """
    image = writer.op("Transpose", image, perm=[0, 2, 3, 1])
    blocks = resample(writer, image, bands, is_float=is_float)
    columns = writer.op("Reshape", blocks, writer.constant(np.array([0, bands.rows, 3, -1], np.int64)))
    return writer.op("Transpose", columns, perm=[0, 2, 3, 1])


def _cut_surplus(
    writer: NodeWriter, planes: "ir.Value", preprocessing: Preprocessing, copied: list[bool]
) -> "ir.Value":
    """Cut off the rows and columns that only filled the last block."""
    sizes = (preprocessing.height, preprocessing.width)
    surplus = [
        number
        for number in (0, 1)
        if not copied[number] and block_count(sizes[number]) * BLOCK != sizes[number]
    ]
    if not surplus:
        return planes
    return writer.op(
        "Slice",
        planes,
        writer.constant(np.zeros(len(surplus), np.int64)),
        writer.constant(np.array([sizes[number] for number in surplus], np.int64)),
        writer.constant(np.array([number + 2 for number in surplus], np.int64)),
    )


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
