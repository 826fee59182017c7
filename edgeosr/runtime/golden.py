"""``golden.npz``: frames with the verdicts that ``model.onnx`` gave where the bundle was made."""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import BundleError


@dataclass(frozen=True)
class Golden:
    """Frames uint8 ``[n, height, width, 3]``, RGB; their labels int64 ``[n]`` and scores float32 ``[n]``."""

    frames: NDArray[np.uint8]
    label: NDArray[np.int64]
    score: NDArray[np.float32]

    def resized(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the frames at (height, width), by the nearest pixel: other frames, with other verdicts."""
        _, height, width, _ = self.frames.shape
        rows = np.arange(size[0]) * height // size[0]
        columns = np.arange(size[1]) * width // size[1]
        return np.ascontiguousarray(self.frames[:, rows][:, :, columns])


def read_golden(data: bytes) -> Golden:
    """Parse ``golden.npz``.

    Args:
        data: its bytes, already checked against the manifest's hash.

    Raises:
        BundleError: no such file, without expected verdicts, or of the wrong shapes.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            found = Golden(file["frames"], file["label"], file["score"])
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"golden.npz holds no frames with verdicts: {error}; export the bundle again"
        ) from error
    count = len(found.frames) if found.frames.ndim == 4 else 0
    if (
        found.frames.dtype != np.uint8
        or count == 0
        or found.frames.shape[3] != 3
        or found.label.shape != (count,)
        or found.score.shape != (count,)
    ):
        raise BundleError(
            f"golden.npz must hold uint8 frames [n, height, width, 3] with n labels and scores; got "
            f"{found.frames.dtype} {found.frames.shape}, {found.label.shape}, {found.score.shape}; export it "
            "again"
        )
    return found
