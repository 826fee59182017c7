"""The golden verdicts of a bundle: which frames, and what its graphs say of them.

They are chosen by what they are for: accepted and rejected ones, near to the threshold and far from it, but
none so near that rounding decides, as far as there are enough.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.manifest import BACKBONE, BODY
from edgeosr.bundle.tensors import LABEL, LOGITS, SCORE, VALUES, feed_of
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError, ExportError
from edgeosr.export.golden_choice import chosen_frames
from edgeosr.export.golden_frames import Frames, pictures, stored_size, unknown_looking, varied
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.threads import graph_threads
from edgeosr.runtime.agreement import MOST_TIES, cannot_be_told
from edgeosr.runtime.bands import SAME_GRAPH, Band, engine_band, same_graph_band
from edgeosr.runtime.batch_size import frames_at_once
from edgeosr.runtime.golden import LEAST_FRAMES, Expected, Golden, Rounding, judged, runner_up
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session
from edgeosr.runtime.typed_expected import typed_expected
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.scorer import Scorer
from edgeosr.scoring.thresholds import Limit, margins_of

# Images of each part that are tried; the next number if too few of them are accepted, or rejected.
TRIED = (32, 128, 512)
# Of either decision.
LEAST_A_SIDE = LEAST_FRAMES // 4
# A frame counts as near a tie up to this many times what rounding can do.
CLEAR = 2.0


@dataclass(frozen=True, kw_only=True)
class GoldenImages:
    """``known``: parts of known images; ``unknown``: open validation images, or None."""

    known: tuple[LabelledImages, ...]
    unknown: LabelledImages | None


class JudgesFrames(Protocol):
    """``model.onnx`` with a body, on what runs it."""

    def run(self, frames: NDArray[np.uint8], *, bgr: bool = False) -> list[NDArray[Any]]:
        """Return label, score, values and logits of frames ``[b, h, w, 3]``."""


@dataclass(frozen=True, kw_only=True)
class JudgedBody:
    """A body for OpenVINO with its fusion and threshold."""

    runner: JudgesFrames
    fusion: Fusion
    threshold: Limit


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A calibrated classifier as its bundle holds it.

    Attributes:
        graph: the scored graph.
        fusion: of ``model``.
        threshold: of ``model``; one number, or one a class.
        frame: (height, width) of the only frames that ``model`` takes; None for any.
        model: ``model.onnx`` as it ships.
        any_size: the calibrated graph; ``model`` itself, or its twin for frames of any size.
        typed: (backbone.onnx, its scorer), or None.
        body: the body for OpenVINO, or None.
        threads: of onnxruntime; None for what suits each graph (``graph_threads``).
    """

    graph: ScoredGraph
    fusion: Fusion
    threshold: Limit
    frame: tuple[int, int] | None
    model: bytes
    any_size: bytes
    typed: tuple[bytes, Scorer] | None = None
    body: JudgedBody | None = None
    threads: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that golden frames are judged at."""
        preprocessing = self.graph.classifier.preprocessing
        return self.frame or (preprocessing.height, preprocessing.width)


def golden_verdicts(calibrated: Calibrated, images: GoldenImages) -> Golden:
    """Choose ``LEAST_FRAMES`` golden frames and record what the graphs say of them.

    Args:
        calibrated: what is to be bundled.
        images: what the frames are made of.

    Raises:
        DataError: none of the images tried can be read.
        ExportError: the graph that ships does not score like the one that was calibrated, or rounding
            decides so many of the frames' verdicts that ``edgeosr verify`` could not pass, or too few scores
            are finite.
    """
    for tried in TRIED:
        pool = _pool(images, tried, stored_size(calibrated.size))
        verdicts = recorded(calibrated, pool)
        margins, clear = _margins(calibrated, verdicts)
        usable = _comparable(verdicts)
        accepted, rejected = usable & clear & (margins <= 0), usable & clear & (margins > 0)
        if min(int(accepted.sum()), int(rejected.sum())) >= LEAST_A_SIDE:
            break
    while True:
        left = np.flatnonzero(usable)
        if len(left) < LEAST_FRAMES:
            raise ExportError(
                f"{len(left)} of {len(pool)} frames that were tried as golden frames have finite scores, and "
                f"{LEAST_FRAMES} are needed; export in a wider precision (--engine fp32), or without --engine"
            )
        labels = verdicts.portable.label[left]
        chosen = left[chosen_frames(margins[left], accepted[left], rejected[left], labels)]
        golden = recorded(calibrated, pool[chosen])
        found = _comparable(golden)  # once more: a frame may be judged in the other channel order now
        if found.all():
            break
        usable[chosen[~found]] = False
    if calibrated.model is not calibrated.any_size:
        _require_same_scores(calibrated, golden)
    _require_few_ties(calibrated, golden)
    return golden


def recorded(calibrated: Calibrated, frames: Frames) -> Golden:
    """Return what the graphs say of RGB frames ``[n, h, w, 3]``; every second one is judged as BGR."""
    bgr = np.arange(len(frames)) % 2 == 1
    stored = frames.copy()
    stored[bgr] = stored[bgr][..., ::-1]
    portable = _portable(calibrated, calibrated.model, stored, bgr, calibrated.frame)
    golden = Golden(frames=stored, size=calibrated.size, bgr=bgr, portable=portable)
    if calibrated.typed is not None:
        golden = replace(golden, **_typed(calibrated, golden))
    if calibrated.body is not None:
        golden = replace(golden, **_of_body(calibrated, calibrated.body, golden))
    return golden


def _typed(calibrated: Calibrated, golden: Golden) -> dict[str, Any]:
    """Return the fields of a golden record for the typed backbone."""
    assert calibrated.typed is not None
    backbone, scorer = calibrated.typed
    threads = calibrated.threads or graph_threads(backbone)
    typed = typed_expected(backbone, scorer, golden.frames, golden.bgr, calibrated.size, threads=threads)
    return {"typed": typed, "rounding": _rounding(typed, golden.portable, scorer.fusion)}


def _of_body(calibrated: Calibrated, body: JudgedBody, golden: Golden) -> dict[str, Any]:
    """Return the fields of a golden record for the body."""

    def judge(batch: Frames, blue_first: bool) -> tuple[NDArray[Any], ...]:
        return tuple(body.runner.run(batch, bgr=blue_first))

    label, score, values, logits = judged(
        golden.frames, golden.bgr, calibrated.size, judge, most=_batch_of(calibrated)
    )
    second, gap = runner_up(logits, label)
    found = Expected(label=label, second=second, gap=gap, score=score, values=values)
    return {"body": found, "body_rounding": _rounding(found, golden.portable, body.fusion)}


def _rounding(typed: Expected, portable: Expected, fusion: Fusion) -> Rounding:
    """Return how far a typed graph is from the float32 one with the typed one's fusion."""
    same = typed.label == portable.label
    with np.errstate(invalid="ignore"):
        score = typed.score - fusion.scores(portable.values)
        gap = (typed.gap - portable.gap)[same]
        values = (typed.values - portable.values) / np.asarray(fusion.stds, np.float32)
    return Rounding(_median(score), _median(gap), tuple(_median(column) for column in values.T))


