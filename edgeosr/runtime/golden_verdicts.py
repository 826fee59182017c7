"""The golden frames through an open Runtime: what it says of them, and whether that is what it must say."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.engines import BUILDERS
from edgeosr.bundle.manifest import BODY
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import BundleError, InferenceError
from edgeosr.preprocessing import COLORS, Color
from edgeosr.runtime.agreement import Found, agreement
from edgeosr.runtime.bands import Band, engine_band, same_graph_band
from edgeosr.runtime.batch_size import frames_at_once
from edgeosr.runtime.bundle_golden import bundle_golden
from edgeosr.runtime.golden import Expected, Golden, enlarged, judged
from edgeosr.runtime.sessions import CPU_ONLY
from edgeosr.scoring.activations import KINKED
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.parts import part
from edgeosr.scoring.scorer import Scorer
from edgeosr.scoring.thresholds import Limit
from edgeosr.verdict import Verdict

# Frames of a batch where no engine runs, which has its memory already: a few need less beside the frames that
# an application judges.
ON_PROCESSOR = 4


class Judge(Protocol):
    """What is asked of a Runtime here; see ``Runtime``."""

    backend: str
    graph: str
    classes: tuple[str, ...]
    frame: tuple[int, int] | None
    providers: tuple[str, ...]

    @property
    def threshold(self) -> float | Mapping[str, float]:
        """Frames with a score up to this are accepted; one for each class in a mapping."""

    def __call__(self, frames: Sequence[NDArray[np.uint8]], *, color: Color) -> list[Verdict]:
        """Judge a list of frames."""


def found_by(runtime: Judge, golden: Golden, size: tuple[int, int]) -> list[Found]:
    """Judge every golden frame at (height, width) ``size``, alone and again in batches."""
    return _alone(runtime, golden, size) + _in_batches(runtime, golden, size)


def limit_of(runtime: Judge) -> Limit:
    """Return the runtime's threshold as the scores are compared with it."""
    threshold = runtime.threshold
    return tuple(threshold.values()) if isinstance(threshold, Mapping) else threshold


class Half(NamedTuple):
    """Of the golden verdicts: what one graph must say, what rounding can do, and the fusion of its score."""

    expected: Expected
    band: Band
    fusion: Fusion


def half_of(bundle: Bundle, golden: Golden, graph: str) -> Half:
    """Return the half for ``model.onnx`` or ``body.onnx``, the one without and the other with a rounding."""
    fusion, body = bundle.manifest.fusion, bundle.manifest.body
    if graph != BODY:
        return Half(golden.portable, same_graph_band(len(fusion.parts), _steps(bundle)), fusion)
    assert golden.body is not None and golden.body_rounding is not None and body is not None, "no body"
    return Half(golden.body, engine_band(golden.body_rounding), body.fusion or fusion)


def _steps(bundle: Bundle) -> tuple[bool, ...]:
    """Tell which parts rounding may move by a step, see ``Band``; of none for a smooth activation."""
    kinked = is_kinked(bundle_scorer(bundle))
    return tuple(kinked and part(name).counts_masks for name in bundle.manifest.parts)


def is_kinked(scorer: Scorer) -> bool:
    """Tell whether its Jacobian norm may move by a step.

    Tangents of probes pass through every activation behind the cut, of which the scorer does not tell.
    """
    closed_form = scorer.closed_form
    return scorer.probes is not None or (closed_form is not None and closed_form.activation in KINKED)


def require_frame_size(runtime: Judge, golden: Golden) -> None:
    """Raise BundleError unless ``model.onnx`` takes frames of the size that the golden ones are judged at."""
    if runtime.frame not in (None, golden.size):
        raise BundleError(f"golden.npz is for frames of {golden.size}; this bundle takes {runtime.frame}")


def require_golden_verdicts(runtime: Judge, bundle: Bundle) -> None:
    """Refuse what decides otherwise than the same graph did on the CPU where the bundle was made.

    Args:
        runtime: of ``model.onnx`` or ``body.onnx``, on openvino or on execution providers that were named.
        bundle: what it runs.

    Raises:
        InferenceError: a verdict, or by more than rounding a score, differs; the message names what runs it.
        BundleError: the bundle has no golden verdicts.
    """
    golden = bundle_golden(bundle)
    require_frame_size(runtime, golden)
    half = half_of(bundle, golden, runtime.graph)
    found = found_by(runtime, golden, golden.size)
    result = agreement(
        half.expected,
        found,
        classes=runtime.classes,
        threshold=limit_of(runtime),
        band=half.band,
        fusion=half.fusion,
    )
    if result.differences:
        differing = len(found) - result.agreed - result.ties
        what = "does not decide here as" if differing else "decides here, but with other numbers than"
        what = "cannot be shown to decide here as" if result.only_ties else what
        raise InferenceError(
            f"{bundle.path} {what} where it was made ({differing} of {len(found)} golden verdicts differ): "
            f"{result.differences[0]}; do not use it with {_named(runtime)}: {_WAYS_OUT[runtime.backend]}"
        )


_WAYS_OUT = {
    "onnxruntime": "leave providers out to run on the CPU, or try another version of this provider, "
    "in float32",
    "openvino": "take backend='onnxruntime', or another version of openvino",
}


def _named(runtime: Judge) -> str:
    others = ", ".join(name for name in runtime.providers if name not in CPU_ONLY)
    return f"the provider {others}" if runtime.backend == "onnxruntime" else others


def _alone(runtime: Judge, golden: Golden, size: tuple[int, int]) -> list[Found]:
    found = []
    for index in range(len(golden)):
        (frame,) = enlarged(golden.frames[index : index + 1], size)
        color = COLORS[int(golden.bgr[index])]
        (verdict,) = runtime([frame], color=color)
        found.append(Found(index, color, 0, 0, verdict))
    return found


def _in_batches(runtime: Judge, golden: Golden, size: tuple[int, int]) -> list[Found]:
    def judge(batch: NDArray[np.uint8], blue_first: bool) -> tuple[NDArray[Any], ...]:
        verdicts = np.empty(len(batch), object)
        verdicts[:] = runtime(list(batch), color=COLORS[int(blue_first)])
        return verdicts, np.full(len(batch), len(batch)), np.arange(len(batch))

    most = frames_at_once(size) if runtime.backend in BUILDERS else min(ON_PROCESSOR, frames_at_once(size))
    rows = judged(golden.frames, golden.bgr, size, judge, most=most)
    colors = [COLORS[int(blue_first)] for blue_first in golden.bgr]
    return [
        Found(index, colors[index], int(batch), int(place), verdict)
        for index, (verdict, batch, place) in enumerate(zip(*rows, strict=True))
    ]
