"""Behind ``edgeosr predict``: judge every image or frame of a source."""

import math
from collections.abc import Callable
from pathlib import Path

from edgeosr.arguments import number_from
from edgeosr.errors import UsageError
from edgeosr.runtime.predict_images import judge_images
from edgeosr.runtime.predict_video import judge_video
from edgeosr.runtime.prediction_summary import PredictionSummary
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.sources import Video, open_source


def predict_source(
    bundle: Path,
    source: str,
    *,
    out: Path | None = None,
    video: bool = True,
    json_lines: bool = False,
    threshold: float | None = None,
    threads: int | None = None,
    limit: int | None = None,
    shown: int = 20,
    emit: Callable[[str], None] = print,
) -> PredictionSummary:
    """Judge an image, folder, glob, video, camera or stream.

    Args:
        bundle: directory of a bundle.
        source: see ``edgeosr.runtime.sources.open_source``.
        out: for video, the file (.mp4, .avi) or folder of the drawn video (default
            ``predictions/NAME.mp4``); for images, a folder for drawn copies (default: none are written).
        video: draw the verdicts over a video.
        json_lines: emit one JSON object an image or frame instead of text; a number that is not finite is
            null, an image that could not be judged has ``error`` in the place of a verdict.
        threshold: replaces the calibrated one for this call; with one a class, all of them.
        threads: of the network, None for one a physical core.
        limit: judge at most so many images or frames; None for all.
        shown: text lines at most, for images; JSON lines are never cut.
        emit: takes one line of output, without its end.

    Returns:
        Counts and what was written. Images that cannot be judged are named on standard error and counted.
        What goes wrong after the first verdict is told there too, and is among ``errors``: nothing that was
        judged is lost. Ctrl-C ends it with what was judged so far, and finishes the video.

    Raises:
        EdgeosrError: no bundle, no source, one that cannot be opened, a first frame that cannot be judged.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit must be a whole number from 1; got {limit}")
    if threshold is not None and not math.isfinite(number_from("--threshold", threshold)):
        # JSON has no such number; in Python, runtime.threshold takes it.
        raise UsageError(
            f"--threshold must be a finite number; got {threshold}; 1e9 accepts every finite score"
        )
    if not video and out is not None:
        raise UsageError(f"--no-video draws nothing, so there is nothing to write to {out}; leave one out")
    found = open_source(source)
    with Runtime(bundle, threads=threads) as runtime:
        if threshold is not None:
            runtime.threshold = threshold
        if isinstance(found, Video):
            lines = emit if json_lines else None
            tally = judge_video(runtime, found, out=out, draw=video, limit=limit, emit=lines)
        else:
            paths = found.paths[:limit]
            tally = judge_images(runtime, paths, out=out, shown=None if json_lines else shown, emit=emit)
        return tally.summary(source, threshold=runtime.threshold)