def _portable(
    calibrated: Calibrated,
    model: bytes,
    frames: Frames,
    bgr: NDArray[np.bool_],
    frame: tuple[int, int] | None,
) -> Expected:
    """Return what ``model`` says; its logits come from a twin."""
    twin = calibrated.graph.model(calibrated.fusion, frame=frame, expose=(LOGITS,))
    label, score, values = _judged(calibrated, model, (LABEL, SCORE, VALUES), frames, bgr)
    (logits,) = _judged(calibrated, twin, (LOGITS,), frames, bgr)
    second, gap = runner_up(logits, label)
    return Expected(label=label, second=second, gap=gap, score=score, values=values)


def _judged(
    calibrated: Calibrated, model: bytes, outputs: tuple[str, ...], frames: Frames, bgr: NDArray[np.bool_]
) -> tuple[NDArray[Any], ...]:
    settings = SessionSettings(threads=calibrated.threads or graph_threads(model))
    session = open_session(model, settings, name="the exported graph")

    def judge(batch: Frames, blue_first: bool) -> tuple[NDArray[Any], ...]:
        feed = feed_of(batch, bgr=blue_first)
        return tuple(run_session(session, outputs, feed, name="the exported graph"))

    return judged(frames, bgr, calibrated.size, judge, most=_batch_of(calibrated))


def _batch_of(calibrated: Calibrated) -> int:
    probes = calibrated.graph.scorer.probes
    return frames_at_once(calibrated.size, probes.K if probes else 0)


