"""Names of the tensors that a bundle's graphs take and give: the contract between export and runtime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Inputs of model.onnx and backbone.onnx, both required. In older bundles the second has a default, which some
# back ends build in and then judge BGR as RGB.
FRAMES = "frames"  # uint8 [B, height, width, 3], RGB
CHANNEL_ORDER = "channel_order"  # int64 [3]: [0, 1, 2], or [2, 1, 0] for BGR frames
# What their front ends make, and the input of body.onnx: float32 [B, 3, height, width], normalised.
PIXELS = "pixels"
# Outputs of model.onnx.
LABEL = "label"  # int64 [B]
SCORE = "score"  # float32 [B], larger = more unknown
VALUES = "values"  # float32 [B, parts], the bundle's score parts in its order
# Outputs of backbone.onnx and body.onnx: a map, or an embedding with or without tangents; logits for an
# external head.
MAP = "map"  # [B, D, H, W], before the last activation
EMBEDDING = "embedding"  # [B, D]
TANGENTS = "tangents"  # [K, B, D]
LOGITS = "logits"  # float32 [B, C]


def channel_order(bgr: bool) -> NDArray[np.int64]:
    """Return what ``CHANNEL_ORDER`` takes for frames in this order."""
    return np.array([2, 1, 0] if bgr else [0, 1, 2], np.int64)


def feed_of(frames: NDArray[np.uint8], *, bgr: bool = False) -> dict[str, NDArray[Any]]:
    """Return the whole input of ``model.onnx`` or ``backbone.onnx``.

    Args:
        frames: uint8 ``[B, height, width, 3]``.
        bgr: the channels come blue first.
    """
    return {FRAMES: frames, CHANNEL_ORDER: channel_order(bgr)}
