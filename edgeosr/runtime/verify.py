"""``edgeosr verify``: the golden frames through every backend that runs here, verdict by verdict.

``model.onnx`` must say what it said where the bundle was made, on openvino too; an engine with the kernel
what the typed graph said there: classes, decisions, scores and the values of all parts (``agreement.py``
tells a difference from rounding).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.engines import BUILDERS
from edgeosr.bundle.manifest import BACKBONE, BODY
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import (
    EdgeosrError,
    EngineError,
    MissingDependencyError,
    NoDeviceError,
    NoDriverError,
    require_choice,
)
from edgeosr.runtime.agreement import agreement
from edgeosr.runtime.backends.backend import BACKENDS, NATIVE
from edgeosr.runtime.bands import Band, engine_band
from edgeosr.runtime.bundle_golden import bundle_golden
from edgeosr.runtime.golden import Expected, Golden
from edgeosr.runtime.golden_verdicts import found_by, half_of, limit_of, require_frame_size
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.trial import AS_USUAL, require_tried
from edgeosr.runtime.typed_expected import typed_expected
from edgeosr.runtime.verify_report import BackendCheck, VerifyReport
from edgeosr.scoring.scorer import Scorer

# What libedgeosr says of a body that is not as its golden verdicts (verify.cpp).
_DECIDES_OTHERWISE = "golden verdicts differ"
# It does not run here, which is no fault of the bundle; every other error is one.
_NOT_HERE = (EngineError, MissingDependencyError, NoDriverError, NoDeviceError)


def verify_bundle(
    path: Path, *, backends: Sequence[str] = (), native: bool = False, threads: int | None = None
) -> VerifyReport:
    """Compare verdicts with those of the golden frames.

    Args:
        path: the bundle.
        backends: those that must be available and are checked alone; none: all, as far as they run here.
        native: check libedgeosr too, which must then be available.
        threads: of onnxruntime and openvino.

    Raises:
        BundleError: the bundle is damaged, has no golden verdicts, or a scorer that is not its manifest's.
        UsageError: there is no such backend.
    """
    for name in backends:
        require_choice("the backend", name, (*BACKENDS, NATIVE))
    bundle = read_bundle(path)
    golden = bundle_golden(bundle)
    scorer = bundle_scorer(bundle)
    added = (NATIVE,) if native and NATIVE not in backends else ()
    names = (*(backends or BACKENDS), *added)
    checks = tuple(_checked(bundle, golden, scorer, name, threads) for name in names)
    return VerifyReport(bundle=str(bundle.path), checks=checks, required=(*backends, *added))


def _checked(bundle: Bundle, golden: Golden, scorer: Scorer, name: str, threads: int | None) -> BackendCheck:
    try:
        with Runtime(bundle.path, backend=name, threads=threads) as runtime:  # its warm-up has a time limit
            check = _compared(bundle, golden, scorer, runtime, threads)
            body_left = name == NATIVE and bundle.manifest.body is not None and runtime.graph != BODY
            return _without_body(check, runtime.why) if body_left else check
    except _NOT_HERE as error:
        return BackendCheck(backend=name, available=False, detail=str(error))
    except EdgeosrError as error:
        return BackendCheck(backend=name, available=False, detail=str(error), failed=True)


def _without_body(check: BackendCheck, why: str) -> BackendCheck:
    """Tell why libedgeosr left the body; where it decides otherwise than it must, the check fails."""
    why = why.removeprefix("it was asked for; ")
    wrong = (f"the body: {why}",) if _DECIDES_OTHERWISE in why else ()
    return replace(check, detail=f"{check.detail}; {why}", differences=(*check.differences, *wrong))


def _compared(
    bundle: Bundle, golden: Golden, scorer: Scorer, runtime: Runtime, threads: int | None
) -> BackendCheck:
    size = golden.size
    if runtime.backend not in BUILDERS:
        require_frame_size(runtime, golden)
        expected, band, fusion = half_of(bundle, golden, runtime.graph)
    else:
        size, fusion = runtime.frame or size, scorer.fusion
        expected, band = _of_an_engine(bundle, golden, scorer, size, threads)
    result = agreement(
        expected,
        found_by(runtime, golden, size),
        classes=runtime.classes,
        threshold=limit_of(runtime),
        band=band,
        fusion=fusion,
    )
    return BackendCheck(
        backend=runtime.backend,
        available=True,
        detail=", ".join(runtime.providers),
        frames=2 * len(golden),
        agreed=result.agreed,
        ties=result.ties,
        band=band.score,
        score_distance=result.distance,
        one_sided=result.one_sided,
        differences=result.differences,
    )


def _of_an_engine(
    bundle: Bundle, golden: Golden, scorer: Scorer, size: tuple[int, int], threads: int | None
) -> tuple[Expected, Band]:
    assert golden.typed is not None and golden.rounding is not None, "an engine without a backbone"
    expected = golden.typed
    if size != golden.size:
        # An engine for a camera of another size: other frames, of which nothing is recorded.
        require_tried(bundle, AS_USUAL, threads=threads, name=BACKBONE)
        backbone = bundle.files[BACKBONE]
        expected = typed_expected(backbone, scorer, golden.frames, golden.bgr, size, threads=threads)
    return expected, engine_band(golden.rounding)
