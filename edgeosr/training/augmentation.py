"""Random changes of training images by kornia, and normalisation: applied, and measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeosr.errors import import_extra
from edgeosr.preprocessing import Preprocessing

Augmentation = Callable[[Tensor], Tensor]


def make_augmentation(size: int, *, shift: float, flip: bool, color_jitter: float) -> Augmentation:
    """Return a function that changes a batch ``[B, 3, size, size]`` of values 0..1 at random.

    Every image draws for itself. The draws come from torch's global generator, so seeding it repeats them.

    Args:
        size: side of the images, pixels.
        shift: random crop after padding with black by this share of the side.
        flip: flip half of the images horizontally.
        color_jitter: strength of brightness, contrast and saturation changes; 0 for none.

    Raises:
        MissingDependencyError: kornia is not installed.
    """
    padding = round(shift * size)
    if not (padding or flip or color_jitter):
        return lambda images: images
    # kornia takes 1.6 s to import: only here, where it is used.
    kornia: Any = import_extra("kornia.augmentation", extra="train", purpose="augmentation")
    steps = []
    if padding:
        steps.append(kornia.RandomCrop((size, size), padding=padding))
    if flip:
        steps.append(kornia.RandomHorizontalFlip(p=0.5))
    if color_jitter:
        steps.append(kornia.ColorJiggle(color_jitter, color_jitter, color_jitter, 0.0))

    def augment(images: Tensor) -> Tensor:
        for step in steps:
            images = step(images)
        return images

    return augment


class Normalise:
    """From uint8 pixels to the network's input."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self.mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
        self.device = device

    def __call__(self, pixels: Tensor, augment: Augmentation | None = None) -> Tensor:
        """Return float32 ``[B, 3, S, S]`` (channels last in memory) for uint8 ``[B, S, S, 3]``.

        ``augment`` sees values 0..1, before normalisation, so that its padding is black.
        """
        images = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255.0)
        if augment is not None:
            with torch.no_grad():
                images = augment(images)
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def pixel_statistics(
    pixels: NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return per-channel (mean, std) of uint8 ``[n, H, W, 3]`` scaled to 0..1, exact, rounded to 6 places.

    A constant channel gets std 1 / 255, so that it can be divided by.
    """
    levels = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(3):
        share = np.bincount(pixels[..., channel].reshape(-1), minlength=256) / pixels[..., channel].size
        mean = float(share @ levels)
        means.append(round(mean, 6))
        stds.append(round(max(float(np.sqrt(share @ (levels - mean) ** 2)), 1 / 255), 6))
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])
