"""Which layers int8 may have: as many as leave the score where it is, the least sensitive first.

A layer's sensitivity is what it does to the score when it alone is quantised. Sensitivities do not add up,
so how many layers may be quantised together is then measured, not computed.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import SCORE
from edgeosr.export.graph.assemble import model_bytes
from edgeosr.export.precision.split import tail_model
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.threads import graph_threads
from edgeosr.progress import progress
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session
from edgeosr.scoring.fusion import Fusion

# Median distance between the scores of one image before and after, in standard deviations of known images,
# on training images; validation images moved about half as far again. At 0.03 EfficientNet-Lite0 (CIFAR-10,
# six classes) decided otherwise on 2.1 % of its validation images.
LIMIT = 0.02

Shift = Callable[[Collection[str]], float]


def robust_layers(layers: Sequence[str], shift: Shift, limit: float = LIMIT) -> list[str]:
    """Return the layers to quantise, in graph order; may be none.

    Args:
        layers: names of those that can be.
        shift: how far the score moves when these layers are quantised, 0 or more.
        limit: how far it may.
    """
    if shift(layers) <= limit:
        return list(layers)
    alone = {}
    with progress("layers that bear int8", len(layers)) as advance:
        for layer in layers:
            alone[layer] = shift([layer])
            advance(1, layer)
    order = sorted(layers, key=lambda layer: (alone[layer], layers.index(layer)))
    # fits(good) holds, fits(bad) does not: with all of them it did not.
    good, bad = 0, len(order)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if shift(order[:middle]) <= limit else (good, middle)
    chosen = set(order[:good])
    return [layer for layer in layers if layer in chosen]


class ScoreShift:
    """How far a changed body moves the scores of some images.

    Args:
        graph: whose tail scores.
        fusion: of the score.
        body: float32, serialised: the body that is left as it is.
        pixels: normalised images, float32 ``[b, 3, h, w]``.
        threads: of onnxruntime; None for what suits the graph.
    """

    def __init__(
        self,
        graph: ScoredGraph,
        fusion: Fusion,
        body: bytes,
        pixels: NDArray[np.float32],
        threads: int | None = None,
    ) -> None:
        self._threads = threads
        self._feed = {graph.classifier.input_name: pixels}
        self._tail = _session(model_bytes(tail_model(graph, fusion)), threads)
        self._scores = self._scored(body)

    def __call__(self, body: bytes) -> float:
        """Return the median distance of the scores, in standard deviations of known images."""
        return float(np.median(np.abs(self._scored(body) - self._scores)))

    def _scored(self, body: bytes) -> NDArray[np.float32]:
        session = _session(body, self._threads)
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, run_session(session, names, self._feed, name="the body"), strict=True))
        (scores,) = run_session(self._tail, [SCORE], found, name="the scoring graph")
        return scores


def _session(data: bytes, threads: int | None) -> Any:
    # Q/DQ as they are written; integer kernels of the CPU here are not what an engine runs.
    return open_session(
        data, SessionSettings(threads=threads or graph_threads(data), optimisation="as-typed")
    )
