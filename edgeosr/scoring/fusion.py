"""One unknown score out of several parts: standardised, then weighed. Larger always means more unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A part whose standard deviation is below this share of its magnitude is a constant with rounding noise.
CONSTANT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Unknown score = sum of weights * (values - means) / stds, over the bundle's parts in its order.

    A weight of zero still lets a value that is not finite through: 0 * NaN is NaN, and NaN is unknown. All
    numbers are float32 values.

    Attributes:
        parts: names of the score parts.
        means: one a part, over known select images; 0 where the part is not usable.
        stds: > 0; 1 where the part is not usable or constant.
        weights: of the standardised parts. An export makes the sum of their magnitudes 1. A negative one
            lets what looks unknown to its part count for known.
        note: one line on where the weights come from, for reports; ``scorer.npz`` does not keep it.
    """

    parts: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    weights: tuple[float, ...]
    note: str = ""

    def scores(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the unknown score of each row of values, ``[n, parts]`` -> float32 ``[n]``."""
        gain = np.asarray(self.weights, np.float64) / self.stds
        return weighted(np.asarray(values, np.float64) - self.means, gain).astype(np.float32)

    def used(self) -> dict[str, float]:
        """Return the weights that are not zero, by part."""
        return {name: weight for name, weight in zip(self.parts, self.weights, strict=True) if weight}


def unfitted_fusion(parts: Sequence[str]) -> Fusion:
    """Return a fusion with mean 0, deviation 1 and weight 0 for every part."""
    count = len(parts)
    return Fusion(parts=tuple(parts), means=(0.0,) * count, stds=(1.0,) * count, weights=(0.0,) * count)


def float32_values(values: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    """Return numbers rounded to float32, as a ``Fusion`` holds them."""
    return tuple(np.asarray(values, np.float32).tolist())


def weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values @ weights``; as in the graph, 0 * inf is NaN, which means unknown."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(values @ weights, np.float64)
