"""predict and its drawings on pictures of odd sizes: bounded, named, and the rest is judged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.errors import InferenceError
from edgeosr.preprocessing import LARGEST_FRAME
from edgeosr.runtime.annotate import annotate
from edgeosr.runtime.predict import predict_source
from edgeosr.runtime.runtime import Runtime
from edgeosr.verdict import Verdict

VERDICT = Verdict(
    accepted=False, label="unknown", nearest="cat\x1b" * 900, index=0, score=1.0, threshold=0.0, parts={},
    latency_ms=1.0, finite=True,
)  # fmt: skip


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (1, 1), (200, 300)])
def test_a_drawing_has_no_more_pixels_than_a_frame_may_have(size: tuple[int, int]) -> None:
    drawn = annotate(np.zeros((*size, 3), np.uint8), VERDICT)
    assert max(size[0] * size[1], 160) <= drawn.shape[0] * drawn.shape[1] <= LARGEST_FRAME


@pytest.mark.parametrize(
    "problem", [MemoryError(), InferenceError("onnxruntime could not run it: no memory")]
)
def test_a_picture_that_cannot_be_judged_here_is_named_and_the_rest_is_judged(
    problem: Exception,
    bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, side in (("a", 8), ("b", 9), ("c", 8)):
        Image.new("RGB", (side, side), (90, 20, 20)).save(tmp_path / f"{name}.png")
    judge = Runtime.__call__

    def judged(self: Runtime, frame: np.ndarray, **options: object) -> object:
        if frame.shape[0] == 9:
            raise problem
        return judge(self, frame, **options)

    monkeypatch.setattr(Runtime, "__call__", judged)
    summary = predict_source(bundle_path, str(tmp_path), emit=lambda _: None)
    assert (summary.judged, summary.failed, summary.ok) == (2, 1, True)
    assert "b.png: " in capsys.readouterr().err
