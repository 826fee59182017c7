"""The packed scorer: every constant between the backbone's last tensor and the verdict.

One ``Scorer`` feeds three implementations that must agree: the ONNX scoring graph, the NumPy reference
(``reference.py``) and the CUDA kernel. It is stored as ``scorer.npz``, without pickles.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
FORMAT_VERSION = 3  # of scorer.npz: the newest there is; scorer_file.py writes the oldest that will do
HEADS = ("cosine", "linear", "external")
ACTIVATIONS = (
    "identity",
    "relu",
    "leaky_relu",
    "prelu",
    "clip",
    "elu",
    "hard_swish",
    "silu",
    "gelu",
    "gelu_tanh",
    "mish",
)


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """Constants of the closed-form Jacobian norm at the last convolution.

    With ``y`` the map before its last activation, ``[B, D, H, W]``, Q = H W and m_d(q) = act'(y_d(q)):
    ``|dz/dh|_F^2 = 1/Q^2 sum_d sum_t table[d, t] sum_q m_d(q) m_d(q + offsets[t])``, out-of-map = 0.

    Attributes:
        activation: one of ``ACTIVATIONS``.
        parameters: float32, the activation's constants: ``leaky_relu`` and ``elu`` [alpha], ``clip``
            [low, high], ``prelu`` slopes [D] or [1], others empty.
        table: float32 ``[D, taps]``, autocorrelation of filter d (groups, stride, dilation and the scale
            of a BatchNormalization after the convolution taken in), symmetric pairs of offsets folded
            into one tap of twice the value.
        offsets: int32 ``[taps, 2]``, (vertical, horizontal) displacement in positions of y; (0, 0) first.
    """

    activation: str
    parameters: Float32
    table: Float32
    offsets: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Constants of J_u, the Jacobian norm of the unit embedding, from K tangents.

    With t_k = (dz/dh) v_k the derivative of z along the direction v_k (orthonormal, in the space of h) and
    u = z / max(|z|, FLOOR):

        J_u^2 = scale / max(|z|, FLOOR)^2 * sum_k max(0, |t_k|^2 - (u . t_k)^2)

    The directions are constants of the graph, not of the scorer; tangents are ``[K, B, D]``.

    Attributes:
        K: number of tangents, 1 to n.
        n: size of the space of h, one sample's.
        gain: the tangents come as gain * t_k, a power of two that keeps them inside fp16; 1 for model.onnx.
    """

    K: int
    n: int
    gain: float = 1.0

    @property
    def scale(self) -> float:
        """The factor n / K / gain^2: with random directions the estimate of |dz/dh|_F^2 is then unbiased."""
        return self.n / self.K / self.gain**2


@dataclass(frozen=True, kw_only=True)
class Head:
    """Class scores from the embedding.

    Attributes:
        kind: ``cosine`` (logits are cosines between z and unit rows of ``weight``), ``linear``
            (``weight @ z + bias``), or ``external`` (the graph computes the logits; arrays empty).
        weight: float32 ``[C, D]``.
        bias: float32 ``[C]``; zeros for ``cosine``.
        temperature: T of the m-OvR loss; logits are multiplied by it. 1 for linear and external.
        margin: m of the m-OvR loss, radians, 0 to pi/2: for ``cosine`` the loss takes cos(arccos(c) + m) for
            every cosine c, as in training. 0 for linear and external.
    """

    kind: str
    weight: Float32
    bias: Float32
    temperature: float
    margin: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Unknown score = sum of weights * (parts - means) / stds, in the order of ``PART_NAMES``.

    A weight of zero still lets a part that is not finite through: 0 * NaN is NaN, and NaN is unknown.
    All float32 ``[5]``; stds > 0.
    """

    means: Float32
    stds: Float32
    weights: Float32


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Everything the scoring part needs.

    Attributes:
        dimension: D, length of the embedding z.
        classes: C.
        head: see ``Head``.
        fusion: see ``Fusion``.
        threshold: accept if score <= threshold. float32 value.
        closed_form: the Jacobian norm is J_z, from the map.
        probes: it is J_u, from tangents. Never both; with neither (``--jacobian none``) J is 1 and its
            part 0.
        layers: discriminator MLP as (weight float32 ``[out, in]``, bias float32 ``[out]``) pairs, input z,
            last output 1 (the logit of "known"); empty = no discriminator (its logit is then 0).
        slope: LeakyReLU slope between the layers.
    """

    dimension: int
    classes: int
    head: Head
    fusion: Fusion
    threshold: float
    closed_form: ClosedForm | None = None
    probes: Probes | None = None
    layers: tuple[tuple[Float32, Float32], ...] = field(default=())
    slope: float = 0.2
