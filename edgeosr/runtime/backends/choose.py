"""Which backend runs a bundle here: the one that was named, or the best that can, and why."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.engines import BUILDERS
from edgeosr.bundle.made_of import export_again
from edgeosr.errors import EdgeosrError, UsageError, require_choice, require_names, require_threads
from edgeosr.printed import brief
from edgeosr.runtime.backends.backend import BACKENDS, NATIVE, Backend
from edgeosr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from edgeosr.runtime.sessions import CPU_ONLY
from edgeosr.scoring.thresholds import Limit

_log = logging.getLogger(__name__)
AUTO = "auto"


@dataclass(frozen=True)
class Chosen:
    """An open backend.

    Attributes:
        backend: it.
        why: why it is this one, a sentence without a full stop.
        threshold: what its scores were calibrated with; one number, or one a class.
        frame: (height, width) of the only frames it takes; None for any.
    """

    backend: Backend
    why: str
    threshold: Limit
    frame: tuple[int, int] | None


def choose_backend(
    bundle: Bundle,
    *,
    backend: str = AUTO,
    build: str | None = None,
    threads: int | None = None,
    providers: Sequence[str] = CPU_ONLY,
) -> Chosen:
    """Open a backend for a bundle. With ``auto``, what keeps an engine from running here is no error.

    Args:
        bundle: checked.
        backend: one of ``BACKENDS``, ``native``, or ``auto``.
        build: ``auto``: build an engine first if there is none for this device.
        threads: of onnxruntime.
        providers: of onnxruntime; any but the default takes it.

    Raises:
        UsageError: unknown or conflicting arguments.
        EdgeosrError: the named backend cannot run here; says why and what to do.
    """
    require_choice("backend", backend, (AUTO, *BACKENDS, NATIVE))
    require_names("providers", providers)
    if not providers:
        raise UsageError(
            f"providers must name at least one; got {brief(providers)}; {CPU_ONLY} is the default"
        )
    require_threads("threads", threads)
    if build is not None:
        require_choice("build", build, (AUTO,))
    if tuple(providers) != CPU_ONLY:
        if backend in (*BUILDERS, NATIVE):
            raise UsageError(f"providers are for onnxruntime; the backend {backend} takes none")
        return _on_onnxruntime(bundle, threads, providers, "its execution providers were named")
    if backend == "onnxruntime":
        return _on_onnxruntime(bundle, threads, providers, "it was asked for")
    if backend == NATIVE:
        return _on_native(bundle, threads)
    if backend in BUILDERS:
        return _on_engine(bundle, backend, build, "it was asked for")
    reasons = []
    if bundle.manifest.threshold.by_class:
        reasons.append("the bundle has a threshold a class, which engines do not take yet")
    elif bundle.manifest.backbone is None:
        again = export_again(bundle.manifest, "--engine fp16")
        reasons.append(f"the bundle has no typed backbone ({again} makes one)")
    elif not bundle.manifest.engines and build is None:
        reasons.append("the bundle has no engine yet (edgeosr build BUNDLE makes one, on the device)")
    else:
        for name in BUILDERS:  # best first
            if build is None and all(record.builder != name for record in bundle.manifest.engines):
                continue
            try:
                return _on_engine(bundle, name, build, "it is the fastest that runs here")
            except EdgeosrError as error:
                _log.info("%s does not run %s: %s", name, bundle.path, error)
                reasons.append(f"{name}: {error}")
    return _on_onnxruntime(bundle, threads, providers, "; ".join(reasons))


def _on_onnxruntime(bundle: Bundle, threads: int | None, providers: Sequence[str], why: str) -> Chosen:
    parts = len(bundle.manifest.parts)
    opened = OnnxRuntimeBackend(bundle.files["model.onnx"], parts=parts, threads=threads, providers=providers)
    return Chosen(opened, why, bundle.manifest.threshold.limit, bundle.manifest.frame)


def _on_native(bundle: Bundle, threads: int | None) -> Chosen:
    # Imported on use, as engines are.
    from edgeosr.runtime.backends.native import NativeBackend

    opened = NativeBackend(bundle, threads=threads)
    return Chosen(opened, "it was asked for", bundle.manifest.threshold.limit, bundle.manifest.frame)


def _on_engine(bundle: Bundle, name: str, build: str | None, why: str) -> Chosen:
    # Imported on use: without an engine, opening a bundle costs nothing of this.
    from edgeosr.runtime.backends.open_engine import open_engine

    runner, record = open_engine(bundle, name, build=build)
    backbone = bundle.manifest.backbone
    assert backbone is not None
    threshold = backbone.threshold or bundle.manifest.threshold
    return Chosen(runner, why, threshold.value, record.frame)
