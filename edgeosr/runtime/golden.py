"""``golden.npz``: frames with the verdicts that were given where the bundle was made.

The file, a zip of plain arrays of ``n`` frames, at most ``LARGEST_GOLDEN`` when unpacked:

    frames       uint8 [n, h, w, 3]     stored small; in the channel order of ``bgr``
    size         int64 [2]              (height, width) that they are judged at, pixels repeated
    bgr          bool [n]               judged as BGR, else as RGB
    label        int64 [n]              what model.onnx says: the nearest class,
    score        float32 [n]            the unknown score,
    gap          float32 [n]            and how far the second class is behind (``class_gaps``)

and, in a bundle with a typed backbone, what backbone.onnx with scorer.npz says of the same frames
(``typed_expected``), which is what an engine with the kernel must say:

    typed_label, typed_score, typed_gap
    rounding     float32 [2]            median distance between the typed graph and the float32 one with the
                                        typed graph's fusion: of the score, of the gap
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.manifest import Manifest
from edgeosr.errors import BundleError
from edgeosr.scoring.npz import NpzError, npz_arrays

LEAST_FRAMES = 64
LARGEST_GOLDEN = 8_000_000
LARGEST_SIDE = 16384
# Frames of one call, in pixels: bounds memory on a small device.
BATCH_PIXELS = 8_000_000
_PORTABLE = ("label", "score", "gap")
_TYPED = ("typed_label", "typed_score", "typed_gap", "rounding")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a graph says of n frames.

    Attributes:
        label: int64 ``[n]``, the nearest class, whether accepted or not.
        score: float32 ``[n]``, the unknown score; NaN if something was not finite.
        gap: float32 ``[n]``, see ``class_gaps``.
    """

    label: NDArray[np.int64]
    score: NDArray[np.float32]
    gap: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """See the module's docstring; ``typed`` and ``rounding`` are None in a bundle without a backbone."""

    frames: NDArray[np.uint8]
    size: tuple[int, int]
    bgr: NDArray[np.bool_]
    portable: Expected
    typed: Expected | None = None
    rounding: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.frames)


