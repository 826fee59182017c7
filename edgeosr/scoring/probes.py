"""The probes of J_u: the directions along which the Jacobian norm is taken, and how they make a norm."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

PROBE_FAMILIES = ("random", "dct", "principal")


@dataclass(frozen=True, kw_only=True)
class Probes:
    """K fixed directions v_k, orthonormal in the space of a tensor h, and their tangents t_k = (dz/dh) v_k.

    With u = z / max(|z|, FLOOR):

        J_u^2 = scale / max(|z|, FLOOR)^2 * sum_k max(0, |t_k|^2 - (u . t_k)^2)

    ``scorer.npz`` keeps K, n and gain, all that scoring needs; the manifest keeps what ``WRITTEN`` lists.

    Attributes:
        K: number of directions and tangents, 1 to n.
        n: size of one sample's h.
        gain: the tangents come as gain * t_k, a power of two that keeps them inside fp16; 1 for model.onnx.
        cut: which h was asked for: ``input``, ``last-stage``, ``last-conv`` or a tensor's name.
        tensor: name of h in the classifier's graph.
        family: ``random``, ``dct`` or ``principal``.
        seed: of the directions.
        errors: how K was chosen: (K tried, standard error of log J_u between disjoint sets of K directions
            as a share of its spread over known select images), in the order tried; empty if K was given.
        largest_error: the share that K had to stay below; None if K was given.
        with_respect_to: what h is, in words.
        directions: float32 ``[K, n]``, orthonormal rows; None once the graph that holds them is written.
    """

    WRITTEN: ClassVar = ("K", "n", "gain", "cut", "tensor", "family", "seed", "errors", "largest_error")

    K: int
    n: int
    gain: float = 1.0
    cut: str = "input"
    tensor: str = ""
    family: str = PROBE_FAMILIES[0]
    seed: int = 0
    errors: tuple[tuple[int, float], ...] = ()
    largest_error: float | None = None
    with_respect_to: str = ""
    directions: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def scale(self) -> float:
        """The factor n / K / gain^2: with random directions the estimate of |dz/dh|_F^2 is then unbiased."""
        return self.n / self.K / self.gain**2

    def as_json(self) -> dict[str, Any]:
        """Return the fields of ``WRITTEN`` as plain values, for the manifest."""
        return {name: getattr(self, name) for name in self.WRITTEN}
