"""act'(y) of the last activation as ONNX nodes.

The value at a kink is part of the definition (the CUDA kernel and the NumPy reference follow it); it is what
torch's autograd gives:

=============  ==============================================================
identity       1
relu           1 if y > 0, else 0
leaky_relu     1 if y > 0, else alpha
prelu          1 if y > 0, else the channel's slope
clip           1 if low < y < high, else 0 (torch's ReLU6 and Hardtanh)
elu            1 if y > 0, else alpha exp(y)
hard_swish     0 if y <= -3; 1 if y >= 3; else y / 3 + 1/2
silu           s (1 + y (1 - s)), s = sigmoid(y)
gelu           Phi(y) + y phi(y), Phi and phi of the standard normal law
gelu_tanh      (1 + t)/2 + y/2 (1 - t^2) u'(y), t = tanh(u), u = sqrt(2/pi) (y + 0.044715 y^3)
mish           t + y s (1 - t^2), t = tanh(softplus(y)), s = sigmoid(y)
=============  ==============================================================
"""

from collections.abc import Callable
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.export.closed_form.activations import Activation
from edgeosr.export.graph.writer import NodeWriter, import_onnx_ir

if TYPE_CHECKING:
    import onnx_ir as ir

# Activations whose derivative is 0 or 1, so that it equals its own square.
BINARY = ("identity", "relu", "clip")
_FLOAT = 1  # onnx.TensorProto.FLOAT


def add_mask(writer: NodeWriter, activation: Activation, y: "ir.Value") -> "ir.Value":
    """Add nodes for ``act'(y)``.

    Args:
        writer: where the nodes go.
        activation: the activation and its parameters.
        y: float32 ``[B, D, H, W]``, the map before it.

    Returns:
        float32 ``[B, D, H, W]``.
    """
    return _DERIVATIVES[activation.name](_Formula(writer, y, activation.parameters.tolist()))


class _Formula:
    """An elementwise formula of y in the making; each method adds one node. Plain numbers are constants."""

    def __init__(self, writer: NodeWriter, y: "ir.Value", parameters: list[float]) -> None:
        self.writer = writer
        self.y = y
        self.parameters = parameters

    def number(self, number: float) -> "ir.Value":
        return self.writer.constant(np.array(number, np.float32))

    def op(self, op_type: str, *inputs: "ir.Value | float") -> "ir.Value":
        edges = [self.number(edge) if isinstance(edge, (int, float)) else edge for edge in inputs]
        return self.writer.op(op_type, *edges)

    def as_float(self, condition: "ir.Value") -> "ir.Value":
        return self.writer.op("Cast", condition, to=_FLOAT)

    def positive(self) -> "ir.Value":
        return self.op("Greater", self.y, 0.0)


def _identity(f: _Formula) -> "ir.Value":
    one = import_onnx_ir().tensor(np.ones(1, np.float32))
    return f.writer.op("ConstantOfShape", f.op("Shape", f.y), value=one)


def _relu(f: _Formula) -> "ir.Value":
    return f.as_float(f.positive())


def _leaky(f: _Formula) -> "ir.Value":
    slopes = f.writer.constant(np.array(f.parameters, np.float32).reshape(1, -1, 1, 1))
    return f.op("Where", f.positive(), 1.0, slopes)


def _clip(f: _Formula) -> "ir.Value":
    low, high = f.parameters
    return f.as_float(f.op("And", f.op("Greater", f.y, low), f.op("Less", f.y, high)))


def _elu(f: _Formula) -> "ir.Value":
    # The minimum keeps exp from overflowing where Where discards it.
    below = f.op("Mul", f.op("Exp", f.op("Min", f.y, 0.0)), f.parameters[0])
    return f.op("Where", f.positive(), 1.0, below)


def _hard_swish(f: _Formula) -> "ir.Value":
    slope = f.op("Add", f.op("Mul", f.y, 1 / 3), 0.5)
    inside = f.op("Where", f.op("Greater", f.y, -3.0), slope, 0.0)
    return f.op("Where", f.op("Less", f.y, 3.0), inside, 1.0)


def _silu(f: _Formula) -> "ir.Value":
    s = f.op("Sigmoid", f.y)
    return f.op("Mul", s, f.op("Add", f.op("Mul", f.y, f.op("Sub", 1.0, s)), 1.0))


def _gelu(f: _Formula) -> "ir.Value":
    error = f.op("Erf", f.op("Mul", f.y, 1 / sqrt(2)))
    cumulative = f.op("Mul", f.op("Add", error, 1.0), 0.5)
    # y^2 overflows to inf for a huge y; exp(-inf) is 0, and 0 times a finite y is 0: no NaN.
    density = f.op("Exp", f.op("Mul", f.op("Mul", f.y, f.y), -0.5))
    return f.op("Add", cumulative, f.op("Mul", f.op("Mul", f.y, density), 1 / sqrt(2 * pi)))


def _gelu_tanh(f: _Formula) -> "ir.Value":
    # Beyond |y| = 12 the derivative is 0 or 1 in fp32; without the clip y^2 (1 - t^2) is inf * 0 = NaN there.
    y = f.op("Clip", f.y, -12.0, 12.0)
    factor, cubic = sqrt(2 / pi), 0.044715
    square = f.op("Mul", y, y)
    inner = f.op("Add", f.op("Mul", square, factor * cubic), factor)
    t = f.op("Tanh", f.op("Mul", y, inner))
    slope = f.op("Add", f.op("Mul", square, 3 * factor * cubic), factor)
    weighted = f.op("Mul", f.op("Mul", y, slope), f.op("Sub", 1.0, f.op("Mul", t, t)))
    return f.op("Mul", f.op("Add", f.op("Add", t, weighted), 1.0), 0.5)


def _mish(f: _Formula) -> "ir.Value":
    t = f.op("Tanh", f.op("Softplus", f.y))
    gate = f.op("Mul", f.op("Mul", f.y, f.op("Sigmoid", f.y)), f.op("Sub", 1.0, f.op("Mul", t, t)))
    return f.op("Add", t, gate)


_DERIVATIVES: "dict[str, Callable[[_Formula], ir.Value]]" = {
    "identity": _identity,
    "relu": _relu,
    "leaky_relu": _leaky,
    "prelu": _leaky,
    "clip": _clip,
    "elu": _elu,
    "hard_swish": _hard_swish,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "mish": _mish,
}
