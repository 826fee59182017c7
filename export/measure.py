"""Run the exported graph over images: the only way calibration and evaluation see scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import LABEL, SCORE, VALUES, feed_of
from edgeosr.class_figures import named_unknown
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.reading import readable_images
from edgeosr.export.graph.assemble import TANGENTS_NOTE
from edgeosr.export.threads import graph_threads
from edgeosr.runtime.batch_size import frames_at_once
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session


@dataclass(frozen=True)
class Measured:
    """What a graph said about n images, in the order they were read.

    Attributes:
        predictions: int64 ``[n]``, top-1 class.
        scores: float32 ``[n]``, unknown score, larger = more unknown; NaN = not finite; infinite = the model
            itself names an output that means unknown.
        values: float32 ``[n, parts]``, the bundle's score parts in its order.
        labels, groups: int64 ``[n]`` of the images.
        indices: int64 ``[n]``, which images were measured (unreadable ones are missing).
        skipped: names of the images that could not be read.
    """

    predictions: NDArray[np.int64]
    scores: NDArray[np.float32]
    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    indices: NDArray[np.int64]
    skipped: list[str]

    @property
    def answers(self) -> NDArray[np.int64]:
        """The predictions, but -1 where the model itself names an output that means unknown."""
        return np.where(named_unknown(self.scores), -1, self.predictions)

    @property
    def accuracy(self) -> float:
        """Closed-set accuracy, 0 to 1; meaningful for images of known classes only."""
        return float(np.mean(self.answers == self.labels))


class Runner:
    """Runs a whole scoring graph over images; a subclass says with what.

    Attributes:
        tangents: K of them are computed beside each frame; 0 without probes.
    """

    tangents = 0

    def run(self, frames: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Score uint8 RGB frames ``[b, h, w, 3]``; returns label, score, values and extra outputs."""
        raise NotImplementedError

    def measure(self, images: LabelledImages, description: str) -> Measured:
        """Score every readable image at its own size.

        Raises:
            DataError: more than 1 % of the images cannot be read.
        """
        return self.measure_with_extras(images, description)[0]

    def measure_with_extras(
        self, images: LabelledImages, description: str
    ) -> tuple[Measured, list[NDArray[Any]]]:
        """Like ``measure``, with the extra outputs, each ``[n, ...]``, beside it."""
        rows: list[list[NDArray[Any]]] = []
        waiting: list[NDArray[np.uint8]] = []
        indices: list[int] = []

        def flush() -> None:
            if waiting:
                rows.append(self.run(np.stack(waiting)))
                waiting.clear()

        skipped: list[str] = []
        for index, image in readable_images(images, description=description, skipped=skipped):
            # Frames of one size share a call.
            full = len(waiting) >= frames_at_once(image.shape[:2], self.tangents)
            if waiting and (full or waiting[0].shape != image.shape):
                flush()
            waiting.append(image)
            indices.append(index)
        flush()
        label, score, values, *extras = (np.concatenate(column) for column in zip(*rows, strict=True))
        kept = np.array(indices, np.int64)
        measured = Measured(label, score, values, images.labels[kept], images.groups[kept], kept, skipped)
        return measured, extras


class GraphRunner(Runner):
    """An onnxruntime CPU session over a whole ``model.onnx`` (frames in, values out)."""

    def __init__(
        self,
        model: bytes,
        *,
        extra_outputs: tuple[str, ...] = (),
        as_typed: bool = False,
        threads: int | None = None,
    ) -> None:
        """Make a session.

        Args:
            model: the serialised graph.
            extra_outputs: further graph outputs to return from ``run``, by name.
            as_typed: keep every rounding that the types of the graph ask for (``SessionSettings``).
            threads: of one call; None for what suits the graph (``graph_threads``).
        """
        settings = SessionSettings(
            threads=threads or graph_threads(model), optimisation="as-typed" if as_typed else "all"
        )
        self._session: Any = open_session(model, settings, name="the exported graph")
        self._outputs = [LABEL, SCORE, VALUES, *extra_outputs]
        noted = self._session.get_modelmeta().custom_metadata_map.get(TANGENTS_NOTE, "")
        self.tangents = int(noted) if noted.isdecimal() else 0

    def run(self, frames: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Score uint8 RGB frames ``[b, h, w, 3]``; returns label, score, values and the extra outputs."""
        return run_session(
            self._session,
            self._outputs,
            feed_of(np.ascontiguousarray(frames)),
            name="the exported graph",
        )
