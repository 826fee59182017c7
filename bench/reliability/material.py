"""What commands are tried on: known and other images, a video, a run and a bundle, made on the spot."""

import contextlib
import functools
import importlib.metadata
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from edgeosr.bench.reliability.killed_commands import freely

CLASSES = ("blue", "green", "red")
SIDE, EACH = 16, 30
_UNKNOWN = 12
TRAIN = (
    "--epochs", "2", "--input-size", str(SIDE), "--batch-size", "16", "--rotation-weight", "0",
    "--folds", "0", "--no-discriminator", "--threads", "1",
)  # fmt: skip
VIDEO_FRAMES = 12


def edgeosr(*words: str | Path) -> None:
    """Run a command line in this process; raises SystemExit with its code."""
    sys.argv = ["edgeosr", *map(str, words)]
    command()()


@functools.cache
def command() -> Callable[[], None]:
    """Return what the installed command calls."""
    (found,) = importlib.metadata.entry_points(group="console_scripts", name="edgeosr")
    called: Callable[[], None] = found.load()
    return called


class Material:
    """Images, a run and a bundle in ``folder``, made in processes of their own.

    Args:
        folder: an empty one.
        bundle: one with a backbone, to be used instead; then there is no run.
    """

    def __init__(self, folder: Path, bundle: Path | None = None) -> None:
        self.images, self.others = folder / "images", folder / "others"
        self.run, self.video = folder / "run", folder / "in.avi"
        self.bundle = bundle or folder / "small.edgeosr"
        for number, name in enumerate(CLASSES):
            _write_images(self.images / name, EACH, seed=number, tint=number)
        for number, name in enumerate(("first", "second")):
            _write_images(self.others / name, _UNKNOWN, seed=10 + number, tint=None)
        if bundle is None:
            self._make(folder, "train", "--data", self.images, *TRAIN, "--out", self.run)
            self._make(folder, *self.exporting("0.4", self.bundle, "--engine", "fp32"))
        if _has_opencv():
            _write_video(self.video)

    def exporting(self, rate: str, out: Path | str, *more: str) -> tuple[str | Path, ...]:
        """Return the words of an export."""
        return ("export", self.run, "--false-reject-rate", rate, "--threads", "1", "--out", out, *more)

    def _make(self, folder: Path, *words: str | Path) -> None:
        ended = freely(partial(_ended, words))
        if ended.detail != "0":
            raise AssertionError(f"edgeosr {words[0]} fails in {folder}: {ended.detail}")


def _ended(words: tuple[str | Path, ...]) -> str:
    try:
        edgeosr(*words)
    except SystemExit as end:
        return str(end.code or 0)
    return "0"


def _has_opencv() -> bool:
    with contextlib.suppress(ImportError):
        import cv2  # noqa: F401  # to see whether it is there

        return True
    return False


def _write_images(folder: Path, count: int, *, seed: int, tint: int | None) -> None:
    """Write pictures of random squares, in one colour more than in others."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        squares = random.integers(0, 120 if tint is not None else 256, (4, 4, 3))
        if tint is not None:
            squares[..., tint] += 130
        pixels = np.repeat(np.repeat(squares, SIDE // 4, axis=0), SIDE // 4, axis=1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def _write_video(path: Path) -> None:
    import cv2

    random = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(VIDEO_FRAMES):
        writer.write(random.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
