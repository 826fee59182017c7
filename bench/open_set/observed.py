"""One network, and what it says of the images of every part: all that the figures are made from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.left_out import LeftOutRecord
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.scorer import Head

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Side:
    """n images as the network sees them.

    Attributes:
        embeddings: z, float32 ``[n, D]``.
        labels, groups: int64 ``[n]``; labels index the known classes (of unknown images they say nothing).
        predictions: int64 ``[n]``, the top class.
        values: float32 ``[n, parts]``.
        scores: float32 ``[n]``, the score that ships.
    """

    embeddings: Float32
    labels: Int64
    groups: Int64
    predictions: Int64
    values: Float32
    scores: Float32


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A calibrated network.

    Attributes:
        head: that ships.
        linear_head: of plain cross-entropy on the same embeddings, for rivals that ask for one; None if
            the network has no other head.
        fusion: that ships; its parts name the columns of ``Side.values``.
        weighed: the parts among which the weights were chosen on left-out classes; empty if they were not.
        train_embeddings, train_labels: what detectors are fitted on.
        calibrate, test, unknown: the other parts.
        threshold: that ships, from ``calibrate``.
        left_out: what left-out classes said; None without folds.
    """

    head: Head
    linear_head: Head | None
    fusion: Fusion
    weighed: tuple[str, ...]
    train_embeddings: Float32
    train_labels: Int64
    calibrate: Side
    test: Side
    unknown: Side
    threshold: float
    left_out: LeftOutRecord | None = None

    @property
    def accuracy(self) -> float:
        """Closed-set accuracy on the known test images, 0 to 1."""
        return float(np.mean(self.test.predictions == self.test.labels))


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One score of the images that figures are made from, larger = more unknown.

    Attributes:
        name: as in the table.
        calibrate, test, unknown: float32 ``[n]`` each.
        accuracy: closed-set accuracy of the head that it belongs to.
        threshold: that ships; None to calibrate one.
        note: what it was made from, where that is not plain.
    """

    name: str
    calibrate: Float32
    test: Float32
    unknown: Float32
    accuracy: float
    threshold: float | None = None
    note: str = ""


def scored(
    name: str,
    score: Callable[[Side], NDArray[Any]],
    network: Observed,
    *,
    accuracy: float | None = None,
    threshold: float | None = None,
    note: str = "",
) -> Scored:
    """Return a score of the three sides of a network."""
    sides = [
        np.asarray(score(side), np.float32) for side in (network.calibrate, network.test, network.unknown)
    ]
    return Scored(
        name=name,
        calibrate=sides[0],
        test=sides[1],
        unknown=sides[2],
        accuracy=network.accuracy if accuracy is None else accuracy,
        threshold=threshold,
        note=note,
    )
