"""What an engine with the kernel must say: ``backbone.onnx`` on the CPU, then the float64 reference.

onnxruntime keeps every rounding that the types of ``backbone.onnx`` ask for. The export records this for the
golden frames; on a device it is computed for an engine that takes frames of another size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.runtime.golden import LEAST_FRAMES, Expected, class_gaps, judged
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import Scorer

_NAME = "backbone.onnx"


def typed_expected(
    backbone: bytes,
    scorer: Scorer,
    frames: NDArray[np.uint8],
    bgr: NDArray[np.bool_],
    size: tuple[int, int],
    *,
    threads: int | None = None,
) -> Expected:
    """Judge stored frames as an engine of this backbone must.

    Args:
        backbone: the bytes of ``backbone.onnx``.
        scorer: of ``scorer.npz``.
        frames: as stored, uint8 ``[n, h, w, 3]``.
        bgr: ``[n]``, which of them are BGR.
        size: (height, width) that they are judged at.
        threads: of onnxruntime.

    Raises:
        InferenceError: onnxruntime cannot load or run the backbone.
        MissingDependencyError: onnxruntime is missing.
    """
    settings = SessionSettings(threads=threads, optimisation="as-typed")
    session = open_session(backbone, settings, name=_NAME)
    names = [node.name for node in session.get_outputs()]

    def judge(batch: NDArray[np.uint8], blue_first: bool) -> tuple[NDArray[Any], ...]:
        order = np.array([2, 1, 0] if blue_first else [0, 1, 2], np.int64)
        outputs = run_session(session, names, {"frames": batch, "channel_order": order}, name=_NAME)
        said = reference_scores(scorer, **dict(zip(names, outputs, strict=True)))
        return said["label"], said["score"].astype(np.float32), said["logits"]

    # Every tangent is as large as what it is the tangent of.
    most = LEAST_FRAMES // (1 + (scorer.probes.K if scorer.probes else 0))
    label, score, logits = judged(frames, bgr, size, judge, most=most)
    return Expected(label=label, score=score, gap=class_gaps(logits))
