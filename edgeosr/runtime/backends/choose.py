"""Which backend runs a bundle here: the one that was named, or the best that can, and why."""

import functools
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeosr.bundle.body import F32
from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.engines import BUILDERS
from edgeosr.bundle.made_of import export_again
from edgeosr.bundle.manifest import BODY, Manifest
from edgeosr.errors import (
    EdgeosrError,
    InferenceError,
    MissingDependencyError,
    UsageError,
    require_choice,
    require_names,
    require_threads,
)
from edgeosr.printed import brief
from edgeosr.runtime.backends.backend import BACKENDS, NATIVE, Backend
from edgeosr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from edgeosr.runtime.openvino_stages import Body
from edgeosr.runtime.sessions import CPU_ONLY
from edgeosr.runtime.trial import AS_USUAL, Trial, require_tried
from edgeosr.scoring.thresholds import Limit

_log = logging.getLogger(__name__)
AUTO = "auto"
# What keeps a body from running on this machine alone. Other errors are the bundle's or the caller's.
NOT_HERE = (MissingDependencyError, InferenceError)


@dataclass(frozen=True)
class Chosen:
    """An open backend.

    Attributes:
        backend: it.
        why: why it is this one, a sentence without a full stop.
        threshold: what its scores were calibrated with; one number, or one a class.
        frame: (height, width) of the only frames it takes; None for any.
        before: why each engine that there is does not run, where a body does.
    """

    backend: Backend
    why: str
    threshold: Limit
    frame: tuple[int, int] | None
    before: tuple[str, ...] = ()


def choose_backend(
    bundle: Bundle,
    *,
    backend: str = AUTO,
    build: str | None = None,
    threads: int | None = None,
    providers: Sequence[str] = CPU_ONLY,
    trial: Trial = AS_USUAL,
) -> Chosen:
    """Open a backend for a bundle. With ``auto``, what keeps an engine from running here is no error.

    Args:
        bundle: checked.
        backend: one of ``BACKENDS``, ``native``, or ``auto``.
        build: ``auto``: build an engine first if there is none for this device.
        threads: of onnxruntime or openvino.
        providers: of onnxruntime; any but the default takes it.
        trial: whether a graph is loaded in a process of its own first.

    Raises:
        UsageError: unknown or conflicting arguments.
        BundleError: the manifest was edited, which is no reason to run something else.
        EdgeosrError: the named backend cannot run here; says why and what to do.
    """
    require_choice("backend", backend, (AUTO, *BACKENDS, NATIVE))
    require_names("providers", providers)
    if not providers:
        raise UsageError(
            f"providers must name at least one; got {brief(providers)}; {CPU_ONLY} is the default"
        )
    require_threads("threads", threads)
    on_onnxruntime = functools.partial(_on_onnxruntime, bundle, threads, tuple(providers), trial)
    if build is not None:
        require_choice("build", build, (AUTO,))
    if tuple(providers) != CPU_ONLY:
        if backend not in (AUTO, "onnxruntime"):
            raise UsageError(f"providers are for onnxruntime; the backend {backend} takes none")
        return on_onnxruntime("its execution providers were named")
    if backend == "onnxruntime":
        return on_onnxruntime("it was asked for")
    if backend == "openvino":
        return _on_openvino(bundle, threads, trial)
    if backend == NATIVE:
        return _on_native(bundle, threads, trial)
    if backend in BUILDERS:
        return _on_engine(bundle, backend, build, "it was asked for")
    reasons, tried = [], []  # tried: of engines that there are
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
                tried.append(f"{name}: {error}")
    reasons += tried
    if bundle.manifest.body is not None:
        try:
            opened = _on_openvino(bundle, threads, trial, auto=True)
            return replace(opened, why="; ".join((opened.why, *tried)), before=tuple(tried))
        except NOT_HERE as error:
            _log.info("openvino does not run %s: %s", bundle.path, error)
            # First what this machine lacks, then what the bundle does.
            reasons.insert(len(reasons) if bundle.manifest.engines else 0, f"openvino: {error}")
    elif importlib.util.find_spec("openvino") is not None:
        again = export_again(bundle.manifest, "--precision bf16 --for openvino")
        reasons.append(f"it has no body for openvino ({again} makes one)")
    return on_onnxruntime("; ".join(reasons))


