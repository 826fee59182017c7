"""Recognise a classifier's last convolution, then affine steps, an activation, a global average pool."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import NoClosedFormError
from edgeosr.export.closed_form.activations import Activation, recognise_activation
from edgeosr.export.closed_form.affine import Reaching, affine_sources
from edgeosr.export.closed_form.pooling import Pool, find_pool
from edgeosr.export.closed_form.unsupported import unsupported
from edgeosr.export.graph.reading import attribute, constant, describe, input_of, static_shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LastConvolution:
    """The convolution that a classifier's embedding has a closed-form Jacobian norm with respect to.

    Attributes:
        conv: the Conv node.
        weight: its weight ``[D, channels / groups, kernel height, kernel width]``.
        scale: float64 ``[D]``, what multiplies its output on the way to the activation: per way the product
            of the scales of BatchNormalizations and constant factors, and the sum over all ways.
        activation: what follows; its ``source`` is the map y ``[B, D, H, W]``.
        pool: the last spatial pool, a mean.
    """

    conv: "ir.Node"
    weight: "NDArray[np.generic]"
    scale: "NDArray[np.float64]"
    activation: Activation
    pool: Pool

    @property
    def strides(self) -> tuple[int, int]:
        """(vertical, horizontal) stride of the convolution."""
        return _pair(self.conv, "strides")

    @property
    def dilations(self) -> tuple[int, int]:
        """(vertical, horizontal) dilation of the convolution."""
        return _pair(self.conv, "dilations")


def recognise_last_convolution(model: "ir.Model", embedding: str | None = None) -> LastConvolution:
    """Walk up from the last pool to the last convolution.

    Between the convolution and the activation may lie, in any order, what ``affine_sources`` knows:
    BatchNormalization, constants, and sums of several operands. A convolution that gets there by several ways
    counts with the sum of its scales; where they cancel, it does not count at all. Any other operand of a
    sum is a skip and held constant. Where several convolutions get there (a residual block with a
    downsampling convolution, or a chain of un-activated residual blocks), the last one is that with the most
    convolutions above it, then the one with the larger kernel, then the one later in the graph: that is the
    residual branch, not the shortcut.

    Args:
        model: a float classifier.
        embedding: a tensor name that overrides the search for the last pool.

    Raises:
        UnsupportedGraphError: the pattern is not there, or the last convolution gets to the activation by a
            way that is not affine too; the message names the node that broke it.
    """
    pool = find_pool(model, embedding)
    if not pool.is_mean:
        raise unsupported(pool.node.outputs[0], "the last pool is not an average")
    activation = recognise_activation(pool.map)
    found = affine_sources(activation.source)
    broken = [*found.broken]
    candidates: list[tuple[Reaching, NDArray[np.generic]]] = []
    for reaching in found.convolutions:
        try:
            candidates.append((reaching, _weight(reaching, activation.source)))
        except NoClosedFormError as error:
            broken.append((reaching.conv.outputs[0], error))
    if not candidates:
        raise NoClosedFormError([place for _, error in broken for place in error.places])
    depth = _convolutions_above(model)
    order = {node: index for index, node in enumerate(model.graph)}
    last, weight = max(
        candidates,
        key=lambda each: (depth[each[0].conv], np.prod(each[1].shape[2:]), order[each[0].conv]),
    )
    _refuse_second_way(last.conv, broken)
    channels = weight.shape[0]
    if activation.name == "prelu" and activation.parameters.size not in (1, channels):
        raise unsupported(
            pool.map,
            f"it has {activation.parameters.size} slopes for {channels} channels; expected 1 or {channels}",
        )
    scale = np.broadcast_to(last.scale.reshape(-1), (channels,))
    return LastConvolution(last.conv, weight, scale, activation, pool)


def _weight(reaching: Reaching, y: "ir.Value") -> "NDArray[np.generic]":
    """Return a convolution's weight; raises NoClosedFormError if its output is not the map's own size."""
    conv, scale = reaching.conv, reaching.scale
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
    return weight


def _is_broadcast(own: tuple[int | None, ...], whole: tuple[int | None, ...]) -> bool:
    """Tell whether an output (of a context block, say) is repeated over a larger map."""
    pairs = zip(own, whole, strict=True)
    return any(mine != its and mine is not None and (its is not None or mine == 1) for mine, its in pairs)


def _refuse_second_way(conv: "ir.Node", broken: "Iterable[tuple[ir.Value, NoClosedFormError]]") -> None:
    """Raise NoClosedFormError where an operand that would be held constant depends on the convolution itself.

    A skip goes around the convolution. ``c + tanh(c)`` does not, and holding one half of it would be wrong.
    """
    for value, error in broken:
        if _depends_on(value, conv):
            raise NoClosedFormError(
                [
                    f"{place} (and {describe(conv)} reaches the activation past it too)"
                    for place in error.places
                ]
            )


def _depends_on(value: "ir.Value", node: "ir.Node") -> bool:
    pending, seen = [value], set()
    while pending:
        maker = pending.pop().producer()
        if maker is node:
            return True
        if maker is not None and maker not in seen:
            seen.add(maker)
            pending.extend(edge for edge in maker.inputs if edge is not None)
    return False


def _convolutions_above(model: "ir.Model") -> "dict[ir.Node, int]":
    """Return the most Conv nodes on any path into each node, itself counted."""
    depth: dict[ir.Node, int] = {}
    for node in model.graph:
        makers = [edge.producer() for edge in node.inputs if edge is not None]
        above = [depth[maker] for maker in makers if maker is not None and maker in depth]
        depth[node] = max(above, default=0) + (node.op_type == "Conv")
    return depth


def _pair(conv: "ir.Node", name: str) -> tuple[int, int]:
    vertical, horizontal = attribute(conv, name, (1, 1))
    return int(vertical), int(horizontal)
