"""``edgeosr verify``: the golden frames through every backend that runs here, decision by decision.

A verdict is the class name, or "unknown". One that differs is forgiven only if the expected score is so near
to the threshold that rounding decides.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.errors import (
    EdgeosrError,
    EngineError,
    MissingDependencyError,
    NoDeviceError,
    NoDriverError,
    require_choice,
)
from edgeosr.runtime.backends.backend import BACKENDS
from edgeosr.runtime.golden import Golden, read_golden
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.verify_report import BackendCheck, VerifyReport
from edgeosr.verdict import UNKNOWN, Verdict

# Scores that two processors give for one frame differ by rounding only; in standard deviations.
SAME_GRAPH = 1e-3
# The kernel's fp16 weights move a score by up to this (kernels/selftest.py), beside what the gate measured.
KERNEL = 1e-2
# It does not run here, which is no fault of the bundle; every other error is one.
_NOT_HERE = (EngineError, MissingDependencyError, NoDriverError, NoDeviceError)


def verify_bundle(path: Path, *, backends: Sequence[str] = (), threads: int | None = None) -> VerifyReport:
    """Compare verdicts with those of the golden frames.

    Args:
        path: the bundle.
        backends: those that must be available and are checked alone; none: all, as far as they run here.
        threads: of onnxruntime.

    Raises:
        BundleError: the bundle is damaged, or has no golden verdicts.
        UsageError: there is no such backend.
    """
    for name in backends:
        require_choice("the backend", name, BACKENDS)
    bundle = read_bundle(path)
    golden = read_golden(bundle.files["golden.npz"])
    checks = tuple(_checked(bundle, golden, name, threads) for name in (backends or BACKENDS))
    return VerifyReport(bundle=str(bundle.path), checks=checks, required=tuple(backends))


def _checked(bundle: Bundle, golden: Golden, name: str, threads: int | None) -> BackendCheck:
    try:
        with Runtime(bundle.path, backend=name, threads=threads, warmup=0) as runtime:
            return _compared(bundle, golden, runtime, threads)
    except _NOT_HERE as error:
        return BackendCheck(backend=name, available=False, detail=str(error))
    except EdgeosrError as error:
        return BackendCheck(backend=name, available=False, detail=str(error), failed=True)


def _compared(bundle: Bundle, golden: Golden, runtime: Runtime, threads: int | None) -> BackendCheck:
    threshold = bundle.manifest.threshold.value
    frames, label, score = golden.frames, golden.label, golden.score
    if runtime.frame is not None and frames.shape[1:3] != runtime.frame:
        # An engine for a camera of another size: model.onnx says on the CPU what is expected of such frames.
        frames = golden.resized(runtime.frame)
        label, score = _expected(bundle, frames, threads)
    band = SAME_GRAPH
    backbone = bundle.manifest.backbone
    if runtime.backend != "onnxruntime" and backbone is not None:
        band = backbone.gate.score_distance[1] + KERNEL
    found = [_one(runtime, frame) for frame in frames] + _many(runtime, frames)
    agreed, ties, differences = 0, 0, []
    for number, verdict in enumerate(found):
        index = number % len(frames)
        value = float(score[index])
        accepted = bool(np.isfinite(value)) and value <= threshold
        wanted = runtime.classes[int(label[index])] if accepted else UNKNOWN
        if verdict.label == wanted:
            agreed += 1
        elif abs(value - threshold) <= band:
            ties += 1
        else:
            how = "alone" if number < len(frames) else "in a batch"
            differences.append(
                f"golden frame {index} {how}: expected {wanted} (score {value:.4f}, threshold "
                f"{threshold:.4f}), got {verdict.label} ({verdict.score:.4f}, {verdict.threshold:.4f})"
            )
    return BackendCheck(
        backend=runtime.backend,
        available=True,
        detail=", ".join(runtime.providers),
        frames=len(found),
        agreed=agreed,
        ties=ties,
        differences=tuple(differences),
    )


def _expected(
    bundle: Bundle, frames: NDArray[np.uint8], threads: int | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    with Runtime(bundle.path, backend="onnxruntime", threads=threads, warmup=0) as portable:
        found = _many(portable, frames)
    label = np.array([verdict.index for verdict in found], np.int64)
    return label, np.array([verdict.score for verdict in found], np.float32)


def _one(runtime: Runtime, frame: NDArray[np.uint8]) -> Verdict:
    (verdict,) = runtime([frame])
    return verdict


def _many(runtime: Runtime, frames: NDArray[np.uint8]) -> list[Verdict]:
    return runtime(list(frames))
