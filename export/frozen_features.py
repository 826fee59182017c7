"""What a frozen backbone makes of images: computed once on the exported graph, then kept.

The embedding and |dz/dh|_F^2 do not depend on the head: every fold of
``frozen_folds.py`` scores the same ones.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.scored_graph import ScoredGraph, scored_graph
from edgeosr.scoring.part import TrainFeatures
from edgeosr.verdict import FLOOR


@dataclass(frozen=True, kw_only=True)
class FrozenFeatures:
    """Features of n images, in the order they were read.

    Attributes:
        embeddings: z, float32 ``[n, D]``.
        jacobian_squared: |dz/dh|_F^2 of the closed form, float64 ``[n]``; None without one.
        labels: int64 ``[n]``.
        groups: int64 ``[n]``, equal for near copies; None if there are none.
    """

    embeddings: NDArray[np.float32]
    jacobian_squared: NDArray[np.float64] | None
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, chosen: NDArray[Any]) -> "FrozenFeatures":
        """Return the images at these places (or where this mask is true)."""
        squared = None if self.jacobian_squared is None else self.jacobian_squared[chosen]
        return FrozenFeatures(
            embeddings=self.embeddings[chosen],
            jacobian_squared=squared,
            labels=self.labels[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def for_parts(self, classes: int, seed: int) -> TrainFeatures:
        """Return them as what the constants of parts are made from."""
        return TrainFeatures(
            embeddings=self.embeddings,
            labels=self.labels,
            classes=classes,
            seed=seed,
            jacobian_squared=self.jacobian_squared,
        )


@dataclass(frozen=True, kw_only=True)
class KnownFeatures:
    """Features of the parts that folds may read; never of the calibrate and test parts."""

    train: FrozenFeatures
    select: FrozenFeatures
    outliers: FrozenFeatures | None = None


def known_features(
    graph: ScoredGraph, parts: CalibrationParts, *, threads: int | None = None
) -> KnownFeatures:
    """Read the train and select parts, and the real open validation images if there are any.

    Args:
        graph: of the classifier, with any constants or none; probes are left out, as is their J_u.
        parts: the images.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        DataError: more than 1 % of the images cannot be read.
    """
    if graph.scorer.probes is not None:
        graph = scored_graph(graph.classifier, "none")
    reader, outliers = FeatureReader(graph, threads=threads), parts.open_select
    return KnownFeatures(
        train=reader.read(parts.train, "embedding the train part"),
        select=reader.read(parts.select, "embedding the select part"),
        outliers=None if outliers is None else reader.read(outliers, "embedding the open validation images"),
    )


def joined(*parts: FrozenFeatures) -> FrozenFeatures:
    """Return the images of all parts, one after the other; all have a Jacobian norm, or none has.

    The same holds for groups, whose numbers mean the same in every part.
    """
    squared = [part.jacobian_squared for part in parts if part.jacobian_squared is not None]
    groups = [part.groups for part in parts if part.groups is not None]
    return FrozenFeatures(
        embeddings=np.concatenate([part.embeddings for part in parts]),
        jacobian_squared=np.concatenate(squared) if squared else None,
        labels=np.concatenate([part.labels for part in parts]),
        groups=np.concatenate(groups) if groups else None,
    )


class FeatureReader:
    """Reads features off the exported graph, one pass over the images of a part."""

    def __init__(self, graph: ScoredGraph, *, threads: int | None = None) -> None:
        self._runner = GraphRunner(
            graph.model(expose=(EMBEDDING,)), extra_outputs=(EMBEDDING,), threads=threads
        )
        parts = graph.parts
        self._jacobian = parts.index("log_jacobian") if "log_jacobian" in parts else None

    def read(self, images: LabelledImages, description: str) -> FrozenFeatures:
        """Return the features of every readable image; DataError if more than 1 % cannot be read."""
        measured, (embeddings,) = self._runner.measure_with_extras(images, description)
        squared = None
        if self._jacobian is not None:
            # The graph's part is log(sqrt(|dz/dh|_F^2) / |z|): turned back, to float32's rounding.
            norm = np.maximum(np.linalg.norm(embeddings.astype(np.float64), axis=1), FLOOR)
            squared = (np.exp(measured.values[:, self._jacobian].astype(np.float64)) * norm) ** 2
        return FrozenFeatures(
            embeddings=embeddings, jacobian_squared=squared, labels=measured.labels, groups=measured.groups
        )
