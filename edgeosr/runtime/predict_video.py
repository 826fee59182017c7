"""Judges a video, camera or stream frame by frame, and draws the verdicts over it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from edgeosr.errors import DataError, EdgeosrError
from edgeosr.progress import progress
from edgeosr.runtime.announced_frames import announced_frames
from edgeosr.runtime.drawn_video import DrawnVideo, video_path
from edgeosr.runtime.prediction_summary import Tally, json_line
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.sources import Video
from edgeosr.runtime.video import VideoReader
from edgeosr.verdict import Verdict


def judge_video(
    runtime: Runtime,
    video: Video,
    *,
    out: Path | None,
    draw: bool,
    limit: int | None,
    emit: Callable[[str], None] | None,
) -> Tally:
    """Judge frames until the source, the limit or Ctrl-C ends them; nothing that was judged is lost.

    Args:
        runtime: of the bundle.
        video: the source.
        out: file or folder of the drawn video, see ``video_path``.
        draw: write that video. Where it cannot be written, the verdicts go on without.
        limit: frames at most, None for all.
        emit: takes one JSON line a frame; None for none.

    Returns:
        Counts, with what went wrong after the first verdict.

    Raises:
        MissingDependencyError: OpenCV is not installed.
        DataError: the source cannot be opened, or gives no frame.
        EdgeosrError: the first frame cannot be judged.
        UsageError: ``out`` is the source, or has another suffix than those of video.
    """
    tally = Tally()
    with contextlib.ExitStack() as opened:
        reader = opened.enter_context(VideoReader(video))
        # The address of a stream may hold a password; its name does not.
        source = video.name if video.live else str(video.address)
        drawn: DrawnVideo | None = None
        if draw:
            drawn = DrawnVideo(video_path(out, video.name), reader.rate, video.address, tally.tell)
            opened.enter_context(drawn)
        total = limit if reader.length is None else min(reader.length, limit or reader.length)
        what = f"judging {video.name}{' (Ctrl-C ends it)' if video.live else ''}"
        ended, seconds = False, 0.0
        try:
            with progress(what, total) as advance:
                for number, (image, seconds, time_from) in enumerate(reader.pictures()):
                    verdict = runtime(image, color="bgr")
                    assert isinstance(verdict, Verdict)
                    place = {"frame": number, "seconds": round(seconds, 3), "time_from": time_from}
                    line = json_line(verdict, source=source, **place)
                    if drawn is not None:
                        drawn.add(image, verdict)
                    # Counted first: a signal that comes while the line is written does not stop the line.
                    tally.add(verdict, time_from=time_from)
                    if emit is not None:
                        emit(line)
                    advance(note=verdict.label)
                    if tally.judged == limit:
                        break
                else:
                    ended = True
        except KeyboardInterrupt:
            tally.interrupted = True
        except EdgeosrError as error:
            if tally.judged == 0:
                raise
            tally.tell(f"{video.shown} was judged up to frame {tally.judged}: {error}")
        if tally.judged == 0 and ended:
            raise DataError(f"{video.shown} gave no frame: it is damaged, or of a codec that OpenCV lacks")
        announced = announced_frames(video, reader.length, read=tally.judged if ended else None)
        tally.announced = announced.counted
        problem = announced.problem(tally.judged, seconds=seconds, rate=reader.rate) if ended else None
        if problem is not None:
            tally.tell(f"{source}: {problem}")
        if drawn is not None:
            tally.written = drawn.finish()
        return tally
