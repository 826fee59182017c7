"""What the tests of the OpenVINO back end share: the library that is installed, and frames of all sorts."""

import numpy as np

from edgeosr.runtime.native.library import openvino_library

LIBRARY = openvino_library().encode()
OPENVINO = {"backend": b"openvino", "backend_library": LIBRARY}


def frames_of(count=10, seed=3):
    """Frames of all sorts of sizes, with a colour cast each."""
    rng = np.random.default_rng(seed)
    sizes = [(1, 1), (8, 8), (7, 90), (20, 30), (64, 48), (480, 3), *rng.integers(2, 70, (count, 2)).tolist()]
    return [
        (rng.integers(0, 256, (height, width, 3)) * rng.uniform(0.1, 1, 3)).astype(np.uint8)
        for height, width in sizes
    ]
