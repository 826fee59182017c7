"""A frame that cannot be judged is refused with the line that converts it; a good one is not copied."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.errors import FrameError
from edgeosr.runtime.frames import as_batch
from edgeosr.runtime.runtime import Runtime

GOOD = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("photo.png", "got str: read the image first"),
        (Path("photo.png"), "read the image first"),
        (None, "got NoneType"),
        ([[1, 2], [3, 4]], "got list"),
        (GOOD / 255, "got float64: for values from 0 to 1 multiply: (frame * 255)"),
        (GOOD.astype(np.float16), "multiply"),
        (GOOD.astype(np.uint16), "for 16-bit images: (frame / 257)"),
        (GOOD.astype(np.int64), "got int64: convert it with frame.astype(numpy.uint8)"),
        (GOOD > 3, "got bool"),
        (GOOD[..., 0], "got [4, 6]: this looks grey: numpy.repeat(frame[..., None], 3, axis=2)"),
        (GOOD[..., :1], "got [4, 6, 1]: this looks grey"),
        (GOOD[None, ..., :1], "this looks grey"),
        (np.zeros((4, 6, 4), np.uint8), "got [4, 6, 4]: this looks like RGBA: frame[..., :3]"),
        (np.zeros((3, 40, 60), np.uint8), "channels come last: numpy.moveaxis(frames, -3, -1)"),
        (np.zeros((2, 3, 40, 60), np.uint8), "channels come last"),
        (np.zeros((1, 1, 4, 6, 3), np.uint8), "expected [height, width, 3] or [batch, height, width, 3]"),
        (np.zeros(3, np.uint8), "got [3]"),
        (np.uint8(3), "got uint8"),
        (np.zeros((0, 6, 3), np.uint8), "at least one pixel; got 0x6"),
        (np.zeros((2, 4, 0, 3), np.uint8), "at least one pixel; got 4x0"),
        ([GOOD, GOOD[:3]], "must have one size; got 3x6 and 4x6: call once for each size"),
        ([GOOD, GOOD[None]], "expected [height, width, 3]; got [1, 4, 6, 3]"),
        ([GOOD, None], "got NoneType"),
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_judged_is_refused_with_the_way_out(frame: Any, said: str) -> None:
    with pytest.raises(FrameError, match=re.escape(said)):
        as_batch(frame, None)


@pytest.mark.parametrize(
    "said", ["for values", "16-bit", "this looks grey: numpy.repeat(frame[", "RGBA", "moveaxis"]
)
def test_the_conversions_that_messages_name_do_convert(said: str) -> None:
    rng = np.random.default_rng(0)
    frame = {
        "for values": rng.random((4, 6, 3)),
        "16-bit": rng.integers(0, 65536, (4, 6, 3)).astype(np.uint16),
        "this looks grey: numpy.repeat(frame[": GOOD[..., 0],
        "RGBA": np.zeros((4, 6, 4), np.uint8),
        "moveaxis": np.zeros((3, 40, 60), np.uint8),
    }[said]
    with pytest.raises(FrameError) as refusal:
        as_batch(frame, None)  # type: ignore[arg-type]
    found = re.search(r"(numpy\.\w+\(.*\)|\(frame .*\)|frame\[\.\.\., :3\])", str(refusal.value))
    assert found and said in str(refusal.value)
    converted = eval(found[0], {"numpy": np, "frame": frame, "frames": frame})
    assert as_batch(converted, None)[0].shape[-1] == 3


def test_contiguous_frames_are_not_copied_and_others_are_taken_too() -> None:
    batch, single = as_batch(GOOD, None)
    assert single and batch.shape == (1, 4, 6, 3) and np.shares_memory(batch, GOOD)
    batch, single = as_batch(np.stack([GOOD, GOOD]), None)
    assert not single and batch.shape == (2, 4, 6, 3)
    flipped, _ = as_batch(GOOD[::-1, ::2], None)
    assert flipped.flags.c_contiguous and np.array_equal(flipped[0], GOOD[::-1, ::2])
    read_only = GOOD.copy()
    read_only.flags.writeable = False
    assert np.shares_memory(as_batch(read_only, None)[0], read_only)


def test_a_bundle_of_fixed_frames_refuses_any_other_size(make_bundle: Callable[..., Path]) -> None:
    runtime = Runtime(make_bundle(frame=(4, 6)))
    assert runtime(GOOD)
    assert runtime([]) == []
    with pytest.raises(FrameError, match=r"frames of 4x6 only \(height x width\); got 6x4"):
        runtime(GOOD.transpose(1, 0, 2))
    with pytest.raises(FrameError, match="export it again without --frame"):
        runtime([GOOD, GOOD[:2]])
