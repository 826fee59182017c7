"""Recognise how a classifier ends: convolution, affine steps, activation, global average pool."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import NoClosedFormError
from edgeosr.export.closed_form.activations import Activation, recognise_activation
from edgeosr.export.closed_form.pooling import Pool, find_pool
from edgeosr.export.graph.reading import (
    attribute,
    constant,
    input_of,
    static_shape,
    through,
    unsupported,
)

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Branch:
    """A convolution and what scales its output per channel on the way to the activation.

    Attributes:
        conv: the Conv node.
        weight: its weight ``[D, channels / groups, kernel height, kernel width]``.
        scale: float64 ``[D]``, the product of the scales of BatchNormalizations and constant factors.
    """

    conv: "ir.Node"
    weight: "NDArray[np.generic]"
    scale: "NDArray[np.float64]"


@dataclass(frozen=True)
class RecognisedTail:
    """A tail that has a closed form.

    Attributes:
        pool: the last spatial pool, a mean.
        activation: its ``source`` is the map y ``[B, D, H, W]``.
        branch: the main branch into y.
    """

    pool: Pool
    activation: Activation
    branch: Branch

    @property
    def strides(self) -> tuple[int, int]:
        """(vertical, horizontal) stride of the convolution."""
        return _pair(self.branch.conv, "strides")

    @property
    def dilations(self) -> tuple[int, int]:
        """(vertical, horizontal) dilation of the convolution."""
        return _pair(self.branch.conv, "dilations")


def recognise_tail(model: "ir.Model", embedding: str | None = None) -> RecognisedTail:
    """Walk up from the last pool to the last convolution.

    Between the convolution and the activation may lie, in any order, BatchNormalization, a constant per
    channel or scalar multiplied or added, and Adds of skips. A skip is held constant. Where several operands
    of the Adds end in a convolution (a residual block with a downsampling convolution, or a chain of
    un-activated residual blocks), the main branch is the convolution with the most convolutions above it,
    then the one with the larger kernel, then the one later in the graph: that is the residual branch, not
    the shortcut.

    Args:
        model: a float classifier.
        embedding: a tensor name that overrides the search for the last pool.

    Raises:
        UnsupportedGraphError: the pattern is not there; the message names the node that broke it.
    """
    pool = find_pool(model, embedding)
    if not pool.is_mean:
        raise unsupported(pool.node.outputs[0], "the last pool is not an average")
    activation = recognise_activation(pool.map)
    branches: list[Branch] = []
    broken: list[NoClosedFormError] = []
    _collect(activation.source, np.ones(()), branches, broken)
    if not branches:
        raise NoClosedFormError([place for error in broken for place in error.places])
    depth = _convolutions_above(model)
    order = {node: index for index, node in enumerate(model.graph)}
    main = max(
        branches,
        key=lambda branch: (depth[branch.conv], np.prod(branch.weight.shape[2:]), order[branch.conv]),
    )
    channels = main.weight.shape[0]
    if activation.name == "prelu" and activation.parameters.size not in (1, channels):
        raise unsupported(
            pool.map,
            f"it has {activation.parameters.size} slopes for {channels} channels; expected 1 or {channels}",
        )
    return RecognisedTail(pool, activation, main)


def _collect(
    value: "ir.Value",
    scale: "NDArray[np.float64]",
    branches: list[Branch],
    broken: list[NoClosedFormError],
) -> None:
    """Find every convolution that reaches ``value`` through affine steps and Adds only."""
    pending = [(value, scale)]
    while pending:
        edge, factor = pending.pop()
        edge = through(edge)
        node = edge.producer()
        operator = None if node is None or node.domain not in ("", "ai.onnx") else node.op_type
        try:
            if node is None or operator is None:
                raise unsupported(edge, "expected a Conv")
            if operator == "Conv":
                branches.append(_branch(node, factor, value))
            elif operator == "BatchNormalization":
                source = node.inputs[0]
                assert source is not None
                pending.append((source, factor * _batch_norm_scale(node)))
            elif operator in ("Add", "Sub", "Mul", "Div"):
                pending.extend(_operands(node, factor))
            else:
                raise unsupported(edge, "expected a Conv, or a BatchNormalization or Add behind one")
        except NoClosedFormError as error:
            broken.append(error)


def _operands(node: "ir.Node", factor: "NDArray[np.float64]") -> "list[tuple[ir.Value, NDArray[np.float64]]]":
    """Return the operands that vary, each with the scale down to the activation."""
    first, second = node.inputs[0], node.inputs[1]
    assert first is not None and second is not None
    held = constant(first), constant(second)
    if node.op_type in ("Add", "Sub"):
        # The sign of a subtracted operand does not matter: the scale is squared.
        return [
            (edge, factor) for edge, known in zip((second, first), held[::-1], strict=True) if known is None
        ]
    if held[1] is not None:
        multiplier = _per_channel(node, held[1])
        return [(first, factor * multiplier if node.op_type == "Mul" else factor / multiplier)]
    if held[0] is not None and node.op_type == "Mul":
        return [(second, factor * _per_channel(node, held[0]))]
    raise unsupported(
        node.outputs[0],
        "it multiplies two computed tensors (a gate, or an activation that is not known here)",
    )


def _per_channel(node: "ir.Node", known: "NDArray[np.generic]") -> "NDArray[np.float64]":
    if known.size == 1:
        return known.astype(np.float64).reshape(())
    if known.ndim in (3, 4) and known.shape[-2:] == (1, 1) and known.shape[-3] == known.size:
        return known.astype(np.float64).reshape(-1)
    raise unsupported(
        node.outputs[0], f"its constant {list(known.shape)} is neither a scalar nor one value a channel"
    )


def _batch_norm_scale(node: "ir.Node") -> "NDArray[np.float64]":
    gamma, variance = constant(input_of(node, 1)), constant(input_of(node, 4))
    if gamma is None or variance is None:
        raise unsupported(node.outputs[0], "its scale or variance is computed, not a constant")
    if attribute(node, "training_mode", 0):
        raise unsupported(node.outputs[0], "it is in training mode; export the classifier in eval mode")
    epsilon = float(attribute(node, "epsilon", 1e-5))
    return gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)


def _branch(conv: "ir.Node", scale: "NDArray[np.float64]", y: "ir.Value") -> Branch:
    weight = constant(input_of(conv, 1))
    if weight is None:
        raise unsupported(conv.outputs[0], "its weight is computed, not a constant")
    if weight.ndim != 4:
        raise unsupported(conv.outputs[0], f"its weight has {weight.ndim - 2} spatial axes; expected 2")
    own, whole = static_shape(conv.outputs[0]), static_shape(y)
    if own is not None and whole is not None and _is_broadcast(own[1:], whole[1:]):
        raise unsupported(conv.outputs[0], f"its output {list(own)} is spread over a map {list(whole)}")
    if scale.size not in (1, weight.shape[0]):
        raise unsupported(
            conv.outputs[0], f"a scale behind it has {scale.size} values for {weight.shape[0]} channels"
        )
    return Branch(conv, weight, np.broadcast_to(scale.reshape(-1), (weight.shape[0],)))


def _is_broadcast(own: tuple[int | None, ...], whole: tuple[int | None, ...]) -> bool:
    """Tell whether an output (of a context block, say) is repeated over a larger map."""
    pairs = zip(own, whole, strict=True)
    return any(mine != its and mine is not None and (its is not None or mine == 1) for mine, its in pairs)


def _convolutions_above(model: "ir.Model") -> "dict[ir.Node, int]":
    """Return the most Conv nodes on any path into each node, itself counted."""
    depth: dict[ir.Node, int] = {}
    for node in model.graph:
        above = [depth[edge.producer()] for edge in node.inputs if edge and edge.producer() in depth]  # type: ignore[index]
        depth[node] = max(above, default=0) + (node.op_type == "Conv")
    return depth


def _pair(conv: "ir.Node", name: str) -> tuple[int, int]:
    vertical, horizontal = attribute(conv, name, (1, 1))
    return int(vertical), int(horizontal)
