"""Names of the tensors that a bundle's graphs take and give: the contract between export and runtime."""

import numpy as np
from numpy.typing import NDArray

# Inputs of model.onnx and backbone.onnx.
FRAMES = "frames"  # uint8 [B, height, width, 3], RGB
CHANNEL_ORDER = "channel_order"  # int64 [3]: [0, 1, 2], or [2, 1, 0] for BGR frames
# Outputs of model.onnx.
LABEL = "label"  # int64 [B]
SCORE = "score"  # float32 [B], larger = more unknown
VALUES = "values"  # float32 [B, parts], the bundle's score parts in its order
# Outputs of backbone.onnx: a map, or an embedding with or without tangents; logits for an external head.
MAP = "map"  # [B, D, H, W], before the last activation
EMBEDDING = "embedding"  # [B, D]
TANGENTS = "tangents"  # [K, B, D]
LOGITS = "logits"  # float32 [B, C]


def channel_order(bgr: bool) -> NDArray[np.int64]:
    """Return what ``CHANNEL_ORDER`` takes for frames in this order."""
    return np.array([2, 1, 0] if bgr else [0, 1, 2], np.int64)
