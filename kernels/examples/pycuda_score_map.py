"""Score a map that PyCUDA holds, on PyCUDA's stream.

    pip install 'edgeosr[pycuda]'
    python -m edgeosr.kernels.examples.pycuda_score_map SCORER.npz MAP.npy

SCORER.npz is a bundle's scorer.npz; MAP.npy [B, D, H, W], float16 or float32, before the last activation.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeosr.errors import EdgeosrError
from edgeosr.kernels.device_verdicts import ACCEPTED
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.scoring.scorer_file import read_scorer


def main(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    # Makes the device's primary context current: the one that torch, CuPy and FusedScorer use as well.
    import pycuda.autoprimaryctx
    import pycuda.driver
    from pycuda import gpuarray

    scorer_path, map_path = arguments
    y = np.load(map_path, allow_pickle=False)
    try:
        with FusedScorer(read_scorer(Path(scorer_path).read_bytes())) as scorer, scorer.room(len(y)) as room:
            stream = pycuda.driver.Stream()
            on_device = gpuarray.to_gpu_async(y, stream=stream)
            # Takes the GPUArray where it lies, and returns before the kernel has run: in a camera loop, keep
            # scorer, room, stream and on_device from frame to frame.
            scorer.score_map(on_device, stream=stream, into=room)
            verdicts = room.to_host()  # waits for the stream
            parts = scorer.scorer.fusion.parts
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for verdict in verdicts:
        word = "accepted" if verdict["flags"] & ACCEPTED else "unknown "
        values = (f"{name} {value:.6g}" for name, value in zip(parts, verdict["values"], strict=False))
        print(f"{word} class {verdict['label']} score {verdict['score']:.6g}", *values)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
