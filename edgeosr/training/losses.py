"""The losses: m-OvR on cosines, and the cross-entropy baseline."""

import math

import torch
from torch import Tensor
from torch.nn import functional

# Cosines are kept this far from +-1, where the margin's square root has no finite slope.
COSINE_LIMIT = 1.0 - 1e-6


def movr_loss(cosines: Tensor, labels: Tensor, *, temperature: float = 32.0, margin: float = 0.5) -> Tensor:
    """Margin one-versus-rest loss of each sample.

    ``s_k = cos(arccos(c_k) + m)`` for every k, target and others alike, and
    ``L = softplus(-T s_y) + sum_{k != y} softplus(T s_k)``: the sum of K binary cross-entropies with
    ``p(k) = sigmoid(T s_k)``, in a form that does not overflow.
    Source: Park et al., arXiv 2209.11436v2, eq. 2 and 3.

    Args:
        cosines: c, float ``[B, C]``, -1..1; values beyond +-(1 - 1e-6) are clamped (no gradient there).
        labels: int64 ``[B]``.
        temperature: T > 0.
        margin: m in radians, >= 0.

    Returns:
        float32 ``[B]``, >= 0.
    """
    c = cosines.float()
    if margin:
        c = c.clamp(-COSINE_LIMIT, COSINE_LIMIT)
        c = c * math.cos(margin) - torch.sqrt(1.0 - c * c) * math.sin(margin)
    own = functional.one_hot(labels, c.shape[1]).to(torch.bool)
    return functional.softplus(torch.where(own, -temperature * c, temperature * c)).sum(dim=1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each sample's softmax cross-entropy ``[B]`` for logits ``[B, C]`` and int64 labels ``[B]``."""
    return functional.cross_entropy(logits.float(), labels, reduction="none")