def _pool(images: GoldenImages, tried: int, size: tuple[int, int]) -> Frames:
    known = np.concatenate([pictures(part, tried, size) for part in images.known])
    if not len(known):
        raise DataError("none of the images picked as golden frames can be read; repair the data set")
    opened = known[:0] if images.unknown is None else pictures(images.unknown, tried, size)
    return np.concatenate(
        [varied(known, max(LEAST_FRAMES, len(known))), opened, unknown_looking(known, 2 * tried)]
    )


def _margins(calibrated: Calibrated, verdicts: Golden) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return score - threshold of each frame, and whether it is clear: rounding is far from deciding it.

    Of several graphs the smallest distance counts. A score that is not finite is far above.
    """
    margins = _margin(verdicts.portable, calibrated.threshold)
    clear = np.ones(len(margins), np.bool_)
    for _, expected, threshold, band in _halves(calibrated, verdicts):
        own = _margin(expected, threshold)
        margins = np.where(np.abs(own) < np.abs(margins), own, margins)
        clear &= (np.abs(own) > CLEAR * band.score) & (expected.gap > CLEAR * band.gap)
    return margins, clear


def _halves(calibrated: Calibrated, verdicts: Golden) -> list[tuple[str, Expected, Limit, Band]]:
    """Return each graph's file, what it says, its threshold, and what rounding can do to it."""
    band = same_graph_band(len(calibrated.fusion.parts))
    halves = [("model.onnx", verdicts.portable, calibrated.threshold, band)]
    if verdicts.typed is not None and verdicts.rounding is not None and calibrated.typed is not None:
        limit = calibrated.typed[1].limit
        halves.append((BACKBONE, verdicts.typed, limit, engine_band(verdicts.rounding)))
    if verdicts.body is not None and verdicts.body_rounding is not None and calibrated.body is not None:
        limit = calibrated.body.threshold
        halves.append((BODY, verdicts.body, limit, engine_band(verdicts.body_rounding)))
    return halves


def _comparable(verdicts: Golden) -> NDArray[np.bool_]:
    usable = verdicts.portable.comparable(typed=False)
    for half in (verdicts.typed, verdicts.body):
        usable = usable if half is None else usable & half.comparable(typed=True)
    return usable


def _margin(expected: Expected, threshold: Limit) -> NDArray[np.float64]:
    margins = margins_of(expected.score, threshold, expected.label)
    return np.where(np.isfinite(expected.score), margins, np.inf)


def _require_same_scores(calibrated: Calibrated, golden: Golden) -> None:
    # Two graphs that differ in the front end alone (weights folded, or computed from the frame's size) round
    # differently; more than SAME_GRAPH is not rounding.
    other = _portable(calibrated, calibrated.any_size, golden.frames, golden.bgr, None)
    shipped = golden.portable
    with np.errstate(invalid="ignore"):
        distance = np.where(shipped.score == other.score, 0.0, np.abs(shipped.score - other.score))
    distance = np.where(np.isnan(shipped.score) & np.isnan(other.score), 0.0, distance)
    classes = (shipped.label == other.label) | (shipped.gap <= SAME_GRAPH) | ~np.isfinite(shipped.score)
    if not ((distance <= SAME_GRAPH).all() and classes.all()):
        raise ExportError(
            f"the graph for {calibrated.frame} frames does not score like the calibrated one (scores differ "
            f"by {distance.max():.3g}); this is a defect of edgeosr: please report it, and export without "
            "--frame"
        )


def _require_few_ties(calibrated: Calibrated, golden: Golden) -> None:
    for name, expected, threshold, band in _halves(calibrated, golden):
        ties = int(cannot_be_told(expected, threshold, band).sum())
        if ties > MOST_TIES * len(golden):
            advice = _ADVICE[name]
            raise ExportError(
                f"rounding ({band.score:.3g}) decides {ties} of {len(golden)} golden verdicts of {name}, "
                f"more than {MOST_TIES:.0%}: edgeosr verify could prove nothing with them "
                f"on any device; {advice}"
            )


_ADVICE = {
    "model.onnx": "calibrate on more and other images, for the scores of these hardly differ",
    BACKBONE: "export in a wider precision (--engine fp16 or fp32), or without --engine",
    BODY: "export in a wider precision (--precision bf16), or without --precision",
}


def _median(distances: NDArray[np.floating[Any]]) -> float:
    finite = distances[np.isfinite(distances)]
    return float(np.median(np.abs(finite))) if finite.size else 0.0
