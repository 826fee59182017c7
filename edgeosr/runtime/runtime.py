"""``edgeosr.Runtime``: a bundle in, verdicts out. Needs numpy and one backend only."""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from edgeosr.arguments import path_from
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.engines import BUILDERS
from edgeosr.bundle.manifest import Manifest
from edgeosr.errors import (
    BundleError,
    FrameError,
    InferenceError,
    UsageError,
    require_choice,
    require_number,
    require_whole,
)
from edgeosr.preprocessing import COLORS, Color
from edgeosr.printed import brief
from edgeosr.runtime.backends.backend import Backend
from edgeosr.runtime.backends.choose import AUTO, Chosen, choose_backend
from edgeosr.runtime.backends.cuda_frames import HOW_TO_COPY, as_cuda_frames, is_cuda_array
from edgeosr.runtime.bundle_golden import require_unedited
from edgeosr.runtime.frames import as_batch
from edgeosr.runtime.rows import Rows
from edgeosr.runtime.sessions import CPU_ONLY
from edgeosr.runtime.thresholds import RuntimeThreshold, changed_limit, shown_threshold
from edgeosr.runtime.trial import Trial
from edgeosr.scoring.thresholds import Limit
from edgeosr.verdict import UNKNOWN, Verdict

Frame = NDArray[np.uint8]
# A network that takes longer for one frame is of no use to a camera; a hostile one would never end.
WARMUP_LIMIT_S = 60.0
MOST_WARMUPS = 10_000


