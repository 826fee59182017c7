"""``golden.npz``: frames with the verdicts that were given where the bundle was made.

The file, a zip of plain arrays of ``n`` frames and nothing else, at most ``LARGEST_GOLDEN``:

    frames       uint8 [n, h, w, 3]     stored small; in the channel order of ``bgr``
    size         int64 [2]              (height, width) that they are judged at, pixels repeated
    bgr          bool [n]               judged as BGR, else as RGB
    label        int64 [n]              what model.onnx says: the nearest class,
    second       int64 [n]              the class behind it,
    gap          float32 [n]            how far behind (``runner_up``),
    score        float32 [n]            the unknown score; infinite where the model's own answer is "unknown",
    values       float32 [n, parts]     and the values of the bundle's score parts in its order

    threshold    float64 [1 or classes] the manifest's, so that an edited one is noticed; may be missing
    classes      uint8 [64]             digest of the names of classes (``digest_of_names``), likewise
    preprocessing  float64 [12]         as numbers (``numbers_of_preprocessing``), likewise

and, in a bundle with a typed backbone, what backbone.onnx with scorer.npz says of the same frames
(``typed_expected``), which is what an engine with the kernel must say:

    typed_label, typed_second, typed_gap, typed_score, typed_values
    rounding     float32 [2 + parts]    median distance between the typed graph and the float32 one with the
                                        typed graph's fusion: of the score, of the gap, of each value

and, in a bundle with a body for OpenVINO, what ``model.onnx`` with that body says there, and its rounding:

    body_label, body_second, body_gap, body_score, body_values, body_rounding
    body_threshold  float64 [1]         that body's own, if it has one; may be missing
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.manifest import LARGEST_FILES, Manifest
from edgeosr.errors import BundleError
from edgeosr.preprocessing import LARGEST_FRAME, LARGEST_SIDE, Preprocessing
from edgeosr.runtime.golden_manifest import CLASSES, PREPROCESSING, arrays_of_manifest, require_manifest
from edgeosr.runtime.refused_array import refuse_array
from edgeosr.scoring.npz import NpzError, npz_arrays
from edgeosr.scoring.thresholds import Limit

LEAST_FRAMES = 64
MOST_FRAMES = 1024  # all are judged before a bundle is used, so hours of them are refused
MOST_PIXELS = 128 * LARGEST_FRAME  # of all frames, at the size that they are judged at
LARGEST_GOLDEN = LARGEST_FILES["golden.npz"]
_HALF = ("label", "second", "gap", "score", "values")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a graph says of n frames.

    Attributes:
        label: int64 ``[n]``, the nearest class, whether accepted or not.
        second, gap: int64 and float32 ``[n]``, see ``runner_up``.
        score: float32 ``[n]``, the unknown score; NaN if something was not finite.
        values: float32 ``[n, parts]``, the bundle's score parts in its order; not all finite where the score
            is not.

    Golden frames are ``comparable``: with NaN there is nothing to compare with.
    """

    label: NDArray[np.int64]
    second: NDArray[np.int64]
    gap: NDArray[np.float32]
    score: NDArray[np.float32]
    values: NDArray[np.float32]

    def comparable(self, *, typed: bool) -> NDArray[np.bool_]:
        """Tell of which frames it can be golden, ``[n]``: all is finite.

        A score may be infinite where the model itself says unknown (``--unknown-outputs``), which no typed
        graph does.
        """
        scores = np.isfinite(self.score) if typed else np.isfinite(self.score) | (self.score == np.inf)
        return np.asarray(scores & np.isfinite(self.values).all(axis=1))


@dataclass(frozen=True)
class Rounding:
    """Of a typed graph: how far it is from the float32 one with its fusion, in the median of the frames.

    Attributes:
        score: in standard deviations of known images.
        gap: between the first two classes, in standard deviations of the logits.
        values: of each part, in its ``Fusion.stds``.
    """

    score: float
    gap: float
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """See the module's docstring.

    ``typed`` and ``rounding`` are None in a bundle without a backbone, ``body`` and ``body_rounding`` in one
    without a body; a threshold, the names of classes and the preprocessing where the file does not say it.
    """

    frames: NDArray[np.uint8]
    size: tuple[int, int]
    bgr: NDArray[np.bool_]
    portable: Expected
    typed: Expected | None = None
    rounding: Rounding | None = None
    body: Expected | None = None
    body_rounding: Rounding | None = None
    threshold: Limit | None = None
    body_threshold: Limit | None = None
    classes: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None

    def __len__(self) -> int:
        return len(self.frames)


