"""``edgeosr.Runtime``: a bundle in, verdicts out. Needs numpy and onnxruntime only."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle import read_bundle
from edgeosr.errors import BundleError, UsageError, require_choice
from edgeosr.fusion import parts_from_values
from edgeosr.manifest import Manifest
from edgeosr.preprocessing import COLORS, Color
from edgeosr.runtime.frames import as_batch
from edgeosr.runtime.onnxruntime_graph import CPU_ONLY, GraphOutputs, OnnxRuntimeGraph
from edgeosr.verdict import PART_NAMES, UNKNOWN, Verdict

Frame = NDArray[np.uint8]


class Runtime:
    """Classifies camera frames and says "unknown".

        with edgeosr.Runtime("digits.edgeosr") as runtime:
            verdict = runtime(frame)              # one uint8 frame [height, width, 3], RGB
            print(verdict.label, verdict.score)   # "seven" or "unknown"

    One object may be called from several threads at once.

    Args:
        bundle: path of a ``NAME.edgeosr`` directory; every byte of it is checked first.
        threads: processor threads of one call, None for one a physical core.
        warmup: calls made at once on a black frame, so that the first real one is not slower.
        providers: onnxruntime execution providers in order of preference. The default is the CPU: other
            providers round differently, so check them with the golden frames of the bundle.

    Attributes:
        path: of the bundle.
        manifest: what the bundle says about itself.
        classes: class names by index.
        providers: the execution providers that really run, asked from the session.

    Raises:
        BundleError: no bundle there, or damaged, foreign or newer.
        MissingDependencyError: onnxruntime or a wanted provider is missing.
        UsageError: an argument is out of range.
    """

    def __init__(
        self,
        bundle: Path | str,
        *,
        threads: int | None = None,
        warmup: int = 1,
        providers: Sequence[str] = CPU_ONLY,
    ) -> None:
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
            raise UsageError(f"warmup must be a whole number from 0; got {warmup!r}")
        self.path = Path(bundle)
        checked = read_bundle(self.path)
        self.manifest: Manifest = checked.manifest
        self.classes: tuple[str, ...] = checked.manifest.classes
        self._threshold = checked.manifest.threshold.value
        self._columns = [(name, PART_NAMES.index(name)) for name in checked.manifest.parts]
        graph = OnnxRuntimeGraph(checked.files["model.onnx"], threads=threads, providers=providers)
        self._graph: OnnxRuntimeGraph | None = graph
        self.providers: tuple[str, ...] = graph.providers
        preprocessing = checked.manifest.preprocessing
        height, width = checked.manifest.frame or (preprocessing.height, preprocessing.width)
        for _ in range(warmup):
            self(np.zeros((height, width, 3), np.uint8))

    @property
    def threshold(self) -> float:
        """Frames with a score up to this are accepted; may be changed while other threads call.

        Calibrated value: ``manifest.threshold.value``. ``math.inf`` accepts every finite score. A call reads
        it once, so all verdicts of a batch use one threshold. NaN raises UsageError.
        """
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number) or isinstance(value, bool | str):
            raise UsageError(f"threshold must be a number; got {value!r}")
        self._threshold = number

    @overload
    def __call__(self, frames: Frame, *, color: Color = "rgb") -> "Verdict | list[Verdict]": ...
    @overload
    def __call__(self, frames: Sequence[Frame], *, color: Color = "rgb") -> list[Verdict]: ...
    def __call__(self, frames: Frame | Sequence[Frame], *, color: Color = "rgb") -> Verdict | list[Verdict]:
        """Judge one frame or a batch.

        Args:
            frames: uint8 ``[height, width, 3]`` of any size (of the bundle's own if it has a fixed one), a
                batch ``[batch, height, width, 3]``, or a list of frames of equal size.
            color: ``"bgr"`` for frames as OpenCV reads them.

        Returns:
            One Verdict for one frame, a list for a batch or a list; ``[]`` for an empty one.

        Raises:
            FrameError: wrong type, dtype, shape or size; says how to convert.
            UsageError: unknown ``color``, or the runtime is closed.
        """
        started = time.perf_counter()
        graph, threshold = self._graph, self._threshold
        if graph is None:
            raise UsageError(
                f"the runtime of {self.path} is closed; make a new one: edgeosr.Runtime({str(self.path)!r})"
            )
        require_choice("color", color, COLORS)
        batch, single = as_batch(frames, self.manifest.frame)
        if len(batch) == 0:
            return []
        verdicts = self._verdicts(graph.run(batch, bgr=color == "bgr"), threshold, started)
        return verdicts[0] if single else verdicts

    def _verdicts(self, outputs: GraphOutputs, threshold: float, started: float) -> list[Verdict]:
        label, score, values = outputs
        parts = parts_from_values(values).tolist()
        finite = (np.isfinite(score) & np.isfinite(values).all(axis=1)).tolist()
        if label.min() < 0 or label.max() >= len(self.classes):
            raise BundleError(
                f"model.onnx of {self.path} gave class {int(label.max())}, but its manifest names "
                f"{len(self.classes)} classes; export the bundle again"
            )
        latency_ms = (time.perf_counter() - started) * 1e3
        verdicts = []
        for i, (index, value) in enumerate(zip(label.tolist(), score.tolist(), strict=True)):
            accepted = finite[i] and value <= threshold
            verdicts.append(
                Verdict(
                    accepted=accepted,
                    label=self.classes[index] if accepted else UNKNOWN,
                    nearest=self.classes[index],
                    index=index,
                    score=value,
                    threshold=threshold,
                    parts={name: parts[i][column] for name, column in self._columns},
                    latency_ms=latency_ms,
                    finite=finite[i],
                )
            )
        return verdicts

    def close(self) -> None:
        """Free the network; calls that run in other threads finish. Calling it twice is fine."""
        self._graph = None

    def __enter__(self) -> "Runtime":
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
