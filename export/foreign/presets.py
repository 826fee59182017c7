"""Preprocessing by the names that people use for it: what a pixel's values are turned into.

A preset says nothing of how a frame is cut: networks that share one differ in that (ImageNet's were
evaluated with ``--crop-fraction`` from 0.875 to 1).
"""

from dataclasses import dataclass
from typing import NamedTuple

from edgeosr.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Color

Triple = tuple[float, float, float]


class Preset(NamedTuple):
    """Mean and std of values in 0..1, in RGB order; and the order in which the model takes channels."""

    mean: Triple
    std: Triple
    color: Color = "rgb"


# torch's and timm's: (value / 255 - mean) / std.
IMAGENET = Preset(IMAGENET_MEAN, IMAGENET_STD)
# Inception, EfficientNet-Lite, Keras' mode "tf", and most vision transformers: value / 127.5 - 1.
INCEPTION = Preset((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = Preset((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
ZERO_TO_ONE = Preset((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
ZERO_TO_255 = Preset((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
# The first networks of Caffe, and what Keras calls "caffe": values of 0..255, only their mean taken off.
CAFFE = Preset((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255), "bgr")

# By their main names, in the order of the documentation.
MAIN = {
    "imagenet": IMAGENET,
    "inception": INCEPTION,
    "clip": CLIP,
    "0..1": ZERO_TO_ONE,
    "0..255": ZERO_TO_255,
    "caffe": CAFFE,
}
ALIASES = {
    "torchvision": "imagenet",
    "torch": "imagenet",
    "timm": "imagenet",
    "tf": "inception",
    "-1..1": "inception",
    "openai": "clip",
    "none": "0..1",
    "yolo": "0..1",
    "ultralytics": "0..1",
    "0-1": "0..1",
    "raw": "0..255",
    "0-255": "0..255",
    "keras-caffe": "caffe",
}
PRESETS = {**MAIN, **{alias: MAIN[name] for alias, name in ALIASES.items()}}


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a preset or a file says about preprocessing; None where it says nothing.

    Attributes:
        mean, std: of values in 0..1, in RGB order.
        color, fit, resize_to: see ``Preprocessing``.
        crop_fraction: share of the side that the cut keeps, as timm's ``crop_pct``.
        resampling: one of ``RESAMPLINGS`` of ``recipe.py``.
        note: what to tell the user of it; empty for nothing.
    """

    mean: Triple | None = None
    std: Triple | None = None
    color: Color | None = None
    fit: str | None = None
    resize_to: int | None = None
    crop_fraction: float | None = None
    resampling: str | None = None
    note: str = ""