def _on_onnxruntime(
    bundle: Bundle,
    threads: int | None,
    providers: Sequence[str],
    trial: Trial,
    why: str,
) -> Chosen:
    require_tried(bundle, trial, threads=threads)
    parts = len(bundle.manifest.parts)
    opened = OnnxRuntimeBackend(bundle.files["model.onnx"], parts=parts, threads=threads, providers=providers)
    return Chosen(opened, why, bundle.manifest.threshold.limit, bundle.manifest.frame)


def _on_openvino(bundle: Bundle, threads: int | None, trial: Trial, *, auto: bool = False) -> Chosen:
    """Open openvino with the body if this processor is for it; else in float32, but for ``auto``."""
    # Imported on use, as engines are.
    from edgeosr.runtime.backends.openvino import OpenVinoBackend, enough_memory
    from edgeosr.runtime.openvino_graph import OpenVinoGraph

    record, manifest, why = bundle.manifest.body, bundle.manifest, "it was asked for"
    body, reason = _body_for_here(bundle)
    if reason:
        if auto:
            raise _not_for_here(bundle, reason)
        why += f"; in float32, because {reason}"
    elif record is None:
        why += "; in float32, because the bundle has no body"
    elif auto:
        why = "this processor has the instructions for its body"
        why = "any processor runs its f32 body" if record.precision == F32 else why
    require_tried(bundle, trial, threads=threads, on="openvino", body=body)
    fusion = None if body is None or record is None else record.fusion
    parts, model = len(manifest.parts), bundle.files["model.onnx"]
    with enough_memory():
        graph = OpenVinoGraph(model, parts=parts, threads=threads, body=body, fusion=fusion)
    opened = OpenVinoBackend(graph, "model.onnx" if body is None else BODY)
    return Chosen(opened, why, _limit_for(manifest, opened.graph), manifest.frame)


def _body_for_here(bundle: Bundle) -> tuple[Body | None, str]:
    """Return the bundle's body and ""; or None and why this processor is not for it, "" if there is none.

    Raises:
        MissingDependencyError: openvino is not installed.
    """
    from edgeosr.runtime.openvino_module import Core, why_not

    record = bundle.manifest.body
    if record is None:
        return None, ""
    reason = why_not(record.precision, Core())
    if reason:
        return None, reason
    return Body(model=bundle.files[BODY], precision=record.precision, outputs=record.outputs), ""


def _not_for_here(bundle: Bundle, reason: str) -> InferenceError:
    assert bundle.manifest.body is not None, "a body that is not for this processor"
    return InferenceError(f"the {bundle.manifest.body.precision} body is not for this processor: {reason}")


def _limit_for(manifest: Manifest, graph: str) -> Limit:
    """Return the threshold that the scores of a graph are compared with."""
    body = manifest.body
    if graph != BODY or body is None or body.threshold is None:
        return manifest.threshold.limit
    return body.threshold.value


def _on_native(bundle: Bundle, threads: int | None, trial: Trial) -> Chosen:
    """Open libedgeosr: the body on OpenVINO if it can run here, as a C program gets it; else onnxruntime."""
    # Imported on use, as engines are.
    from edgeosr.runtime.backends.native import NativeBackend

    manifest, why, opened = bundle.manifest, "it was asked for", None
    if manifest.body is not None:
        try:
            body, reason = _body_for_here(bundle)
            if reason:
                raise _not_for_here(bundle, reason)
            require_tried(bundle, trial, threads=threads, on="openvino", body=body)
            opened = NativeBackend(bundle, on="openvino", threads=threads)
        except NOT_HERE as error:
            _log.info("libedgeosr does not run the body of %s: %s", bundle.path, error)
            why += f"; model.onnx on onnxruntime, because openvino: {error}"
    if opened is None:
        require_tried(bundle, trial, threads=threads)
        opened = NativeBackend(bundle, threads=threads)
    return Chosen(opened, why, _limit_for(manifest, opened.graph), manifest.frame)


def _on_engine(bundle: Bundle, name: str, build: str | None, why: str) -> Chosen:
    # Imported on use: without an engine, opening a bundle costs nothing of this.
    from edgeosr.runtime.backends.open_engine import open_engine

    runner, record = open_engine(bundle, name, build=build)
    backbone = bundle.manifest.backbone
    assert backbone is not None
    threshold = backbone.threshold or bundle.manifest.threshold
    return Chosen(runner, why, threshold.value, record.frame)
