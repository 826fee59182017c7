"""Axes and shapes that shift by one because a tangent has its directions in front."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import attribute, describe, input_of
from edgeosr.export.tangents.context import RuleContext

if TYPE_CHECKING:
    import onnx_ir as ir


def axis_of(node: "ir.Node", rank: int, default: int) -> int:
    """Return the attribute ``axis`` of a node, counted from the front, for an input of ``rank``."""
    axis = int(attribute(node, "axis", default))
    return axis + rank if axis < 0 else axis


def axes_of(ctx: RuleContext, node: "ir.Node", index: int, rank: int) -> list[int] | None:
    """Return the axes of a node, from its attribute (older opsets) or its input; None if it names none.

    Args:
        ctx: the rule's context.
        node: the node.
        index: which input holds the axes in opsets that have them there.
        rank: that negative axes count from.

    Raises:
        UnsupportedGraphError: the axes are computed in the graph.
    """
    axes = attribute(node, "axes", None)
    if axes is None:
        value = input_of(node, index)
        if value is None:
            return None
        axes = constant_input(ctx, node, index, "axes")
    return from_front(np.asarray(axes).ravel().tolist(), rank)


def constant_input(ctx: RuleContext, node: "ir.Node", index: int, what: str) -> np.ndarray:
    """Return an input of a node that must be a constant.

    Raises:
        UnsupportedGraphError: it is computed in the graph.
    """
    value = input_of(node, index)
    array = None if value is None else ctx.const_value(value)
    if array is None:
        raise UnsupportedGraphError(
            f"the {what} of {describe(node)} must be constants to be differentiated; got "
            f"{'nothing' if value is None else f'tensor {value.name!r}'}, computed in the graph; "
            "export the classifier again with fixed sizes, or fold its constants (onnxsim)"
        )
    return array


def from_front(axes: Iterable[int], rank: int) -> list[int]:
    """Return axes with the negative ones counted from the front."""
    return [axis + rank if axis < 0 else axis for axis in axes]


def ints(ctx: RuleContext, *values: int) -> "ir.Value":
    """Return an int64 vector constant."""
    return ctx.constant(np.array(values, np.int64))


def prepended(ctx: RuleContext, number: int, vector: "ir.Value") -> "ir.Value":
    """Return the int64 vector with ``number`` in front: a constant if the vector is one."""
    array = ctx.const_value(vector)
    if array is not None:
        return ints(ctx, number, *array.ravel().tolist())
    return ctx.op("Concat", ints(ctx, number), vector, axis=0)
