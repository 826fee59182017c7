"""Frames by the hundred thousand: the runtime's verdicts against the float64 reference."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import UsageError
from edgeosr.preprocessing import COLORS
from edgeosr.runtime.bundle_golden import bundle_golden
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.typed_expected import typed_expected

BATCH = 250
# Scores nearer to the threshold than this, in standard deviations of known images, may be decided either way.
TIE = 1e-4
_SIDES = (8, 16, 24, 33, 48, 64)


@dataclass
class FrameCounts:
    """What came of the frames.

    Attributes:
        frames: judged.
        wrong: another class or another decision than the reference's, and no tie.
        ties: scores within ``TIE`` of the threshold, or two classes within it of each other.
        accepted: by the runtime.
        most_distance: largest distance of two finite scores.
        first_wrong: the first few, in words.
    """

    frames: int = 0
    wrong: int = 0
    ties: int = 0
    accepted: int = 0
    most_distance: float = 0.0
    first_wrong: tuple[str, ...] = ()


def try_frames(bundle: Path, count: int, *, seed: int = 0) -> FrameCounts:
    """Judge ``count`` frames twice.

    The reference takes the map of ``backbone.onnx`` (fp32) and computes the rest in float64.

    Args:
        bundle: with a backbone in fp32 (``edgeosr export --engine fp32``).
        count: of frames: the golden ones changed in many ways, and noise, of several sizes, RGB and BGR.
        seed: of the changes.

    Raises:
        UsageError: the bundle has no such backbone.
    """
    found = read_bundle(bundle)
    record = found.manifest.backbone
    if record is None or record.precision != "fp32" or found.manifest.frame is not None:
        raise UsageError(
            f"{bundle} must have a backbone in fp32 for frames of any size to be held against float64; make "
            "one with: edgeosr export --engine fp32"
        )
    golden, scorer = bundle_golden(found), bundle_scorer(found)
    random, counts = np.random.default_rng(seed), FrameCounts()
    with Runtime(bundle, backend="onnxruntime", threads=1) as runtime:
        while counts.frames < count:
            frames = _frames(golden.frames, random, min(BATCH, count - counts.frames))
            blue_first = bool(random.integers(0, 2))
            bgr = np.full(len(frames), blue_first)
            size = (frames.shape[1], frames.shape[2])
            expected = typed_expected(found.files[BACKBONE], scorer, frames, bgr, size, threads=1)
            verdicts = runtime(list(frames), color=COLORS[int(blue_first)])
            for i, verdict in enumerate(verdicts):
                score = float(expected.score[i])
                accepted = bool(np.isfinite(score) and score <= scorer.threshold)
                same = verdict.accepted == accepted and verdict.index == int(expected.label[i])
                tie = abs(score - scorer.threshold) < TIE or float(expected.gap[i]) < TIE
                counts.frames += 1
                counts.accepted += verdict.accepted
                counts.ties += tie
                if np.isfinite(score) and np.isfinite(verdict.score):
                    counts.most_distance = max(counts.most_distance, abs(score - verdict.score))
                if not same and not tie:
                    counts.wrong += 1
                    if len(counts.first_wrong) < 5:
                        counts.first_wrong += (
                            f"frame {counts.frames}: {verdict.label} {verdict.score}, expected class "
                            f"{int(expected.label[i])}, {score}",
                        )
    return counts


def _frames(golden: NDArray[np.uint8], random: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return frames ``[count, h, w, 3]`` of one size: known ones, changed, mixed, and noise."""
    height, width = (int(side) for side in random.choice(_SIDES, 2))
    rows = np.arange(height) * golden.shape[1] // height
    columns = np.arange(width) * golden.shape[2] // width
    made = golden[random.integers(0, len(golden), count)][:, rows][:, :, columns].astype(np.float32)
    other = golden[random.integers(0, len(golden), count)][:, rows][:, :, columns].astype(np.float32)
    share = random.choice([0, 0, 0.25, 0.5, 1], count)[:, None, None, None]
    noise = random.normal(0, 1, made.shape) * random.choice([0, 2, 10, 60], count)[:, None, None, None]
    light = random.uniform(0.3, 1.7, count)[:, None, None, None]
    made = ((1 - share) * made + share * other) * light + noise
    return np.ascontiguousarray(np.clip(made, 0, 255).astype(np.uint8))
