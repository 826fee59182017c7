"""Type a float32 body as int8: explicit Q/DQ around its convolutions and matrix products.

Symmetric (every zero point is 0, as TensorRT wants), weights per output channel, activations by calibration
on real training images. What lies between stays float32, and so do the first layer, which sees the pixels,
and the last ones, which make what is scored: on CIFAR-10 (classifier32, 1,000 validation images) the same
accept or reject was then said of 99.2 % of the images, with them of 98.7 %. Nodes that make tangents stay
too: their range depends on the probe, not on the image.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import ExportError, import_extra

QUANTISED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Axis of the output channels in each weight.
_CHANNELS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": 1}
TANGENT_PREFIX = "tangents"
# The share of values that the range of an activation keeps: a single outlier would cost all others bits.
PERCENTILE = 99.99


def to_int8(body: bytes, input_name: str, pixels: Iterator[NDArray[np.float32]]) -> bytes:
    """Return the body with Q/DQ pairs.

    Args:
        body: float32 graph.
        input_name: its input.
        pixels: batches of normalised training images, float32 ``[b, 3, h, w]``.

    Raises:
        ExportError: nothing in it can be quantised.
    """
    quantization = import_extra("onnxruntime.quantization", extra="export", purpose="quantising the backbone")
    onnx = import_extra("onnx", extra="export", purpose="quantising the backbone")

    batches = list(pixels)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """Gives one batch a round: all activations of all images at once would be gigabytes."""

        def __init__(self) -> None:
            self.next, self.end = 0, len(batches)

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.next, self.end = start_index, end_index

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            if self.next >= self.end:
                return None
            self.next += 1
            return {input_name: batches[self.next - 1]}

    with tempfile.TemporaryDirectory(prefix="edgeosr-int8-") as folder:
        plain, prepared, quantised = (
            Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantised")
        )
        # From a file: a model in memory would be written with external data, which shape inference refuses.
        plain.write_bytes(body)
        quantization.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        model = onnx.load_model(str(prepared))
        tangents = [node.name for node in model.graph.node if node.name.startswith(TANGENT_PREFIX)]
        layers = [node.name for node in model.graph.node if node.op_type in QUANTISED]
        layers = [name for name in layers if name not in set(tangents)]
        outer = {*layers[:1], *_last_layers(model.graph)}
        excluded = [*tangents, *outer]
        if set(layers) <= outer:
            raise ExportError(
                f"of the backbone's {len(layers)} convolutions and matrix products the first and the last "
                "stay as they are: none is left to quantise; export with --engine fp16"
            )
        # It prints what it does; the progress bar says enough.
        with contextlib.redirect_stdout(io.StringIO()):
            quantization.quantize_static(
                str(prepared),
                str(quantised),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=excluded,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "CalibPercentile": PERCENTILE,
                    "CalibStridedMinMax": 1,  # for histograms too, whatever its name says
                    "QDQOpTypePerChannelSupportToAxis": _CHANNELS,
                },
            )
        data = quantised.read_bytes()
    _require_symmetric(onnx, data)
    return data


def _last_layers(graph: Any) -> set[str]:
    """Return the names of the layers behind which no other follows."""
    makers = {output: node for node in graph.node for output in node.output}
    found, seen = set(), set()
    waiting = [output.name for output in graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or id(node) in seen or node.name.startswith(TANGENT_PREFIX):
            continue
        seen.add(id(node))
        if node.op_type in QUANTISED:
            found.add(node.name)
        else:
            waiting.extend(node.input)
    return found


def _require_symmetric(onnx: Any, data: bytes) -> None:
    """TensorRT refuses zero points that are not zero, long after the export."""
    model = onnx.load_model_from_string(data)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            points = onnx.numpy_helper.to_array(constants[node.input[2]])
            if points.dtype != np.int8 or points.any():
                raise ExportError(
                    f"the quantiser gave {node.name!r} a zero point other than 0; this is a defect of "
                    "edgeosr: please report it, and export with --engine fp16"
                )


def converter_name() -> str:
    """Return what quantises, with its version."""
    module = import_extra("onnxruntime", extra="export", purpose="quantising")
    return (
        f"onnxruntime {module.__version__} quantize_static, symmetric, per channel, percentile {PERCENTILE}"
    )
