"""Type a float32 body as int8: explicit Q/DQ around its convolutions and matrix products.

Weights per output channel, activations by calibration on real training images; for TensorRT symmetric (every
zero point is 0), and without the first layer, which sees the pixels, and the last ones, which make what is
scored. A ``Scheme`` says what another library wants. Left out are layers that would move the score too far
(``sensitivity.robust_layers``), and nodes that make tangents: their range depends on the probe, not on the
image. For TensorRT the rest becomes fp16 afterwards, the scales with it: a cast between Q/DQ and a layer
would keep an engine from fusing them.
"""

import contextlib
import inspect
import io
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import ExportError, MissingDependencyError, import_extra
from edgeosr.export.graph.names import TANGENT_NODES
from edgeosr.export.graph.opset import raised
from edgeosr.export.precision import fp16
from edgeosr.export.precision.sensitivity import LIMIT, robust_layers

QUANTISABLE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Axis of the output channels in each weight.
_CHANNELS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": 1}
# The first opset whose Q/DQ take scales in fp16, and the IR version that goes with it.
OPSET, IR_VERSION = 19, 9
# The share of values that the range of an activation keeps: a single outlier would cost all others bits.
PERCENTILE = 99.99


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """What a library wants of int8.

    Attributes:
        symmetric: activations are int8 around 0; else uint8 with a zero point, which keeps one bit more of
            what is never negative.
        outer: the first layer and the last ones may be int8, too.
        instead: the options that are advised where int8 cannot be.
    """

    symmetric: bool = True
    outer: bool = False
    instead: str = "--engine fp16"

    @property
    def activations(self) -> str:
        """In words."""
        return "symmetric" if self.symmetric else "uint8 activations"


TENSORRT = Scheme()


@dataclass(frozen=True, kw_only=True)
class Int8Body:
    """``data``: the body with Q/DQ pairs, else float32; ``quantised`` of its ``layers`` are int8."""

    data: bytes
    quantised: int
    layers: int
    scheme: Scheme = TENSORRT

    def with_fp16(self) -> bytes:
        """Return the body with all else in fp16.

        Raises:
            ExportError: onnx cannot bring it to opset 19, or a weight is too large for fp16.
        """
        onnx = import_extra("onnx", extra="export", purpose="quantising the backbone")
        model = raised(onnx.load_model_from_string(self.data), OPSET, IR_VERSION)
        return fp16.to_fp16(model.SerializeToString())

    @property
    def converter(self) -> str:
        """What typed it, with its version, in words."""
        return f"{self.quantiser}; the rest: {fp16.converter_name()}"

    @property
    def quantiser(self) -> str:
        """What quantised it, with its version, in words."""
        module = import_extra("onnxruntime", extra="export", purpose="quantising")
        return (
            f"onnxruntime {module.__version__} quantize_static, {self.scheme.activations}, per channel, "
            f"percentile {PERCENTILE}, {self.quantised} of {self.layers} layers"
        )


def to_int8(
    body: bytes,
    input_name: str,
    pixels: Sequence[NDArray[np.float32]],
    shift: Callable[[bytes], float] | None = None,
    scheme: Scheme = TENSORRT,
) -> Int8Body:
    """Quantise a body.

    Args:
        body: float32 graph.
        input_name: its input.
        pixels: batches of normalised training images, float32 ``[b, 3, h, w]``.
        shift: how far a quantised body moves the scores; None: quantise all that can be.
        scheme: of the library that runs it.

    Raises:
        ExportError: nothing in it can be quantised, or nothing bears it.
        MissingDependencyError: onnxruntime is too old.
    """
    onnx = import_extra("onnx", extra="export", purpose="quantising the backbone")
    with tempfile.TemporaryDirectory(prefix="edgeosr-int8-") as folder:
        quantiser = _Quantiser(Path(folder), body, input_name, pixels, scheme)
        graph = onnx.load_model(str(quantiser.prepared)).graph
        layers = _layers(graph)
        outer = set() if scheme.outer else {*layers[:1], *_last_layers(graph)}
        inner = [name for name in layers if name not in outer]
        if not inner:
            raise ExportError(
                f"of the backbone's {len(layers)} convolutions and matrix products the first and the last "
                f"stay as they are: none is left to quantise; export with {scheme.instead}"
            )
        quantiser.calibrate(inner)
        chosen = inner
        if shift is not None:
            chosen = robust_layers(inner, lambda names: shift(quantiser.quantised(names)))
        if not chosen:
            raise ExportError(
                f"each of the backbone's {len(inner)} layers that can be int8 moves half of the scores by "
                f"more than {LIMIT} standard deviations on its own; export with {scheme.instead}"
            )
        data = quantiser.quantised(chosen)
    if scheme.symmetric:
        _require_symmetric(onnx, data)
    return Int8Body(data=data, quantised=len(chosen), layers=len(layers), scheme=scheme)


