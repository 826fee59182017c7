"""The packed scorer: every constant between the backbone's last tensor and the verdict.

One ``Scorer`` feeds three implementations that must agree: the ONNX scoring graph, the NumPy reference
(``reference.py``) and the CUDA kernel. It is stored as ``scorer.npz`` (``scorer_file.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.thresholds import Limit

Float32 = NDArray[np.float32]
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
class PartConstants:
    """What a score part brings of its own into the scorer, its file and the kernel.

    Attributes:
        rows: float32 ``[R, D]``, multiplied with z beside the head; R may be 0.
        biases: float32 ``[R]``, added to the products.
        numbers: float32 ``[n]``, n may be 0: a few of the part, or some of each class.
    """

    rows: Float32
    biases: Float32
    numbers: Float32


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Everything the scoring part needs.

    Attributes:
        dimension: D, length of the embedding z.
        classes: C.
        head: see ``Head``.
        fusion: see ``Fusion``; it lists the parts.
        threshold: accept if score <= threshold. float32 value.
        class_thresholds: float32 values, one a class: accept if score <= that of the label, in the place of
            ``threshold``; empty: one threshold for all. The fused kernel takes none yet.
        closed_form: the Jacobian norm is J_z, from the map.
        probes: it is J_u, from tangents. Never both; with neither (``--jacobian none``) there is no such
            part.
        layers: discriminator MLP as (weight float32 ``[out, in]``, bias float32 ``[out]``) pairs, input z,
            last output 1 (the logit of "known"); empty = no discriminator (its logit is then 0).
        slope: LeakyReLU slope between the layers.
        constants: by part, what the listed parts bring of their own.
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
    constants: Mapping[str, PartConstants] = field(default_factory=dict)
    class_thresholds: tuple[float, ...] = ()

    @property
    def limit(self) -> Limit:
        """What scores are compared with: one number, or one a class."""
        return self.class_thresholds or self.threshold