class Runtime:
    """Classifies camera frames and says "unknown".

        with edgeosr.Runtime("digits.edgeosr") as runtime:
            verdict = runtime(frame)              # one uint8 frame [height, width, 3], RGB
            print(verdict.label, verdict.score)   # "seven" or "unknown"

    One object may be called from several threads at once.

    Args:
        bundle: path of a ``NAME.edgeosr`` directory; every byte of it is checked first.
        backend: ``onnxruntime``, ``openvino``, ``tensorrt``, ``tensorrt_rtx``, or ``auto``: an engine of the
            bundle that can run here, else the body for openvino if it has one that can (and memory for it),
            else onnxruntime; or ``native``, the C library, which runs the body likewise. One that is named
            and cannot run raises.
            ``openvino`` first judges the golden frames, once, and is refused if it decides otherwise.
        build: ``auto`` builds the engine first if the bundle has none for this device; None never builds.
        threads: processor threads of one call; None: with onnxruntime one a physical core, with openvino one
            for a frame alone, and all that this process may use for a batch.
        warmup: calls made at once on a black frame, so that the first real one is not slower; 0 for none. One
            more follows where golden frames are judged.
        warmup_limit_s: seconds that each of them may take on onnxruntime or openvino, which stop between two
            nodes of the graph; ``math.inf`` for any time. With ``warmup=0`` nothing is limited.
        providers: onnxruntime execution providers in order of preference; naming any takes onnxruntime. The
            default is the CPU. Any other one first judges the bundle's golden frames, once, and is refused if
            it decides otherwise.
        trial: whether onnxruntime first loads the network in a process of its own, where it may crash (see
            docs/reliability.md). None: if the bundle was not made here, and was not tried before. True: in
            any case. False: never; for bundles that you trust, where no process can be started.

    Attributes:
        path: of the bundle.
        manifest: what the bundle says about itself.
        classes: class names by index.
        frame: (height, width) of the only frames that it takes, the bundle's or the engine's; None for any.
        backend: name of the one that runs.
        why: why it is that one, in a sentence.
        graph: the file of the bundle that it runs: ``model.onnx``, ``backbone.onnx``, or ``body.onnx``, which
            has the ends of the first around it.
        providers: the execution providers that really run, asked from the session; or the engine's file, or
            openvino's version and precision.

    Raises:
        BundleError: no bundle there; damaged, edited, foreign or newer; or the trial of its network crashed.
        StorageError: it may not be read.
        MissingDependencyError: onnxruntime, openvino, TensorRT or a wanted provider is missing.
        InferenceError: onnxruntime or openvino cannot load or run ``model.onnx``, a warm-up took too long, or
            openvino or a provider decides otherwise.
        EngineError, DeviceError: a named backend cannot run here; says why and what to do.
        UsageError: an argument is out of range.
    """

    # A name that is misspelled (runtime.treshold = 2) is an error, and not an attribute that nobody reads.
    __slots__ = (
        *("__weakref__", "_backend", "_limit", "backend", "classes", "frame", "graph", "manifest", "path"),
        *("providers", "why"),
    )

    def __init__(
        self,
        bundle: Path | str,
        *,
        backend: str = "auto",
        build: str | None = None,
        threads: int | None = None,
        warmup: int = 1,
        warmup_limit_s: float = WARMUP_LIMIT_S,
        providers: Sequence[str] = CPU_ONLY,
        trial: bool | None = None,
    ) -> None:
        require_whole("warmup", warmup, 0, MOST_WARMUPS)
        require_number("warmup_limit_s", warmup_limit_s)
        if not warmup_limit_s > 0:
            raise UsageError(
                f"warmup_limit_s must be a number of seconds above 0; got {brief(warmup_limit_s)}"
            )
        if trial is not None and not isinstance(trial, bool):
            raise UsageError(f"trial must be True, False or None; got {brief(trial)}")
        self.path = path_from("bundle", bundle)
        checked = read_bundle(self.path)
        self.manifest: Manifest = checked.manifest
        self.classes: tuple[str, ...] = checked.manifest.classes
        require_unedited(checked)
        first = Trial(wanted=trial, limit_s=warmup_limit_s if warmup else None)
        chosen = choose_backend(
            checked, backend=backend, build=build, threads=threads, providers=providers, trial=first
        )
        try:
            self._take(chosen, checked, warmup, warmup_limit_s)
        except InferenceError as error:
            if backend != AUTO or chosen.backend.name != "openvino":
                raise
            portable = choose_backend(checked, backend="onnxruntime", threads=threads, trial=first)
            why = "; ".join((*chosen.before, f"openvino: {error}"))
            self._take(replace(portable, why=why), checked, warmup, warmup_limit_s)

    def _take(self, chosen: Chosen, bundle: Bundle, warmup: int, limit_s: float) -> None:
        """Run this backend from now on, if it warms up in time and decides as it must."""
        self._backend: Backend | None = chosen.backend
        self._limit: Limit = chosen.threshold
        self.backend: str = chosen.backend.name
        self.why: str = chosen.why
        self.graph: str = chosen.backend.graph
        self.providers: tuple[str, ...] = chosen.backend.providers
        self.frame: tuple[int, int] | None = chosen.frame
        preprocessing = bundle.manifest.preprocessing
        height, width = chosen.frame or (preprocessing.height, preprocessing.width)
        black = np.zeros((1, height, width, 3), np.uint8)
        try:
            for _ in range(warmup):
                self._warm_up(chosen.backend, black, limit_s)
            if self.backend == "openvino" or (self.backend == "onnxruntime" and self.providers != CPU_ONLY):
                # Imported on use: on the CPU, opening a bundle costs nothing of this.
                from edgeosr.runtime.golden_verdicts import require_golden_verdicts

                with chosen.backend.briefly(black):
                    require_golden_verdicts(self, bundle)
                if warmup:  # what was let go the first frame would have to take anew
                    self._warm_up(chosen.backend, black, limit_s)
        except BaseException:
            self.close()
            raise

    def _warm_up(self, backend: Backend, black: Frame, limit_s: float) -> None:
        started, limit = time.perf_counter(), self._limit
        # A timer takes no longer time than this, and nobody waits for it.
        longest = min(limit_s, threading.TIMEOUT_MAX)
        rows = backend.warm_up(black, threshold=_common(limit), limit_s=longest)
        self._verdicts(rows, limit, started)

    @property
    def threshold(self) -> RuntimeThreshold:
        """Frames with a score up to this are accepted; may be changed while other threads call.

        A number; or, of a bundle with a threshold a class (``edgeosr export --threshold-rule per-class``), a
        read-only mapping from class name to the threshold of the frames that are predicted as that class.

        Setting a number sets every class, and it is a number from then on. Setting a mapping sets the classes
        that it names, the others keep theirs: ``runtime.threshold = {"cat": 1.5}``; a name that is no class
        raises UsageError, as does a mapping where an engine runs, which compares with one number.

        Calibrated values: ``manifest.threshold``, or that of ``manifest.backbone`` or ``manifest.body`` where
        that one runs and has one of its own. ``math.inf`` accepts every finite score. A call reads it once,
        so all verdicts of a batch use what was set at one time. NaN raises UsageError.
        """
        return shown_threshold(self._limit, self.classes)

    @threshold.setter
    def threshold(self, value: RuntimeThreshold) -> None:
        limit = changed_limit(self._limit, value, self.classes)
        if isinstance(limit, tuple) and self.backend in BUILDERS:
            raise UsageError(
                f"the backend {self.backend} compares with one threshold for all classes; got one a class; "
                "set a number, or open the bundle with backend='onnxruntime'"
            )
        self._limit = limit

    @overload
    def __call__(self, frames: Frame, *, color: Color = "rgb") -> "Verdict | list[Verdict]": ...
    @overload
    def __call__(self, frames: Sequence[Frame], *, color: Color = "rgb") -> list[Verdict]: ...
    def __call__(self, frames: Frame | Sequence[Frame], *, color: Color = "rgb") -> Verdict | list[Verdict]:
        """Judge one frame or a batch.

        Args:
            frames: uint8 ``[height, width, 3]`` of any size (of the bundle's own if it has a fixed one), a
                batch ``[batch, height, width, 3]``, or a list of frames of equal size. Engines also take
                arrays on the device (torch, CuPy: ``__cuda_array_interface__`` or DLPack), without a copy.
            color: ``"bgr"`` for frames as OpenCV reads them.

        Returns:
            One Verdict for one frame, a list for a batch or a list; ``[]`` for an empty one.

        Raises:
            FrameError: wrong type, dtype, shape or size; says how to convert.
            UsageError: unknown ``color``, or the runtime is closed.
            InferenceError: onnxruntime or openvino failed.
            DeviceError: the engine failed; says whether the runtime can go on.
            BundleError: the network gave a class that the manifest does not name.
        """
        started = time.perf_counter()
        backend, limit = self._backend, self._limit
        if backend is None:
            raise self._is_closed()
        require_choice("color", color, COLORS)
        batch: Any
        # The type first: a frame in the host's memory must not pay for those on the device.
        if type(frames) is not np.ndarray and is_cuda_array(frames):
            batch, single = self._on_device(frames, backend)
        else:
            batch, single = as_batch(frames, self.manifest.frame)
        if batch.shape[0] == 0:
            return []
        rows = backend.run(batch, bgr=color == "bgr", threshold=_common(limit))
        verdicts = self._verdicts(rows, limit, started)
        return verdicts[0] if single else verdicts

    def _on_device(self, frames: Any, backend: Backend) -> tuple[Any, bool]:
        if not backend.takes_cuda_arrays:
            raise FrameError(
                f"the backend {backend.name} takes frames in the host's memory; got {type(frames).__name__} "
                f"on a CUDA device: {HOW_TO_COPY}, or run an engine ({self.why})"
            )
        found = as_cuda_frames(frames, self.manifest.frame)
        return found, found.single

    def _verdicts(self, rows: Rows, limit: Limit, started: float) -> list[Verdict]:
        label, score, values, decided = rows
        parts = [dict(zip(self.manifest.parts, row, strict=True)) for row in values.tolist()]
        finite = (np.isfinite(score) & np.isfinite(values).all(axis=1)).tolist()
        if label.min() < 0 or label.max() >= len(self.classes):
            wrong = label.min() if label.min() < 0 else label.max()
            raise BundleError(
                f"the network of {self.path} gave class {int(wrong)}, but its manifest names "
                f"{len(self.classes)} classes; export the bundle again"
            )
        latency_ms = (time.perf_counter() - started) * 1e3
        verdicts = []
        for i, (index, value) in enumerate(zip(label.tolist(), score.tolist(), strict=True)):
            threshold = limit[index] if isinstance(limit, tuple) else limit
            accepted = finite[i] and (value <= threshold if decided is None else bool(decided[i]))
            verdicts.append(
                Verdict(
                    accepted=accepted,
                    label=self.classes[index] if accepted else UNKNOWN,
                    nearest=self.classes[index],
                    index=index,
                    score=value,
                    threshold=threshold,
                    parts=parts[i],
                    latency_ms=latency_ms,
                    finite=finite[i],
                )
            )
        return verdicts

    def _is_closed(self) -> UsageError:
        return UsageError(
            f"the runtime of {self.path} is closed; make a new one: edgeosr.Runtime({str(self.path)!r})"
        )

    def close(self) -> None:
        """Free the network; calls that run in other threads finish. Calling it twice is fine."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be copied or pickled: a loaded network belongs to its process."""
        raise UsageError(
            "a Runtime can be neither copied nor pickled: its network belongs to this process; open the "
            f"bundle again where it is needed: edgeosr.Runtime({str(self.path)!r})"
        )

    def __enter__(self) -> "Runtime":
        """Return itself; leaving the block closes it. Raises UsageError if it is closed already."""
        if self._backend is None:
            raise self._is_closed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _common(limit: Limit) -> float:
    """Return what a backend compares with."""
    # With one a class the backend leaves the decision to us (engines refuse it); to one that did not, -inf
    # would accept nothing.
    return -math.inf if isinstance(limit, tuple) else limit
