"""What every backbone is: a module from a normalised image to the embedding z."""

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """Base of all backbones: ``forward(x)`` maps ``[B, 3, S, S]`` to ``z [B, dimension]``.

    Ours end in convolution (+ BatchNorm) (+ skip) -> activation -> global average pool -> flatten, the
    pattern that the export's closed-form Jacobian norm needs; z is post-activation and not normalised.

    Attributes:
        dimension: length of z.
        mean, std: the normalisation its weights were trained with, or None (then the known training
            images' own statistics are used).
    """

    dimension: int
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``z [B, dimension]`` for ``x [B, 3, S, S]``, normalised float."""
        raise NotImplementedError


def channels_last(module: nn.Module, device: torch.device | str | None = None) -> None:
    """Move a module to ``device`` (None: where it is), its convolutions' weights in channels-last order."""
    # torch's stubs lack this overload; the call is documented (torch.nn.Module.to).
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def pooled(features: Tensor) -> Tensor:
    """Average ``[B, D, H, W]`` over all positions to ``[B, D]``."""
    return torch.flatten(nn.functional.adaptive_avg_pool2d(features, 1), 1)
