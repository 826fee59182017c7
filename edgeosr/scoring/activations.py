"""The activations a closed form knows, and their derivatives, in float64 NumPy.

The value of a derivative at a kink is part of the definition, because graph, kernel and this reference must
agree there; it is what torch's autograd gives:

=============  ==============================================================
identity       1
relu           1 if y > 0, else 0
leaky_relu     1 if y > 0, else alpha
prelu          1 if y > 0, else the channel's slope
clip           1 if low < y < high, else 0 (torch's ReLU6 and Hardtanh)
elu            1 if y > 0, else alpha exp(y)
hard_swish     0 if y <= -3; 1 if y >= 3; else y / 3 + 1/2
=============  ==============================================================

silu, gelu (with the normal law), gelu_tanh and mish are smooth.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
# Their derivatives jump, so that rounding of the map moves what is computed of these by a whole step.
KINKED = frozenset({"relu", "leaky_relu", "prelu", "clip", "elu", "hard_swish"})
_Pair = tuple[Float64, Float64]

_erf = np.frompyfunc(math.erf, 1, 1)


def activate(name: str, parameters: NDArray[np.float32], y: Float64) -> _Pair:
    """Return (act(y), act'(y)), both float64 of y's shape.

    Args:
        name: one of ``scorer.ACTIVATIONS``.
        parameters: the activation's constants, as ``scorer.ClosedForm`` lists them.
        y: float64 ``[batch, D, ...]``; a parameter per channel belongs to axis 1. A NaN gives NaN.
    """
    constants = np.asarray(parameters, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        value, slope = _FORMULAS[name](y, constants)
    unknown = np.isnan(y)
    return np.where(unknown, np.nan, value), np.where(unknown, np.nan, slope)


def _identity(y: Float64, constants: Float64) -> _Pair:
    return y, np.ones_like(y)


def _relu(y: Float64, constants: Float64) -> _Pair:
    return np.maximum(y, 0.0), (y > 0).astype(np.float64)


def _leaky(y: Float64, constants: Float64) -> _Pair:
    slopes = constants.reshape(1, -1, *([1] * (y.ndim - 2)))
    return np.where(y > 0, y, slopes * y), np.where(y > 0, 1.0, slopes)


def _clip(y: Float64, constants: Float64) -> _Pair:
    low, high = constants
    return np.clip(y, low, high), ((y > low) & (y < high)).astype(np.float64)


def _elu(y: Float64, constants: Float64) -> _Pair:
    alpha = constants[0]
    below = np.minimum(y, 0.0)
    return np.where(y > 0, y, alpha * np.expm1(below)), np.where(y > 0, 1.0, alpha * np.exp(below))


def _hard_swish(y: Float64, constants: Float64) -> _Pair:
    value = y * np.clip(y / 6 + 0.5, 0.0, 1.0)
    return value, np.where(y <= -3, 0.0, np.where(y >= 3, 1.0, y / 3 + 0.5))


def _silu(y: Float64, constants: Float64) -> _Pair:
    gate = _sigmoid(y)
    return y * gate, gate * (1 + y * (1 - gate))


def _gelu(y: Float64, constants: Float64) -> _Pair:
    below = 0.5 * (1 + np.asarray(_erf(y / math.sqrt(2)), np.float64))
    return y * below, below + y * np.exp(-y * y / 2) / math.sqrt(2 * math.pi)


def _gelu_tanh(y: Float64, constants: Float64) -> _Pair:
    factor, cubic = math.sqrt(2 / math.pi), 0.044715
    bend = np.tanh(factor * (y + cubic * y**3))
    # 1 - tanh^2 is 0 long before y^3 leaves float64's range.
    near = np.clip(y, -50.0, 50.0)
    slope = 0.5 * near * (1 - bend * bend) * factor * (1 + 3 * cubic * near * near)
    return 0.5 * y * (1 + bend), 0.5 * (1 + bend) + slope


def _mish(y: Float64, constants: Float64) -> _Pair:
    bend = np.tanh(np.logaddexp(0.0, y))
    return y * bend, bend + y * _sigmoid(y) * (1 - bend * bend)


def _sigmoid(y: Float64) -> Float64:
    return np.exp(-np.logaddexp(0.0, -y))


_FORMULAS: dict[str, Callable[[Float64, Float64], _Pair]] = {
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