def class_gaps(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return how far the second class lies behind the first in each row.

    Args:
        logits: ``[n, C]``.

    Returns:
        float32 ``[n]``, in standard deviations of all logits given; infinite for one class, 0 where a logit
        is not finite (the class is then any).
    """
    rows = np.asarray(logits, np.float64)
    if rows.shape[1] < 2:
        return np.full(len(rows), np.inf, np.float32)
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    best = np.sort(np.where(usable[:, None], rows, 0.0), axis=1)
    spread = float(rows[usable].std()) if usable.any() else 0.0
    return np.asarray((best[:, -1] - best[:, -2]) / (spread or 1.0), np.float32)


def enlarged(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return frames ``[n, h, w, 3]`` at (height, width), pixels repeated."""
    _, height, width, _ = frames.shape
    rows = np.arange(size[0]) * height // size[0]
    columns = np.arange(size[1]) * width // size[1]
    return np.ascontiguousarray(frames[:, rows][:, :, columns])


def judged(
    frames: NDArray[np.uint8],
    bgr: NDArray[np.bool_],
    size: tuple[int, int],
    judge: Callable[[NDArray[np.uint8], bool], tuple[NDArray[Any], ...]],
    *,
    most: int = LEAST_FRAMES,
) -> tuple[NDArray[Any], ...]:
    """Judge stored frames in batches of one channel order each.

    Args:
        frames: as stored, ``[n, h, w, 3]``.
        bgr: ``[n]``.
        size: (height, width) that they are judged at.
        judge: takes a batch and whether it is BGR; returns arrays with one row a frame.
        most: frames of one batch.

    Returns:
        The arrays of ``judge``, one row a frame, in the order of ``frames``.
    """
    order, rows = [], []
    for indices in _batches(bgr, max(1, min(most, BATCH_PIXELS // (size[0] * size[1])))):
        order.append(indices)
        rows.append(judge(enlarged(frames[indices], size), bool(bgr[indices[0]])))
    back = np.argsort(np.concatenate(order))
    return tuple(np.concatenate(column)[back] for column in zip(*rows, strict=True))


def _batches(bgr: NDArray[np.bool_], most: int) -> Iterator[NDArray[np.int64]]:
    for blue_first in (False, True):
        indices = np.flatnonzero(bgr if blue_first else ~bgr)
        for start in range(0, len(indices), most):
            yield indices[start : start + most]


def write_golden(golden: Golden) -> bytes:
    """Return the file's bytes; its reader takes them."""
    arrays: dict[str, Any] = {
        "frames": golden.frames,
        "size": np.array(golden.size, np.int64),
        "bgr": golden.bgr,
        **vars(golden.portable),
    }
    if golden.typed is not None:
        assert golden.rounding is not None, "typed verdicts without their rounding"
        arrays |= {f"typed_{name}": array for name, array in vars(golden.typed).items()}
        arrays["rounding"] = np.array(golden.rounding, np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_golden(data: bytes, manifest: Manifest) -> Golden:
    """Parse ``golden.npz`` and check every field.

    Args:
        data: its bytes, already checked against the manifest's hash.
        manifest: of its bundle: says the classes, the frame size if it is fixed, and whether there is a
            typed half.

    Raises:
        BundleError: a field is missing, or of the wrong type, shape or range; too few frames, or of one
            channel order only.
    """
    typed, classes = manifest.backbone is not None, len(manifest.classes)
    entries = _entries(data, (*_PORTABLE, *(_TYPED if typed else ()), "frames", "size", "bgr"))
    frames, size, bgr = entries["frames"], entries["size"], entries["bgr"]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        _refuse("frames must be uint8 [n, height, width, 3]", frames)
    count = len(frames)
    if count < LEAST_FRAMES:
        _refuse(f"frames must be at least {LEAST_FRAMES}: fewer prove too little", frames)
    fixed = manifest.frame
    if size.dtype != np.int64 or size.shape != (2,) or not ((size >= 1) & (size <= LARGEST_SIDE)).all():
        _refuse(f"size must be (height, width) from 1 to {LARGEST_SIDE}, int64 [2]", size)
    if fixed is not None and tuple(size.tolist()) != fixed:
        _refuse(f"size must be that of the bundle's frames, {fixed[0]}x{fixed[1]}", size)
    if bgr.dtype != np.bool_ or bgr.shape != (count,) or bgr.all() or not bgr.any():
        _refuse(f"bgr must be bool [{count}], with frames of both channel orders", bgr)
    rounding = None
    if typed:
        pair = entries["rounding"]
        if pair.dtype != np.float32 or pair.shape != (2,) or not (np.isfinite(pair) & (pair >= 0)).all():
            _refuse("rounding must be two finite numbers from 0, float32 [2]", pair)
        rounding = (float(pair[0]), float(pair[1]))
    return Golden(
        frames=frames,
        size=(int(size[0]), int(size[1])),
        bgr=bgr,
        portable=_expected(entries, "", count, classes),
        typed=_expected(entries, "typed_", count, classes) if typed else None,
        rounding=rounding,
    )


def _entries(data: bytes, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        found = npz_arrays(data, largest=LARGEST_GOLDEN, compressed=True)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise NpzError(f"it lacks {', '.join(missing)}")
    except NpzError as error:
        raise BundleError(
            f"golden.npz holds no frames with their verdicts: {error}; export the bundle again"
        ) from error
    return found


def _expected(entries: dict[str, NDArray[Any]], prefix: str, count: int, classes: int) -> Expected:
    label, score, gap = (entries[prefix + name] for name in _PORTABLE)
    if label.dtype != np.int64 or label.shape != (count,) or label.min() < 0 or label.max() >= classes:
        _refuse(f"{prefix}label must be classes from 0 to {classes - 1}, int64 [{count}]", label)
    if score.dtype != np.float32 or score.shape != (count,):
        _refuse(f"{prefix}score must be float32 [{count}]", score)
    if gap.dtype != np.float32 or gap.shape != (count,) or not (gap >= 0).all():
        _refuse(f"{prefix}gap must be numbers from 0, float32 [{count}]", gap)
    return Expected(label=label, score=score, gap=gap)


def _refuse(expected: str, got: NDArray[Any]) -> NoReturn:
    values = f" {got.tolist()}" if got.size <= 2 else ""
    raise BundleError(
        f"golden.npz: {expected}; got {got.dtype} {list(got.shape)}{values}; export the bundle again"
    )
