"""The scoring part as standard ONNX nodes: from the embedding to label, unknown score and its values.

The same arithmetic as ``edgeosr.kernels.reference``, in float32. There are few nodes on purpose: at batch 1
every node costs onnxruntime a microsecond or more, whatever its size.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import ExportError
from edgeosr.export.node_writer import NodeWriter, claim_name, find_value, import_onnx_ir
from edgeosr.kernels.scorer import Fusion, Scorer
from edgeosr.verdict import FLOOR, PART_NAMES, VALUE_NAMES

if TYPE_CHECKING:
    import onnx_ir as ir

LABEL = "label"
SCORE = "score"
VALUES = "values"
EMBEDDING = "embedding"
LOGITS = "logits"
MAP = "map"
GAIN = "fusion_gain"
BIAS = "fusion_bias"

# The fusion's columns hold log J, +logit D, the loss, +top logit, +log |z|: turning them so that larger
# means more unknown is left to the signs of the gain.
_SIGNS = np.array([1.0, -1.0, 1.0, -1.0, -1.0])


def add_scoring(
    model: "ir.Model",
    scorer: Scorer,
    *,
    embedding: str,
    logits: str | None = None,
    jacobian_squared: str | None = None,
    map: str | None = None,
) -> None:
    """Add the scoring nodes, in place.

    The model's outputs become ``label`` (int64 ``[batch]``), ``score`` (float32 ``[batch]``, larger = more
    unknown, NaN if anything is not finite) and ``values`` (float32 ``[batch, 5]`` in the order of
    ``VALUE_NAMES``); the classifier's own outputs stay as internal tensors where they are still used.

    Args:
        model: the classifier.
        scorer: the constants; its threshold is not in the graph.
        embedding: name of z, float32 ``[batch, D]``; it is renamed ``embedding``.
        logits: name of the classifier's logits ``[batch, C]``, renamed ``logits``; for an external head
            only, else they are computed from ``scorer.head``.
        jacobian_squared: name of |dz/dh|_F^2, float32 ``[batch]``; None: J is 1 and its part 0.
        map: name of the map before the last activation, ``[batch, D, H, W]``, renamed ``map``; an
            activation can hide a NaN in it from the embedding. None: only the embedding is watched.

    Raises:
        ExportError: a tensor is missing, or ``logits`` does not go with the head.
    """
    ir = import_onnx_ir()
    if (logits is not None) != (scorer.head.kind == "external"):
        raise ExportError(
            f"the head is {scorer.head.kind!r}, so logits must be {'a' if logits is None else 'no'} tensor "
            f"of the classifier; got {logits!r}"
        )
    z = _renamed(model, embedding, EMBEDDING, "batch", scorer.dimension)
    own_logits = None if logits is None else _renamed(model, logits, LOGITS, "batch", scorer.classes)
    shape = ("batch", scorer.dimension, "map_height", "map_width")
    watched = None if map is None else _renamed(model, map, MAP, *shape)
    squared = None if jacobian_squared is None else find_value(model, jacobian_squared)
    for name in (LABEL, SCORE, VALUES, GAIN, BIAS, *(() if own_logits else (LOGITS,))):
        claim_name(model, name)
    writer = NodeWriter(model, "scoring")
    op = writer.op
    floor = _number(writer, FLOOR)
    norm = op("Max", writer.reduce("ReduceL2", z, [1]), floor)  # [batch, 1], as all columns below
    scores = own_logits if own_logits is not None else _head(writer, scorer, z, norm)
    column = op("ArgMax", scores, axis=1, keepdims=1)
    top = writer.reduce("ReduceMax", scores, [1])
    loss = _movr_loss(writer, scores, column, scorer)
    known = _discriminator(writer, scorer, z)
    if known is None:
        known = _filled(writer, norm, 0.0)
    if squared is None:
        jacobian, log_jacobian = _filled(writer, norm, 1.0), _filled(writer, norm, 0.0)
    else:
        rows = op("Reshape", squared, writer.constant(np.array([-1, 1], np.int64)))
        jacobian = op("Div", op("Sqrt", op("Relu", rows)), norm)
        log_jacobian = op("Log", op("Max", jacobian, floor))
    values = op("Concat", jacobian, known, loss, top, norm, axis=1, name=VALUES)
    parts = op("Concat", log_jacobian, known, loss, top, op("Log", norm), axis=1)
    gain, bias = fusion_constants(scorer.fusion)
    fused = op("Gemm", parts, writer.constant(gain, GAIN), writer.constant(bias, BIAS))
    # 0 * x is NaN where x is not finite: whatever went wrong anywhere makes the score NaN.
    fused = op("Reshape", fused, _shape(writer, -1))
    suspect = fused
    if watched is not None:
        suspect = op("Add", fused, writer.reduce("ReduceMean", watched, [1, 2, 3], keepdims=False))
    score = op("Add", fused, op("Mul", suspect, _number(writer, 0.0)), name=SCORE)
    label = op("Reshape", column, _shape(writer, -1), name=LABEL)
    writer.append()
    batch = z.shape[0] if z.shape is not None and isinstance(z.shape[0], int) else "batch"
    for value, dtype, sizes in (
        (label, ir.DataType.INT64, [batch]),
        (score, ir.DataType.FLOAT, [batch]),
        (values, ir.DataType.FLOAT, [batch, len(VALUE_NAMES)]),
    ):
        value.dtype = dtype
        value.shape = ir.Shape(sizes)
    model.graph.outputs[:] = [label, score, values]


def fusion_constants(fusion: Fusion) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the graph's (gain float32 ``[5, 1]``, bias float32 ``[1]``) of a fusion."""
    weights = fusion.weights.astype(np.float64) / fusion.stds.astype(np.float64)
    gain = (weights * _SIGNS).astype(np.float32).reshape(len(PART_NAMES), 1)
    bias = np.array([-np.sum(weights * fusion.means.astype(np.float64))], np.float32)
    return gain, bias


