"""From the map before the last activation up to the convolutions that it is an affine function of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import NoClosedFormError
from edgeosr.export.closed_form.unsupported import unsupported
from edgeosr.export.graph.reading import attribute, constant, input_of, through

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

# A sum of scales this small beside its summands is the rounding of float32 constants: 0.1 + 0.2 - 0.3.
CANCELLED = 8 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Reaching:
    """A convolution, and what multiplies its output in the map: float64, one number or one a channel."""

    conv: "ir.Node"
    scale: "Float64"


@dataclass(frozen=True)
class AffineSources:
    """What a map is made of.

    Attributes:
        convolutions: those it depends on through affine steps, each once, its scales summed over all ways;
            without those whose scales cancel in every channel.
        broken: each tensor where a way ends in something else, with the reason.
    """

    convolutions: "tuple[Reaching, ...]"
    broken: "tuple[tuple[ir.Value, NoClosedFormError], ...]"


def affine_sources(source: "ir.Value") -> AffineSources:
    """Find every convolution that reaches a map through affine steps only.

    Affine steps are BatchNormalization, a constant (a scalar or one value a channel) added, subtracted,
    multiplied or divided by, Neg, and Add, Sub and Sum of several operands; a subtracted one counts negative.
    """
    graph = source.graph
    assert graph is not None
    order: dict[ir.Node | None, int] = {node: index for index, node in enumerate(graph)}
    scales: dict[ir.Value, Float64] = {through(source): np.ones(())}
    convolutions: list[Reaching] = []
    broken: list[tuple[ir.Value, NoClosedFormError]] = []
    cancelled: list[tuple[ir.Value, NoClosedFormError]] = []
    while scales:
        # The latest first: whatever adds to a tensor's scale comes behind its producer. Each tensor is looked
        # at once, so that n nested sums take n steps and not 2^n.
        edge = max(scales, key=lambda value: order.get(value.producer(), -1))
        scale = scales.pop(edge)
        if not scale.any():
            cancelled.append((edge, unsupported(edge, "its scales on all ways to the activation sum to 0")))
            continue
        try:
            with np.errstate(all="ignore"):
                operands = _operands(edge, scale)
            for operand, factor in operands:
                _require_finite(edge, factor)
                into = through(operand)
                scales[into] = _sum(edge, scales[into], factor) if into in scales else factor
        except NoClosedFormError as error:
            broken.append((edge, error))
            continue
        node = edge.producer()
        if node is not None and node.op_type == "Conv":
            convolutions.append(Reaching(node, scale))
    return AffineSources(tuple(convolutions), tuple(broken if convolutions else broken + cancelled))


def _operands(edge: "ir.Value", scale: "Float64") -> "list[tuple[ir.Value, Float64]]":
    """Return what a tensor is an affine function of, each with the scale down to the map; none for a Conv."""
    node = edge.producer()
    if node is None or node.domain not in ("", "ai.onnx"):
        raise unsupported(edge, "expected a Conv")
    match node.op_type:
        case "Conv":
            return []
        case "BatchNormalization":
            return [(_input(node, 0), scale * _batch_norm_scale(node))]
        case "Neg":
            return [(_input(node, 0), -scale)]
        case "Add" | "Sub" | "Sum":
            return _summands(node, scale)
        case "Mul" | "Div":
            return [_scaled(node, scale)]
    raise unsupported(edge, "expected a Conv, or a BatchNormalization or Add behind one")


def _summands(node: "ir.Node", scale: "Float64") -> "list[tuple[ir.Value, Float64]]":
    operands = []
    for index in range(len(node.inputs)):
        if constant(input_of(node, index)) is None:
            negative = node.op_type == "Sub" and index == 1
            operands.append((_input(node, index), -scale if negative else scale))
    return operands


def _scaled(node: "ir.Node", scale: "Float64") -> "tuple[ir.Value, Float64]":
    first, second = (constant(input_of(node, index)) for index in (0, 1))
    if second is not None:
        multiplier = _per_channel(node, second)
        return _input(node, 0), scale * multiplier if node.op_type == "Mul" else scale / multiplier
    if first is not None and node.op_type == "Mul":
        return _input(node, 1), scale * _per_channel(node, first)
    raise unsupported(
        node.outputs[0],
        "it multiplies two computed tensors (a gate, or an activation that is not known here)",
    )


def _require_finite(edge: "ir.Value", factor: "Float64") -> None:
    if not np.isfinite(factor).all():
        channels = np.flatnonzero(~np.isfinite(factor.reshape(-1))).tolist()
        raise unsupported(
            edge,
            "its constants make a scale that is not finite (a divisor or a variance of 0, for example), in "
            f"{len(channels)} of {factor.size} channels, the first is {channels[0]}",
        )


def _sum(edge: "ir.Value", one: "Float64", other: "Float64") -> "Float64":
    if one.size != other.size and 1 not in (one.size, other.size):
        raise unsupported(edge, f"the scales of two ways have {one.size} and {other.size} channels")
    total = np.asarray(one + other)
    return np.where(np.abs(total) <= CANCELLED * (np.abs(one) + np.abs(other)), 0.0, total)


def _input(node: "ir.Node", index: int) -> "ir.Value":
    value = node.inputs[index]
    assert value is not None
    return value


def _per_channel(node: "ir.Node", known: "NDArray[np.generic]") -> "Float64":
    if known.size == 1:
        return known.astype(np.float64).reshape(())
    if known.ndim in (3, 4) and known.shape[-2:] == (1, 1) and known.shape[-3] == known.size:
        return known.astype(np.float64).reshape(-1)
    raise unsupported(
        node.outputs[0], f"its constant {list(known.shape)} is neither a scalar nor one value a channel"
    )


def _batch_norm_scale(node: "ir.Node") -> "Float64":
    gamma, variance = constant(input_of(node, 1)), constant(input_of(node, 4))
    if gamma is None or variance is None:
        raise unsupported(node.outputs[0], "its scale or variance is computed, not a constant")
    if attribute(node, "training_mode", 0):
        raise unsupported(node.outputs[0], "it is in training mode; export the classifier in eval mode")
    epsilon = float(attribute(node, "epsilon", 1e-5))
    return gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
