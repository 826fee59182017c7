"""Judges image files one by one; those that cannot be judged are named, counted and passed over."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.image_file import read_image_file
from edgeosr.errors import DataError, EdgeosrError, FrameError, InferenceError, StorageError, UsageError
from edgeosr.files import atomic_file
from edgeosr.printed import json_text, printable
from edgeosr.progress import progress
from edgeosr.runtime.annotate import annotate
from edgeosr.runtime.prediction_summary import Tally, json_line, say
from edgeosr.runtime.runtime import Runtime
from edgeosr.verdict import UNKNOWN, Verdict


def judge_images(
    runtime: Runtime,
    paths: Sequence[Path],
    *,
    out: Path | None,
    shown: int | None,
    emit: Callable[[str], None],
) -> Tally:
    """Judge image files, turned upright by their EXIF orientation; nothing that was judged is lost.

    Args:
        runtime: of the bundle.
        paths: image files, at least one.
        out: folder of drawn copies, None for none.
        shown: text lines at most; None for one JSON line an image.
        emit: takes one line.

    Raises:
        UsageError: ``out`` is a file, or the folder (or one below it) that the images come from, where the
            next call would take the drawings for images.
        EdgeosrError: the runtime failed on the first image that could be read.
    """
    if out is not None and os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"for images --out is a folder; {out} is a file")
    if out is not None and len(paths) > 1:
        folder, target = (Path(os.path.realpath(one)) for one in (_common_folder(paths), out))
        if folder == target or folder in target.parents:
            raise UsageError(
                f"--out {out} lies in the folder the images come from; choose one outside {folder}"
            )
    width = min(32, max(len(name) for name in (UNKNOWN, *runtime.classes)))
    tally = Tally()
    try:
        with progress("judging images", len(paths)) as advance:
            for path in paths:
                try:
                    frame = read_image_file(path)
                    verdict = runtime(frame)
                    assert isinstance(verdict, Verdict)
                    drawn = None if out is None or tally.errors else annotate(frame, verdict)
                except (DataError, FrameError, InferenceError, MemoryError) as error:
                    tally.failed += 1
                    reason = str(error) or "there is not enough memory to judge it; make it smaller"
                    if str(path) not in reason:
                        reason = f"{path}: {reason}"
                    say(f"skipped: {reason}")
                    if shown is None:
                        emit(json_text({"source": path, "error": reason}))
                else:
                    tally.add(verdict)
                    if shown is None:
                        emit(json_line(verdict, source=str(path)))
                    elif tally.judged <= shown:
                        emit(f"{verdict.label:<{width}}  {verdict.score:9.3f}  {printable(path)}")
                    if out is not None and drawn is not None:
                        tally.written = _write_drawing(tally, out, _drawing_path(out, path, paths), drawn)
                advance()
    except KeyboardInterrupt:
        tally.interrupted = True
    except EdgeosrError as error:
        if tally.judged == 0:
            raise
        tally.tell(f"after {tally.judged} images: {error}")
    if shown is not None and tally.judged > shown:
        emit(f"... and {tally.judged - shown} more; --json shows all")
    return tally


def _drawing_path(out: Path, path: Path, paths: Sequence[Path]) -> Path:
    """Return where the drawing of ``path`` goes: its place below the folder that all ``paths`` share."""
    common = _common_folder(paths)
    if common not in path.parents:
        return out / f"{path.name}.png"
    # The old suffix stays in the name: a.png and a.jpg of one folder are two drawings.
    return out / path.relative_to(common).with_name(f"{path.name}.png")


def _common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all paths, or the root of the first where they share none."""
    common = paths[0].parent
    while not all(common in other.parents for other in paths) and common != common.parent:
        common = common.parent
    return common


def _write_drawing(tally: Tally, out: Path, target: Path, drawn: NDArray[np.uint8]) -> Path | None:
    """Write a drawn copy below ``out``; return ``out`` once it holds one.

    One that cannot be written is told. It ends the drawing, not the judging.
    """
    from PIL import Image

    try:
        with atomic_file(target) as file:
            Image.fromarray(drawn).save(file, format="PNG")
    except StorageError as error:
        tally.tell(f"no copies are drawn any more: {error}; the verdicts go on")
        return tally.written
    return out