def set_fusion(model: "ir.Model", fusion: Fusion) -> None:
    """Replace the fusion of a graph that ``add_scoring`` made, in place.

    Raises:
        ExportError: the graph has no fusion.
    """
    ir = import_onnx_ir()
    for name, array in zip((GAIN, BIAS), fusion_constants(fusion), strict=True):
        if name not in model.graph.initializers:
            raise ExportError(f"the graph has no constant {name!r}; add the scoring nodes first")
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)


def _renamed(model: "ir.Model", name: str, new: str, *shape: int | str) -> "ir.Value":
    value = find_value(model, name)
    claim_name(model, new, owner=value)
    value.name = new
    # A tensor can be made an output only if its type and rank are known, and foreign graphs may not say.
    if value.dtype is None:
        value.dtype = import_onnx_ir().DataType.FLOAT
    if value.shape is None:
        value.shape = import_onnx_ir().Shape(shape)
    return value


def _number(writer: NodeWriter, value: float) -> "ir.Value":
    return writer.constant(np.array(value, np.float32))


def _shape(writer: NodeWriter, *sizes: int) -> "ir.Value":
    return writer.constant(np.array(sizes, np.int64))


def _filled(writer: NodeWriter, column: "ir.Value", value: float) -> "ir.Value":
    """Return a column of one value, as long as ``column``."""
    return writer.op("Expand", _number(writer, value), writer.op("Shape", column))


def _head(writer: NodeWriter, scorer: Scorer, z: "ir.Value", norm: "ir.Value") -> "ir.Value":
    weight = writer.constant(np.ascontiguousarray(scorer.head.weight.T), "scoring/head_weight")
    if scorer.head.kind == "cosine":
        return writer.op("MatMul", writer.op("Div", z, norm), weight, name=LOGITS)
    return writer.op("Gemm", z, weight, writer.constant(scorer.head.bias, "scoring/head_bias"), name=LOGITS)


def _movr_loss(writer: NodeWriter, logits: "ir.Value", column: "ir.Value", scorer: Scorer) -> "ir.Value":
    """softplus(-T s_y) + sum over k != y of softplus(T s_k), s with the margin on, as a column.

    softplus(x) = max(x, 0) + softplus(-|x|) never overflows, whatever a backend makes of Softplus, and the
    label's sign is turned before the sum, because subtracting T s_y after it would cancel.
    """
    op = writer.op
    temperature, margin = scorer.head.temperature, scorer.head.margin
    scaled = logits
    if margin:
        # T cos(arccos(c) + m) = T cos m c - T sin m sqrt(1 - c^2); rounding may bring |c| above 1.
        sine = op("Sqrt", op("Relu", op("Sub", _number(writer, 1.0), op("Mul", logits, logits))))
        across = op("Mul", sine, _number(writer, temperature * math.sin(margin)))
        scaled = op("Sub", op("Mul", logits, _number(writer, temperature * math.cos(margin))), across)
    elif temperature != 1.0:
        scaled = op("Mul", logits, _number(writer, temperature))
    turned = op("Neg", scaled)
    is_label = op("Equal", column, writer.constant(np.arange(scorer.classes, dtype=np.int64)))
    signed = op("Where", is_label, turned, scaled)
    small = op("Softplus", op("Min", scaled, turned))
    return writer.reduce("ReduceSum", op("Add", op("Relu", signed), small), [1])


def _discriminator(writer: NodeWriter, scorer: Scorer, z: "ir.Value") -> "ir.Value | None":
    """Return the logit of "known" as a column, or None without a discriminator."""
    value = z
    for number, (weight, bias) in enumerate(scorer.layers):
        if number:
            value = writer.op("LeakyRelu", value, alpha=float(scorer.slope))
        value = writer.op(
            "Gemm",
            value,
            writer.constant(weight, f"scoring/discriminator_weight_{number}"),
            writer.constant(bias, f"scoring/discriminator_bias_{number}"),
            transB=1,
        )
    return value if scorer.layers else None
