"""Whether a video gave the frames that its file announces; a cut or damaged one gives fewer."""

from dataclasses import dataclass

from edgeosr.runtime.sources import Video
from edgeosr.runtime.video_container import Container, read_container

# Containers are off by a frame or two: the delay of a codec, a last frame without an end.
SPARE_FRAMES = 2
# Where nothing is known but a duration, sound may go on when the pictures have ended.
SPARE_SECONDS, SPARE_SHARE = 1.0, 0.1


@dataclass(frozen=True)
class AnnouncedFrames:
    """What a source announces.

    Attributes:
        computed: the number that OpenCV gives, None for none.
        container: what its file says.
    """

    computed: int | None
    container: Container

    @property
    def counted(self) -> int | None:
        """The frames that the file counts, less the empty ones; None if it counts none, or shows a part."""
        if not self.container.exact or self.container.frames is None:
            return None
        return self.container.frames - self.container.empty

    def problem(self, judged: int, *, seconds: float, rate: float) -> str | None:
        """Return what is wrong with a source that has ended, or None.

        The rule: of frames that the file counts, two may be missing. A number computed from a duration says
        less, for frames need not be evenly spaced: then the file's structure must be broken too, or, where
        that is not known, the last frame must come too early by more than a second and a tenth of all.

        Args:
            judged: frames that could be read.
            seconds: time of the last one.
            rate: frames a second.
        """
        announced = self.container.frames or self.computed
        if announced is not None:
            announced -= self.container.empty
        if announced is None or judged >= announced - SPARE_FRAMES:
            return None
        if self.container.frames is not None:
            spare = 0.0 if self.container.exact else SPARE_SHARE * announced
            short = judged < announced - SPARE_FRAMES - spare
        elif self.container.whole is not None:
            short = not self.container.whole
        else:
            duration = announced / rate
            short = duration - seconds - 1 / rate > max(SPARE_SECONDS, SPARE_SHARE * duration)
        if not short:
            return None
        about = "" if self.counted is not None else "about "
        return (
            f"{judged} of {about}{announced} announced frames could be read: the file is cut or damaged; "
            "copy or record it again"
        )


def announced_frames(video: Video, computed: int | None, *, read: int | None) -> AnnouncedFrames:
    """Return what a source announces.

    Args:
        video: the source; of a stream's file nothing is known.
        computed: the number of frames that OpenCV gives, None for none.
        read: frames that it gave until it ended, None if it did not end.
    """
    if video.live:
        return AnnouncedFrames(computed, Container())
    doubtful = read is not None and computed is not None and read < computed - SPARE_FRAMES
    container = read_container(str(video.address), follow=doubtful)
    # A count of other pictures, such as a cover's, or one that OpenCV does not go by.
    other = container.frames != computed if container.exact else (container.frames or 0) > (computed or 0)
    return AnnouncedFrames(computed, Container(whole=container.whole) if other else container)
