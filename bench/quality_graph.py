"""Which graph of a bundle an evaluation measures: what ``edgeosr.Runtime`` runs here, or it says which."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.quality_settings import ONNXRUNTIME, OPENVINO, QualitySettings
from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.engines import BUILDERS
from edgeosr.bundle.manifest import BODY
from edgeosr.errors import BundleError
from edgeosr.export.measure import GraphRunner, Runner
from edgeosr.runtime.runtime import WARMUP_LIMIT_S, Runtime
from edgeosr.runtime.sessions import load_onnxruntime
from edgeosr.runtime.trial import MODEL, Trial, require_tried
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.thresholds import Threshold


@dataclass(frozen=True, kw_only=True)
class MeasuredGraph:
    """What an evaluation's figures are of.

    Attributes:
        file: of the bundle: ``model.onnx``, or ``body.onnx`` with the ends of the first.
        backend: what ran it, ``onnxruntime`` or ``openvino``.
        runs: the same in words, with its version and the precision.
        sha256: of the file.
        fusion, threshold: what its scores are made of and compared with.
        note: what else would run here, or what else the reader must know; "" if nothing.
    """

    file: str
    backend: str
    runs: str
    sha256: str
    fusion: Fusion
    threshold: Threshold
    note: str

    def as_json(self) -> dict[str, Any]:
        """Return plain values; the threshold and the fusion have places of their own in a report."""
        names = ("file", "backend", "runs", "sha256", "note")
        return {name: getattr(self, name) for name in names}

    def as_lines(self, width: int) -> list[str]:
        """Return it for a terminal."""
        said = f"measured {self.file} on {self.backend} ({self.runs})"
        return textwrap.wrap(f"{said}; {self.note}" if self.note else said, width, subsequent_indent=" " * 9)


@contextmanager
def measured_graph(bundle: Bundle, settings: QualitySettings) -> Iterator[tuple[Runner, MeasuredGraph]]:
    """Open what is measured: a body where ``edgeosr.Runtime`` runs it here, else ``model.onnx``.

    Engines are not measured, for they take frames of few sizes: the note names the one that would run.

    Raises:
        BundleError: the bundle cannot be used, or was replaced meanwhile.
        InferenceError, MissingDependencyError: a back end that was named cannot run it here.
    """
    manifest, note = bundle.manifest, ""
    if settings.backend == ONNXRUNTIME and (manifest.body or manifest.engines):
        note = "it was asked for, and edgeosr.Runtime may take another graph"
    elif settings.backend == OPENVINO or manifest.body or manifest.engines:
        with Runtime(bundle.path, backend=settings.backend, threads=settings.threads) as runtime:
            if runtime.manifest != manifest:
                raise BundleError(
                    f"the bundle at {bundle.path} was replaced while it was opened; open it again"
                )
            if runtime.backend == OPENVINO:
                yield _RuntimeRunner(runtime), _on_openvino(bundle, runtime)
                return
            note = _note_on(runtime)
    require_tried(bundle, Trial(limit_s=WARMUP_LIMIT_S), threads=settings.threads)
    measured = MeasuredGraph(
        file=MODEL,
        backend=ONNXRUNTIME,
        runs=f"{load_onnxruntime().__version__}, float32",
        sha256=manifest.files[MODEL].sha256,
        fusion=manifest.fusion,
        threshold=manifest.threshold,
        note=note,
    )
    yield GraphRunner(bundle.files[MODEL], threads=settings.threads), measured


def _on_openvino(bundle: Bundle, runtime: Runtime) -> MeasuredGraph:
    manifest, body = bundle.manifest, bundle.manifest.body
    fusion, threshold, note = manifest.fusion, manifest.threshold, f"edgeosr.Runtime: {runtime.why}"
    if runtime.graph == BODY and body is not None:
        note = "it is what edgeosr.Runtime runs here"
        if body.fusion is not None and body.threshold is not None:
            fusion, threshold = body.fusion, body.threshold
            note += ", with weights and a threshold of its own"
            if manifest.left_out is not None:
                note += "; what is said of left-out classes was estimated with those of model.onnx"
    return MeasuredGraph(
        file=runtime.graph,
        backend=runtime.backend,
        runs=", ".join(runtime.providers),
        sha256=manifest.files[runtime.graph].sha256,
        fusion=fusion,
        threshold=threshold,
        note=note,
    )


def _note_on(runtime: Runtime) -> str:
    if runtime.backend in BUILDERS:
        return (
            f"NOT what edgeosr.Runtime runs here: {', '.join(runtime.providers)} on {runtime.backend}, which "
            f"accepts scores up to {runtime.threshold:.4g} and was held against it by the export's gate"
        )
    return f"edgeosr.Runtime runs it here: {runtime.why}"


class _RuntimeRunner(Runner):
    """An open Runtime, asked like an app asks it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(self, frames: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Score uint8 RGB frames ``[b, h, w, 3]``."""
        verdicts = self._runtime(list(frames))
        return [
            np.array([verdict.index for verdict in verdicts], np.int64),
            np.array([verdict.score for verdict in verdicts], np.float32),
            np.array([list(verdict.parts.values()) for verdict in verdicts], np.float32),
        ]
