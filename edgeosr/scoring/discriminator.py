"""The discriminator in float64 NumPy: plain layers on the raw embedding."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layers = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
ROWS = 4096  # taken at a time: bounds memory


def discriminator_logit(
    layers: Layers, slope: float, embeddings: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the logit of "known" of each row, float64 ``[n]``; zeros without layers.

    Args:
        layers: (weight ``[out, in]``, bias ``[out]``) pairs, the last with one output; LeakyReLU between
            them, none after the last.
        slope: LeakyReLU's below zero.
        embeddings: z, ``[n, D]``, neither standardised nor normalised.
    """
    logits = np.zeros(len(embeddings))
    if not layers:
        return logits
    wide = [(weight.astype(np.float64).T, bias.astype(np.float64)) for weight, bias in layers]
    for start in range(0, len(embeddings), ROWS):
        value = np.asarray(embeddings[start : start + ROWS], np.float64)
        for number, (weight, bias) in enumerate(wide):
            if number:
                value = np.where(value > 0, value, slope * value)
            value = value @ weight + bias
        logits[start : start + ROWS] = value[:, 0]
    return logits