def runner_up(
    logits: NDArray[np.floating[Any]], label: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the second class of each row, and how far it lies behind the first.

    Args:
        logits: ``[n, C]``.
        label: ``[n]``, the first class as the graph said it.

    Returns:
        The class, int64 ``[n]``, which is another one than ``label``, but for one class; and the distance,
        float32 ``[n]``, in standard deviations of all logits given: infinite for one class, 0 where a logit
        is not finite (the class is then any).
    """
    rows = np.asarray(logits, np.float64)
    if rows.shape[1] < 2:
        return np.zeros(len(rows), np.int64), np.full(len(rows), np.inf, np.float32)
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    rows = np.where(usable[:, None], rows, 0.0)
    first, second = np.argsort(-rows, axis=1, kind="stable")[:, :2].T
    numbers = np.arange(len(rows))
    distance = rows[numbers, first] - rows[numbers, second]
    spread = float(rows[usable].std()) if usable.any() else 0.0
    other = np.where(first == label, second, first).astype(np.int64)
    return other, np.asarray(distance / (spread or 1.0), np.float32)


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
    most: int,
) -> tuple[NDArray[Any], ...]:
    """Judge stored frames in batches of one channel order each.

    Args:
        frames: as stored, ``[n, h, w, 3]``.
        bgr: ``[n]``.
        size: (height, width) that they are judged at.
        judge: takes a batch and whether it is BGR; returns arrays with one row a frame.
        most: frames of a batch.

    Returns:
        The arrays of ``judge``, one row a frame, in the order of ``frames``.
    """
    order, rows = [], []
    for indices in _batches(bgr, most):
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
    halves = (
        ("typed_", "", golden.typed, golden.rounding),
        ("body_", "body_", golden.body, golden.body_rounding),
    )
    for prefix, before, half, rounding in halves:
        if half is not None:
            assert rounding is not None, "verdicts without their rounding"
            arrays |= {f"{prefix}{name}": array for name, array in vars(half).items()}
            numbers = [rounding.score, rounding.gap, *rounding.values]
            arrays[f"{before}rounding"] = np.array(numbers, np.float32)
    limits = {"threshold": golden.threshold, "body_threshold": golden.body_threshold}
    arrays |= arrays_of_manifest(limits, golden.classes, golden.preprocessing)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_golden(data: bytes, manifest: Manifest) -> Golden:
    """Parse ``golden.npz`` and check every field.

    Args:
        data: its bytes, already checked against the manifest's hash.
        manifest: of its bundle: says the classes, the frame size if it is fixed, and whether there is a
            typed half, and one of a body.

    Raises:
        BundleError: a field is missing, or of the wrong type, shape or range; too few frames, or of one
            channel order only.
    """
    typed, body = manifest.backbone is not None, manifest.body is not None
    classes, parts = len(manifest.classes), len(manifest.parts)
    names = (*_HALF, *((*(f"typed_{name}" for name in _HALF), "rounding") if typed else ()))
    names += (*(f"body_{name}" for name in _HALF), "body_rounding") if body else ()
    limits = {"threshold": manifest.threshold.limit}
    if manifest.body is not None and manifest.body.threshold is not None:
        limits["body_threshold"] = manifest.body.threshold.limit
    entries = _entries(data, (*names, "frames", "size", "bgr"), (*limits, CLASSES, PREPROCESSING))
    frames, size, bgr = entries["frames"], entries["size"], entries["bgr"]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        refuse_array("frames must be uint8 [n, height, width, 3]", frames)
    count = len(frames)
    if count < LEAST_FRAMES:
        refuse_array(f"frames must be at least {LEAST_FRAMES}: fewer prove too little", frames)
    if count > MOST_FRAMES:
        refuse_array(f"frames must be at most {MOST_FRAMES}", frames)
    fixed = manifest.frame
    if size.dtype != np.int64 or size.shape != (2,) or not ((size >= 1) & (size <= LARGEST_SIDE)).all():
        refuse_array(f"size must be (height, width) from 1 to {LARGEST_SIDE}, int64 [2]", size)
    if int(size[0]) * int(size[1]) > LARGEST_FRAME:
        refuse_array(f"size must be of at most {LARGEST_FRAME} pixels", size)
    if count * int(size[0]) * int(size[1]) > MOST_PIXELS:
        refuse_array(f"size must be of at most {MOST_PIXELS // count} pixels with {count} frames", size)
    if fixed is not None and tuple(size.tolist()) != fixed:
        refuse_array(f"size must be that of the bundle's frames, {fixed[0]}x{fixed[1]}", size)
    if bgr.dtype != np.bool_ or bgr.shape != (count,) or bgr.all() or not bgr.any():
        refuse_array(f"bgr must be bool [{count}], with frames of both channel orders", bgr)
    require_manifest(entries, limits, manifest)
    return Golden(
        frames=frames,
        size=(int(size[0]), int(size[1])),
        bgr=bgr,
        portable=_expected(entries, "", count, classes, parts),
        typed=_expected(entries, "typed_", count, classes, parts) if typed else None,
        rounding=_rounding(entries, "", parts) if typed else None,
        body=_expected(entries, "body_", count, classes, parts) if body else None,
        body_rounding=_rounding(entries, "body_", parts) if body else None,
        threshold=limits["threshold"] if "threshold" in entries else None,
        body_threshold=limits["body_threshold"] if "body_threshold" in entries else None,
        classes=manifest.classes if CLASSES in entries else None,
        preprocessing=manifest.preprocessing if PREPROCESSING in entries else None,
    )


def _rounding(entries: dict[str, NDArray[Any]], prefix: str, parts: int) -> Rounding:
    found, shape = entries[f"{prefix}rounding"], (2 + parts,)
    if found.dtype != np.float32 or found.shape != shape or not (np.isfinite(found) & (found >= 0)).all():
        refuse_array(f"{prefix}rounding must be finite numbers from 0, float32 [{2 + parts}]", found)
    score, gap, *values = found.tolist()
    return Rounding(score, gap, tuple(values))


def _entries(data: bytes, wanted: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        found = npz_arrays(data, largest=LARGEST_GOLDEN)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise NpzError(f"it lacks {', '.join(missing)}")
    except NpzError as error:
        raise BundleError(
            f"golden.npz holds no frames with their verdicts: {error}; export the bundle again"
        ) from error
    for more in (name for name in found if name not in (*wanted, *optional)):
        raise BundleError(
            f"golden.npz has an entry that edgeosr does not know, {more!r}, made by a newer edgeosr: install "
            "it, or export the bundle again with this one"
        )
    return found


def _expected(
    entries: dict[str, NDArray[Any]], prefix: str, count: int, classes: int, parts: int
) -> Expected:
    label, second, gap, score, values = (entries[prefix + name] for name in _HALF)
    for name, array in (("label", label), ("second", second)):
        if array.dtype != np.int64 or array.shape != (count,) or array.min() < 0 or array.max() >= classes:
            refuse_array(f"{prefix}{name} must be classes from 0 to {classes - 1}, int64 [{count}]", array)
    if score.dtype != np.float32 or score.shape != (count,):
        refuse_array(f"{prefix}score must be float32 [{count}]", score)
    if gap.dtype != np.float32 or gap.shape != (count,) or not (gap >= 0).all():
        refuse_array(f"{prefix}gap must be numbers from 0, float32 [{count}]", gap)
    if values.dtype != np.float32 or values.shape != (count, parts):
        refuse_array(f"{prefix}values must be float32 [{count}, {parts}]", values)
    found = Expected(label=label, second=second, gap=gap, score=score, values=values)
    if not np.isfinite(values).all():
        refuse_array(f"{prefix}values must be finite numbers, float32 [{count}, {parts}]", values)
    if not found.comparable(typed=bool(prefix)).all():
        refuse_array(f"{prefix}score must be {'finite ' * bool(prefix)}numbers, float32 [{count}]", score)
    return found
