"""What an engine with the kernel must say: ``backbone.onnx`` on the CPU, then the float64 reference.

onnxruntime keeps every rounding that the types of ``backbone.onnx`` ask for. The export records this for the
golden frames; on a device it is computed for an engine that takes frames of another size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.backbone import ENDINGS
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.bundle.tensors import EMBEDDING, LOGITS, MAP, TANGENTS, feed_of
from edgeosr.errors import BundleError
from edgeosr.runtime.batch_size import frames_at_once
from edgeosr.runtime.golden import Expected, judged, runner_up
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import Scorer


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
        BundleError: the backbone has other outputs than the scorer takes.
        InferenceError: onnxruntime cannot load or run the backbone.
        MissingDependencyError: onnxruntime is missing.
    """
    settings = SessionSettings(threads=threads, optimisation="as-typed")
    session = open_session(backbone, settings, name=BACKBONE)
    names = _outputs(session, scorer)

    def judge(batch: NDArray[np.uint8], blue_first: bool) -> tuple[NDArray[Any], ...]:
        feed = feed_of(batch, bgr=blue_first)
        outputs = run_session(session, names, feed, name=BACKBONE)
        # The batch is the first axis, but for K tangents of it.
        rows = [array.shape[name == TANGENTS :][:1] for name, array in zip(names, outputs, strict=True)]
        if any(row != (len(batch),) for row in rows):
            raise BundleError(
                f"{BACKBONE} must give one row a frame, {len(batch)} here; got outputs of the shapes "
                f"{', '.join(str(list(array.shape)) for array in outputs)}; export the bundle again"
            )
        said = reference_scores(scorer, **dict(zip(names, outputs, strict=True)))
        return said["label"], said["score"].astype(np.float32), said["values"], said["logits"]

    tangents = scorer.probes.K if scorer.probes else 0
    label, score, values, logits = judged(frames, bgr, size, judge, most=frames_at_once(size, tangents))
    second, gap = runner_up(logits, label)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return Expected(label=label, second=second, gap=gap, score=score, values=narrow)


def _outputs(session: Any, scorer: Scorer) -> tuple[str, ...]:
    ending = MAP if scorer.closed_form is not None else EMBEDDING if scorer.probes is None else TANGENTS
    wanted = (*ENDINGS[ending], *((LOGITS,) if scorer.head.kind == "external" else ()))
    found = [node.name for node in session.get_outputs()]
    if sorted(found) != sorted(wanted):
        raise BundleError(
            f"{BACKBONE} must have the outputs {', '.join(wanted)}, which scorer.npz takes; got "
            f"{', '.join(found)}; export the bundle again"
        )
    return wanted