class _Quantiser:
    """onnxruntime's ``quantize_static``, calibrated once, for any choice of layers.

    Args:
        folder: for files in between.
        body: float32, serialised.
        input_name: its input.
        pixels: batches of normalised images.
        scheme: of the library that runs it.
    """

    def __init__(
        self,
        folder: Path,
        body: bytes,
        input_name: str,
        pixels: Sequence[NDArray[np.float32]],
        scheme: Scheme,
    ) -> None:
        self._module = import_extra(
            "onnxruntime.quantization", extra="export", purpose="quantising the backbone"
        )
        if "calibration_cache_path" not in inspect.signature(self._module.quantize_static).parameters:
            raise MissingDependencyError(
                "--engine int8 needs an onnxruntime whose quantize_static keeps its calibration (1.32 does); "
                "run: pip install -U onnxruntime"
            )
        self._folder, self._input_name, self._pixels, self._scheme = folder, input_name, pixels, scheme
        self.prepared = folder / "prepared.onnx"
        plain = folder / "plain.onnx"
        # From a file: a model in memory would be written with external data, which shape inference refuses.
        plain.write_bytes(body)
        with _silenced():
            self._module.quant_pre_process(str(plain), str(self.prepared), skip_symbolic_shape=True)

    def calibrate(self, layers: Collection[str]) -> None:
        """Observe the activations around these layers, and any choice of them may be quantised."""
        self._quantise(layers, _reader(self._module, self._input_name, self._pixels))

    def quantised(self, layers: Collection[str]) -> bytes:
        """Return the body with these layers in int8."""
        return self._quantise(layers, None)

    def _quantise(self, layers: Collection[str], reader: Any) -> bytes:
        out, symmetric = self._folder / "quantised.onnx", self._scheme.symmetric
        kinds = self._module.QuantType
        with _silenced():
            self._module.quantize_static(
                str(self.prepared),
                str(out),
                reader,
                quant_format=self._module.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISABLE),
                nodes_to_quantize=list(layers),
                per_channel=True,
                activation_type=kinds.QInt8 if symmetric else kinds.QUInt8,
                weight_type=kinds.QInt8,
                calibrate_method=self._module.CalibrationMethod.Percentile,
                calibration_cache_path=self._folder / "ranges.json",
                extra_options={
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "CalibPercentile": PERCENTILE,
                    "CalibStridedMinMax": 1,  # for histograms too, whatever its name says
                    "QDQOpTypePerChannelSupportToAxis": _CHANNELS,
                },
            )
        return out.read_bytes()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep the quantiser's prints off standard output, and the handler its first log line makes off the root.

    The progress bar says enough; with that handler every later message of anyone would be shown twice.
    """
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.handlers[:] = before


def _reader(module: Any, input_name: str, batches: Sequence[NDArray[np.float32]]) -> Any:
    class Reader(module.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
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

    return Reader()


def _layers(graph: Any) -> list[str]:
    """Return the names of what int8 knows, in graph order, tangents apart."""
    return [
        node.name
        for node in graph.node
        if node.op_type in QUANTISABLE and not node.name.startswith(TANGENT_NODES)
    ]


def _last_layers(graph: Any) -> set[str]:
    """Return the names of the layers behind which no other follows."""
    makers = {output: node for node in graph.node for output in node.output}
    found, seen = set(), set()
    waiting = [output.name for output in graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or id(node) in seen or node.name.startswith(TANGENT_NODES):
            continue
        seen.add(id(node))
        if node.op_type in QUANTISABLE:
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
