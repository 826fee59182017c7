"""Bundles on the plug-in for TensorRT, over doubles of libnvinfer and of the driver that are C libraries.

The kernel's own source runs on the CPU, the engine computes what ``backbone.onnx`` says. In a process of its
own: see ``test_tensorrt.py``; with NVIDIA's headers by ``make native-tensorrt TENSORRT_INCLUDE=FOLDER``.
"""

import numpy as np
import pytest
from cuda_streams import QueuedCudaDouble
from handle import BUNDLE, FAILED, FRAME, MEMORY, NO_BACKEND, NOT_VERIFIED, frame, said_on_opening, text_at

from edgeosr.runtime.native.library import BGR8, RGB8

METHODS = (
    ("closed-form", "fp16", "external"),
    ("closed-form", "fp32", "cosine"),
    ("probes", "fp16", "cosine"),
    ("none", "fp32", "external"),
)


def require_same(said, rows):
    """Bit by bit what the Python runner says of the same frames over the same engine and kernel."""
    assert said["index"].tolist() == rows.label.tolist()
    np.testing.assert_array_equal(said["score"], rows.score)
    np.testing.assert_array_equal(said["parts"][:, : rows.values.shape[1]], rows.values)


@pytest.mark.parametrize("integrated", [True, False], ids=["shared memory", "own memory"])
@pytest.mark.parametrize(("method", "precision", "head"), METHODS)
def test_verdicts_are_those_of_python_bit_by_bit(machine, frames, method, precision, head, integrated):
    made = machine(method, precision, head, integrated=integrated)
    handle = made.open() if made.add() else None
    python = made.python(made.trt.engines[b"plan"], QueuedCudaDouble(integrated=integrated))
    limit = made.bundle.manifest.threshold.value
    for count, bgr in ((1, False), (1, True), (4, False), (6, True), (2, False)):  # 6: in two pieces
        pixel_format = BGR8 if bgr else RGB8
        said = handle.judge(*(frame(one, pixel_format=pixel_format) for one in frames[:count]))
        rows = python.run(frames[:count], bgr=bgr, threshold=limit)
        require_same(said, rows)
        assert said["accepted"].tolist() == [int(each <= limit) for each in rows.score]
    python.close()
