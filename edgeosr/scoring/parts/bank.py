"""How far z points from every training embedding, a bank of their k-means centres standing for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import import_extra
from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value
from edgeosr.scoring.part import Batch, Float64, Part, TrainFeatures
from edgeosr.scoring.scorer import PartConstants, Scorer
from edgeosr.verdict import FLOOR

CENTRES = 256
ROUNDS = 50  # of k-means, at most


class Bank(Part):
    """-(largest cosine between z and a row), the rows M <= 256 unit vectors.

    The rows are k-means centres of the unit training embeddings, made unit again, or the distinct embeddings
    where these are no more: then it is the nearest neighbour's distance on the sphere (Sun et al.,
    Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022).
    """

    name, code = "bank", 7
    title, meaning = "nearest known image", "unlike every known image"

    def carried_by(self, scorer: Scorer) -> bool:
        """A scorer with rows."""
        own = scorer.constants.get(self.name)
        return own is not None and len(own.rows) > 0

    def constants_from(self, features: TrainFeatures, scorer: Scorer) -> PartConstants | None:
        """Return the rows; None without any embedding of a length above FLOOR."""
        rows = _centres(features)
        if not len(rows):
            return None
        nothing = np.zeros(0, np.float32)
        return PartConstants(
            rows=rows.astype(np.float32), biases=np.zeros(len(rows), np.float32), numbers=nothing
        )

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        return np.asarray(-self.products(batch, scorer).max(axis=1) / batch.norm)

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        turned = self.write_products(writer, tensors, scorer, times=-1.0)  # a node less than a Neg at the end
        return writer.op("Div", writer.reduce("ReduceMin", turned, [1]), tensors.norm)


def _centres(features: TrainFeatures) -> Float64:
    """Return unit centres, ``[M, D]``: the same bits for the same embeddings and seed."""
    unit = _unit(features.embeddings)
    distinct = np.unique(np.round(unit, 6), axis=0, return_index=True)[1]
    if len(distinct) <= CENTRES:
        # k-means has nothing to do here, and puts centres beside copies where it has more than embeddings.
        return unit[np.sort(distinct)]
    cluster, threads = (
        import_extra(name, extra="export", purpose="the bank of training embeddings")
        for name in ("sklearn.cluster", "threadpoolctl")
    )
    seed = features.seed % (1 << 32)  # the most that KMeans takes
    means = cluster.KMeans(n_clusters=CENTRES, n_init=1, max_iter=ROUNDS, random_state=seed)
    with threads.threadpool_limits(1):  # threads add their shares of a centre in the order in which they end
        means.fit(unit)
    return _unit(means.cluster_centers_)


def _unit(rows: NDArray[np.floating[Any]]) -> Float64:
    """Return the rows that are finite and longer than FLOOR, each divided by its length."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    kept = np.isfinite(lengths[:, 0]) & (lengths[:, 0] > FLOOR)
    return np.asarray(rows[kept] / lengths[kept], np.float64)


PART = Bank()
