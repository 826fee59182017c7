"""The Jacobian norm of the unit embedding by probes, as nodes in the classifier's graph.

With orthonormal directions v_k, tangents t_k = (dz/dh) v_k and u = z / |z|:

    |du . v_k|^2 = (|t_k|^2 - (u . t_k)^2) / |z|^2,        J_u^2 = n/K sum_k |du . v_k|^2

where n is the size of the space of h: unbiased for random directions, exact for K = n (docs/design.md).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import UsageError
from edgeosr.export.graph.names import JACOBIAN_SQUARED
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.graph.writer import NodeWriter, claim_name, find_value, import_onnx_ir
from edgeosr.export.tangents.differentiate import add_tangents
from edgeosr.export.tangents.path import tensor_named
from edgeosr.verdict import FLOOR

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class ProbeJacobian:
    """What ``add_probe_jacobian`` added.

    Attributes:
        jacobian_squared: name of |z|^2 J_u^2, float32 ``[B]``: dividing its root by |z| gives J_u.
        tangents: name of t, float32 ``[K, B, D]``.
    """

    jacobian_squared: str
    tangents: str


def add_probe_jacobian(
    model: "ir.Model", *, cut: str, embedding: str, directions: NDArray[np.float32]
) -> ProbeJacobian:
    """Add ``jacobian_squared`` to a classifier's graph by probes, in place.

    Args:
        model: a float classifier, opset 13 or later.
        cut: name of the tensor h that the Jacobian is with respect to.
        embedding: name of z, float32 ``[B, D]``.
        directions: the probes, float32 ``[K, n]`` with orthonormal rows, n = size of h without its batch.

    Raises:
        UsageError: the cut or the directions cannot be used.
        UnsupportedGraphError: a node between cut and embedding cannot be differentiated.
    """
    start = tensor_named(model, cut, "the cut")
    sizes = static_shape(start)
    shape = tuple(size for size in (sizes or ())[1:] if size is not None)
    count, space = directions.shape
    if sizes is not None and None not in sizes[1:] and int(np.prod(shape)) != space:
        raise UsageError(
            f"the directions at {cut!r} must be [K, {int(np.prod(shape))}]; got [{count}, {space}]; "
            "make them for this cut"
        )
    seeds = directions.reshape(count, *shape) if shape and int(np.prod(shape)) == space else directions
    tangents = add_tangents(model, cut=cut, embedding=embedding, seeds=seeds)
    claim_name(model, JACOBIAN_SQUARED)
    writer = NodeWriter(model, JACOBIAN_SQUARED)
    z, t = find_value(model, embedding), find_value(model, tangents)
    floor = writer.constant(np.array(FLOOR, np.float32))
    u = writer.op("Div", z, writer.op("Max", writer.reduce("ReduceL2", z, [1]), floor))
    radial = writer.reduce("ReduceSum", writer.op("Mul", t, u), [2], keepdims=False)
    energy = writer.reduce("ReduceSumSquare", t, [2], keepdims=False)
    tangential = writer.op("Relu", writer.op("Sub", energy, writer.op("Mul", radial, radial)))
    total = writer.reduce("ReduceSum", tangential, [0], keepdims=False)
    scale = writer.constant(np.array(space / count, np.float32))
    squared = writer.op("Mul", total, scale, name=JACOBIAN_SQUARED)
    writer.append()
    ir = import_onnx_ir()
    squared.type = ir.TensorType(ir.DataType.FLOAT)
    squared.shape = ir.Shape([None if z.shape is None else z.shape[0]])
    return ProbeJacobian(jacobian_squared=JACOBIAN_SQUARED, tangents=tangents)
