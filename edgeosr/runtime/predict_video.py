"""Judges a video, camera or stream frame by frame, and writes it with the verdicts drawn over it."""

from collections.abc import Callable
from pathlib import Path

from edgeosr.errors import DataError
from edgeosr.progress import progress
from edgeosr.runtime.annotate import annotate
from edgeosr.runtime.prediction_summary import Tally, json_line
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.sources import Video
from edgeosr.runtime.video import VideoReader, VideoWriter, video_path
from edgeosr.verdict import Verdict


def judge_video(
    runtime: Runtime,
    video: Video,
    *,
    out: Path | None,
    limit: int | None,
    emit: Callable[[str], None] | None,
) -> tuple[Tally, Path | None, bool]:
    """Judge and draw frames until the source, the limit or Ctrl-C ends them.

    Args:
        runtime: of the bundle.
        video: the source.
        out: file or folder of the drawn video, see ``video_path``.
        limit: frames at most, None for all.
        emit: takes one JSON line a frame; None for none.

    Returns:
        Counts, the written file (None if Ctrl-C came before the first frame), and whether it was Ctrl-C.

    Raises:
        MissingDependencyError: OpenCV is not installed.
        DataError: the source cannot be opened, or gives no frame.
        StorageError: the video cannot be written.
    """
    tally, interrupted = Tally(), False
    with VideoReader(video) as reader:
        total = limit if reader.length is None else min(reader.length, limit or reader.length)
        # The address of a stream may hold a password; its name does not.
        source = video.name if video.live else str(video.address)
        what = f"judging {video.name}{' (Ctrl-C ends it)' if video.live else ''}"
        with VideoWriter(video_path(out, video.name), reader.rate, video.address) as writer:
            try:
                with progress(what, total) as advance:
                    for index, frame in enumerate(reader.frames()):
                        verdict = runtime(frame, color="bgr")
                        assert isinstance(verdict, Verdict)
                        writer.write(annotate(frame, verdict, color="bgr"))
                        tally.add(verdict)
                        if emit is not None:
                            seconds = round(index / reader.rate, 3)
                            emit(json_line(verdict, source=source, frame=index, seconds=seconds))
                        advance(note=verdict.label)
                        if tally.judged == limit:
                            break
            except KeyboardInterrupt:
                interrupted = True
            if tally.judged == 0 and not interrupted:
                raise DataError(f"{video.name} gave no frame: it is damaged, or of a codec that OpenCV lacks")
            return tally, writer.finish(), interrupted
