"""Recognise the last activation of a network, however its exporter wrote it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.export.closed_form.unsupported import unsupported
from edgeosr.export.graph.reading import attribute, constant, input_of, through

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from numpy.typing import NDArray

_LARGEST = float(np.finfo(np.float32).max)
# What an activation spelled out in elementary operators may consist of.
_ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Neg", "Abs", "Sqrt", "Exp", "Log", "Erf", "Tanh", "Sigmoid"),
    *("HardSigmoid", "Softplus", "Clip", "Relu", "Max", "Min", "Reciprocal", "Where", "Greater", "Identity"),
)
_MOST_NODES = 16


@dataclass(frozen=True)
class Activation:
    """The last activation: ``a = act(y)``, elementwise.

    Attributes:
        name: one of ``edgeosr.scoring.scorer.ACTIVATIONS``.
        parameters: float32, as ``edgeosr.scoring.scorer.ClosedForm`` lists them.
        source: y.
    """

    name: str
    parameters: "NDArray[np.float32]"
    source: "ir.Value"


def recognise_activation(value: "ir.Value") -> Activation:
    """Find what elementwise function makes ``value``, and from what.

    One operator (Relu, LeakyRelu, PRelu, Clip, Elu, HardSwish, Mish, Gelu, Swish) is read off. A function
    spelled out (SiLU as Sigmoid and Mul, GELU with Erf or Tanh, HardSwish with HardSigmoid or Clip, Mish with
    Softplus and Tanh, ...) is recognised by its values on a grid, so the order and the constants that an
    exporter chose do not matter.

    Returns:
        The activation; ``identity`` with source ``value`` if no activation makes it.

    Raises:
        UnsupportedGraphError: an activation whose derivative is not known here; the message names the node.
    """
    value = through(value)
    node = value.producer()
    if node is None:
        return _activation("identity", [], value)
    source = input_of(node, 0)
    if node.domain in ("", "ai.onnx") and source is not None:
        single = _single_operator(node)
        if single is not None:
            return _activation(*single, through(source))
    return _spelled_out(value) or _activation("identity", [], value)


def _activation(name: str, parameters: "list[float] | NDArray[np.float32]", source: "ir.Value") -> Activation:
    return Activation(name, np.asarray(parameters, dtype=np.float32).reshape(-1), source)


def _single_operator(node: "ir.Node") -> "tuple[str, list[float] | NDArray[np.float32]] | None":
    match node.op_type:
        case "Relu":
            return "relu", []
        case "LeakyRelu":
            return "leaky_relu", [attribute(node, "alpha", 0.01)]
        case "Elu":
            return "elu", [attribute(node, "alpha", 1.0)]
        case "HardSwish":
            return "hard_swish", []
        case "Mish":
            return "mish", []
        case "Gelu":
            tanh = attribute(node, "approximate", "none") == "tanh"
            return ("gelu_tanh" if tanh else "gelu"), []
        case "Swish":
            if attribute(node, "alpha", 1.0) != 1.0:
                raise unsupported(node.outputs[0], "only Swish with alpha 1 (SiLU) has a closed form here")
            return "silu", []
        case "Clip":
            return "clip", _limits(node)
        case "PRelu":
            return "prelu", _slopes(node)
        case "Celu" | "Selu" | "ThresholdedRelu" | "Softplus" | "Softsign" | "Sigmoid" | "Tanh" | "Shrink":
            raise unsupported(node.outputs[0], f"the activation {node.op_type} has no closed form here")
    return None


def _limits(node: "ir.Node") -> list[float]:
    limits = []
    for index, name, default in ((1, "min", -_LARGEST), (2, "max", _LARGEST)):
        given = input_of(node, index)
        if given is None:
            limits.append(float(attribute(node, name, default)))
            continue
        known = constant(given)
        if known is None:
            raise unsupported(node.outputs[0], f"its {name} is computed, not a constant")
        limits.append(float(np.clip(known.item(), -_LARGEST, _LARGEST)))
    return limits


def _slopes(node: "ir.Node") -> "NDArray[np.float32]":
    slopes = constant(input_of(node, 1))
    if slopes is None:
        raise unsupported(node.outputs[0], "its slopes are computed, not a constant")
    per_channel = slopes.ndim in (3, 4) and slopes.shape[-2:] == (1, 1)
    if slopes.size != 1 and not (per_channel and slopes.shape[-3] == slopes.size):
        raise unsupported(
            node.outputs[0], f"its slopes must be one, or one a channel; got shape {list(slopes.shape)}"
        )
    return slopes.astype(np.float32).reshape(-1)


def _spelled_out(value: "ir.Value") -> Activation | None:
    """Widen the region above ``value`` until one value feeds all of it and the function is a known one."""
    order = {node: index for index, node in enumerate(_graph_of(value))}
    region: list[ir.Node] = []
    frontier = {value}
    while len(region) < _MOST_NODES:
        producers = {edge: edge.producer() for edge in frontier}
        # The latest node first, so that a value all of it depends on is met when nothing else is left.
        place = {edge: -1 if made is None else order.get(made, -1) for edge, made in producers.items()}
        latest = max(frontier, key=place.__getitem__)
        node = producers[latest]
        if node is None or node.op_type not in _ELEMENTWISE or node.domain not in ("", "ai.onnx"):
            return None
        region.append(node)
        frontier.remove(latest)
        for operand in node.inputs:
            if operand is None:
                continue
            held = constant(operand)
            if held is None:
                frontier.add(operand)
            elif held.size != 1:
                return None
        if len(frontier) == 1:
            (source,) = frontier
            name = _name_by_values(value, source)
            if name is not None:
                limits = [0.0, 6.0] if name == "clip" else []
                return _activation(name, limits, through(source))
        if not frontier:
            return None
    return None


def _graph_of(value: "ir.Value") -> "ir.Graph":
    import onnx_ir as ir

    graph = value.graph
    assert isinstance(graph, ir.Graph)
    return graph


def _name_by_values(value: "ir.Value", source: "ir.Value") -> str | None:
    grid = np.concatenate([np.linspace(-12, 12, 4801), [-60.0, 60.0]]).astype(np.float32)
    got = _evaluate(value, source, grid)
    for name, function in _known_functions().items():
        if got.shape == grid.shape and np.allclose(
            got, function(grid.astype(np.float64)), rtol=1e-5, atol=5e-6
        ):
            return name
    return None


def _evaluate(value: "ir.Value", source: "ir.Value", grid: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Run the nodes between ``source`` and ``value`` on a one-dimensional grid."""
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    part = ir.convenience.extract(_graph_of(value), [source], [value])
    part.name = "activation"
    for edge in (*part.inputs, *part.outputs):
        edge.shape = None
        edge.type = ir.TensorType(ir.DataType.FLOAT)
    evaluator = ReferenceEvaluator(ir.to_proto(ir.Model(part, ir_version=10)))
    with np.errstate(all="ignore"):
        (result,) = evaluator.run(None, {str(part.inputs[0].name): grid})
    return np.asarray(result)


def _known_functions() -> "dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]":
    from math import erf, pi, sqrt

    return {
        "relu": lambda x: np.maximum(x, 0),
        "clip": lambda x: np.clip(x, 0, 6),
        "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "gelu": lambda x: x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2))),
        "gelu_tanh": lambda x: x * 0.5 * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
        "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    }
