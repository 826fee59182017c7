"""The scoring part as standard ONNX nodes: from the embedding to label, unknown score and its values.

The same arithmetic as ``edgeosr.scoring.reference``, in float32. There are few nodes on purpose: at batch 1
every node costs onnxruntime a microsecond or more, whatever its size.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import EMBEDDING, LABEL, LOGITS, MAP, SCORE, VALUES
from edgeosr.errors import ExportError
from edgeosr.export.graph.names import FUSION_BIAS, FUSION_GAIN
from edgeosr.export.graph.writer import NodeWriter, claim_name, find_value, import_onnx_ir
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.graph import GraphTensors, number
from edgeosr.scoring.parts import part
from edgeosr.scoring.scorer import Scorer
from edgeosr.verdict import FLOOR

if TYPE_CHECKING:
    import onnx_ir as ir


def add_scoring(
    model: "ir.Model",
    scorer: Scorer,
    *,
    embedding: str,
    logits: str | None = None,
    jacobian_squared: str | None = None,
    map: str | None = None,
    outside: str | None = None,
) -> None:
    """Add the scoring nodes, in place.

    The model's outputs become ``label`` (int64 ``[batch]``), ``score`` (float32 ``[batch]``, larger = more
    unknown, NaN if anything is not finite) and ``values`` (float32 ``[batch, parts]``, the parts that the
    scorer's fusion lists, in its order); the classifier's own outputs stay as internal tensors where they are
    still used.

    Args:
        model: the classifier.
        scorer: the constants; its threshold is not in the graph.
        embedding: name of z, float32 ``[batch, D]``; it is renamed ``embedding``.
        logits: name of the classifier's logits ``[batch, C]``, renamed ``logits``; for an external head
            only, else they are computed from ``scorer.head``.
        jacobian_squared: name of |dz/dh|_F^2, float32 ``[batch]``; None without a Jacobian norm.
        map: name of the map before the last activation, ``[batch, D, H, W]``, renamed ``map``; an
            activation can hide a NaN in it from the embedding. None: only the embedding is watched.
        outside: name of a tensor ``[batch]`` that is added to the score: infinite for images that no
            threshold may accept, else 0. None: there are none.

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
    for name in (LABEL, SCORE, VALUES, FUSION_GAIN, FUSION_BIAS, *(() if own_logits else (LOGITS,))):
        claim_name(model, name)
    writer = NodeWriter(model, "scoring")
    op = writer.op
    floor = number(writer, FLOOR)
    norm = op("Max", writer.reduce("ReduceL2", z, [1]), floor)  # [batch, 1], as all columns below
    scores = own_logits if own_logits is not None else _head(writer, scorer, z, norm)
    column = op("ArgMax", scores, axis=1, keepdims=1)
    top = writer.reduce("ReduceMax", scores, [1])
    jacobian, undivided = None, None
    if squared is not None:
        rows = op("Reshape", squared, writer.constant(np.array([-1, 1], np.int64)))
        undivided = op("Sqrt", op("Relu", rows))
        jacobian = op("Div", undivided, norm)
    tensors = GraphTensors(
        z=z,
        norm=norm,
        logits=scores,
        label=column,
        top=top,
        jacobian=jacobian,
        undivided=undivided,
        known=_discriminator(writer, scorer, z),
    )
    columns = [part(name).write(writer, tensors, scorer) for name in scorer.fusion.parts]
    values = op("Concat", *columns, axis=1, name=VALUES)
    gain, bias = fusion_constants(scorer.fusion)
    fused = op("Gemm", values, writer.constant(gain, FUSION_GAIN), writer.constant(bias, FUSION_BIAS))
    # 0 * x is NaN where x is not finite: whatever went wrong anywhere makes the score NaN.
    fused = op("Reshape", fused, _shape(writer, -1))
    suspect = fused
    if watched is not None:
        suspect = op("Add", fused, writer.reduce("ReduceMean", watched, [1, 2, 3], keepdims=False))
    if outside is None:
        score = op("Add", fused, op("Mul", suspect, number(writer, 0.0)), name=SCORE)
    else:
        checked = op("Add", fused, op("Mul", suspect, number(writer, 0.0)))
        score = op("Add", checked, find_value(model, outside), name=SCORE)
    label = op("Reshape", column, _shape(writer, -1), name=LABEL)
    writer.append()
    batch = z.shape[0] if z.shape is not None and isinstance(z.shape[0], int) else "batch"
    for value, dtype, sizes in (
        (label, ir.DataType.INT64, [batch]),
        (score, ir.DataType.FLOAT, [batch]),
        (values, ir.DataType.FLOAT, [batch, len(columns)]),
        (scores, ir.DataType.FLOAT, [batch, scorer.classes]),  # may be exposed
    ):
        value.dtype = dtype
        value.shape = ir.Shape(sizes)
    model.graph.outputs[:] = [label, score, values]


def fusion_constants(fusion: Fusion) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the graph's (gain float32 ``[parts, 1]``, bias float32 ``[1]``) of a fusion."""
    gain = np.asarray(fusion.weights, np.float64) / fusion.stds
    bias = np.array([-np.sum(gain * fusion.means)], np.float32)
    return gain.astype(np.float32).reshape(-1, 1), bias


def set_fusion(model: "ir.Model", fusion: Fusion) -> None:
    """Replace the fusion of a graph that ``add_scoring`` made, in place.

    Raises:
        ExportError: the graph has no fusion.
    """
    ir = import_onnx_ir()
    for name, array in zip((FUSION_GAIN, FUSION_BIAS), fusion_constants(fusion), strict=True):
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


def _shape(writer: NodeWriter, *sizes: int) -> "ir.Value":
    return writer.constant(np.array(sizes, np.int64))


def _head(writer: NodeWriter, scorer: Scorer, z: "ir.Value", norm: "ir.Value") -> "ir.Value":
    weight = writer.constant(np.ascontiguousarray(scorer.head.weight.T), "scoring/head_weight")
    if scorer.head.kind == "cosine":
        return writer.op("MatMul", writer.op("Div", z, norm), weight, name=LOGITS)
    return writer.op("Gemm", z, weight, writer.constant(scorer.head.bias, "scoring/head_bias"), name=LOGITS)


def _discriminator(writer: NodeWriter, scorer: Scorer, z: "ir.Value") -> "ir.Value | None":
    """Return the logit of "known" as a column, or None without a discriminator."""
    value = z
    for index, (weight, bias) in enumerate(scorer.layers):
        if index:
            value = writer.op("LeakyRelu", value, alpha=float(scorer.slope))
        value = writer.op(
            "Gemm",
            value,
            writer.constant(weight, f"scoring/discriminator_weight_{index}"),
            writer.constant(bias, f"scoring/discriminator_bias_{index}"),
            transB=1,
        )
    return value if scorer.layers else None
