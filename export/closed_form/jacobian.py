"""The exact Jacobian norm of the embedding at the last convolution, as a few nodes in the classifier's graph.

With ``y = conv(h) [+ skip]``, ``a = act(y)``, ``z_d = 1/Q sum_q a_d(q)`` and ``m = act'(y)``:

    |dz/dh|_F^2 = 1/Q^2 sum_d sum_{q,q'} m_d(q) m_d(q') A_d(q - q')

where A_d is the autocorrelation of filter d (``autocorrelation.py``): exact with respect to the explicitly
zero-padded input h of the convolution, any skip held constant (docs/design.md).
"""

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import EMBEDDING, MAP
from edgeosr.export.closed_form.autocorrelation import autocorrelation
from edgeosr.export.closed_form.last_convolution import recognise_last_convolution
from edgeosr.export.closed_form.masks import BINARY, add_mask
from edgeosr.export.closed_form.pooling import embedding_of
from edgeosr.export.closed_form.unsupported import unsupported
from edgeosr.export.graph.names import CLOSED_FORM_TABLE, JACOBIAN_SQUARED
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.graph.writer import NodeWriter, claim_name
from edgeosr.scoring.scorer import ClosedForm

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class ClosedFormJacobian:
    """What ``add_closed_form`` found and added.

    Attributes:
        closed_form: the constants, for the kernel and the reference.
        dimension: D.
        conv_node: name of the last convolution's node.
        pool_node: name of the pool's node.
        map: name of y, float32 ``[B, D, H, W]``, before the last activation.
        map_size: (H, W) if the graph fixes them, else None.
        embedding: name of z, float32 ``[B, D]``.
        jacobian_squared: name of |dz/dh|_F^2, float32 ``[B]``.
    """

    closed_form: ClosedForm
    dimension: int
    conv_node: str
    pool_node: str
    map: str
    map_size: tuple[int, int] | None
    embedding: str
    jacobian_squared: str


def add_closed_form(
    model: "ir.Model",
    embedding: str | None = None,
    channel_weights: NDArray[np.float64] | None = None,
) -> ClosedFormJacobian:
    """Add ``jacobian_squared`` to a classifier's graph, in place.

    The graph keeps its inputs and outputs (an output that is the embedding or the map takes that name); the
    new tensor depends on ``map`` alone. Batch, height and width may be dynamic.

    Args:
        model: a float classifier with the input ``[B, 3, H, W]``, opset 13 or later.
        embedding: a tensor that overrides the search for the last spatial pool.
        channel_weights: w, ``[D]``, >= 0: the norm is then that of diag(w)^(1/2) dz/dh; None for ones.

    Raises:
        UnsupportedGraphError: the network does not end in a way that has a closed form; the message names the
            node.
    """
    last = recognise_last_convolution(model, embedding)
    table, offsets = autocorrelation(last.weight, last.strides, last.dilations)
    with np.errstate(all="ignore"):
        table *= np.square(last.scale)[:, None]
        if channel_weights is not None:
            table *= channel_weights[:, None]
        if not np.isfinite(table.astype(np.float32)).all():
            raise unsupported(
                last.conv.outputs[0], "its filters and their scale make a table that float32 cannot hold"
            )
    z = _named(model, embedding_of(model, last.pool), EMBEDDING)
    y = _named(model, last.activation.source, MAP)
    claim_name(model, JACOBIAN_SQUARED)
    writer = NodeWriter(model, "closed_form")
    mask = add_mask(writer, last.activation, y)
    size = map_size(y)
    positions = None if size is None else size[0] * size[1]
    scaled = table if positions is None else table / positions**2
    if len(offsets) == 1:
        binary = last.activation.name in BINARY
        total = _without_overlap(writer, mask if binary else writer.op("Mul", mask, mask), scaled[:, 0])
    else:
        total = _with_overlap(writer, mask, scaled, offsets)
    if positions is None:
        total = writer.op("Div", total, _squared_positions(writer, y))
    squared = writer.op("Reshape", total, writer.constant(np.array([-1])), name=JACOBIAN_SQUARED)
    writer.append()
    _declare(squared, [None if y.shape is None else y.shape[0]])
    return ClosedFormJacobian(
        closed_form=ClosedForm(
            activation=last.activation.name,
            parameters=last.activation.parameters,
            table=table.astype(np.float32),
            offsets=offsets,
        ),
        dimension=len(table),
        conv_node=last.conv.name or last.conv.outputs[0].name or "",
        pool_node=last.pool.node.name or last.pool.node.outputs[0].name or "",
        map=y.name or "",
        map_size=size,
        embedding=z.name or "",
        jacobian_squared=JACOBIAN_SQUARED,
    )


def _named(model: "ir.Model", value: "ir.Value", name: str) -> "ir.Value":
    claim_name(model, name, value)
    value.name = name
    return value


def _declare(value: "ir.Value", shape: "list[int | ir.SymbolicDim | None]") -> None:
    """Give a new tensor its type, so that it can be made a graph output."""
    import onnx_ir as ir

    value.type = ir.TensorType(ir.DataType.FLOAT)
    value.shape = ir.Shape(shape)


def map_size(y: "ir.Value") -> tuple[int, int] | None:
    """Return (H, W) if the graph fixes them."""
    shape = static_shape(y)
    if shape is None or len(shape) != 4 or shape[2] is None or shape[3] is None:
        return None
    return shape[2], shape[3]


def _squared_positions(writer: NodeWriter, y: "ir.Value") -> "ir.Value":
    axes = writer.op("Gather", writer.op("Shape", y), writer.constant(np.array([2, 3])))
    positions = writer.op("Cast", writer.reduce("ReduceProd", axes, [0]), to=1)
    return writer.op("Mul", positions, positions)


def _without_overlap(writer: NodeWriter, squares: "ir.Value", energy: NDArray[np.float64]) -> "ir.Value":
    """Filters that no two positions share (1x1, or a stride past the kernel): sum_d A_d sum_q m_d(q)^2."""
    sums = writer.reduce("ReduceSum", squares, [2, 3], keepdims=False)
    return writer.op("MatMul", sums, writer.constant(energy.astype(np.float32)[:, None], CLOSED_FORM_TABLE))


def _with_overlap(
    writer: NodeWriter, mask: "ir.Value", table: NDArray[np.float64], offsets: NDArray[np.int32]
) -> "ir.Value":
    """Correlate the masks with the folded table in one depthwise convolution."""
    vertical, horizontal = (np.abs(offsets[:, axis]) for axis in (0, 1))
    step_y, step_x = (gcd(*distances.tolist()) or 1 for distances in (vertical, horizontal))
    down, right = int(vertical.max()), int(horizontal.max())
    kernel = np.zeros((len(table), 1, down // step_y + 1, 2 * right // step_x + 1), np.float32)
    for (row, column), values in zip(offsets.tolist(), table.T, strict=True):
        kernel[:, 0, row // step_y, (column + right) // step_x] = values
    spread = writer.op(
        "Conv",
        mask,
        writer.constant(kernel, CLOSED_FORM_TABLE),
        group=len(table),
        kernel_shape=list(kernel.shape[2:]),
        dilations=[step_y, step_x],
        strides=[1, 1],
        pads=[0, right, down, right],  # top, left, bottom, right
    )
    return writer.reduce("ReduceSum", writer.op("Mul", mask, spread), [1, 2, 3])
