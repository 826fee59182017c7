"""How much nearer z is to a class than to all classes together, in the training embeddings' own metric."""

import numpy as np

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value
from edgeosr.scoring.part import Batch, Float64, Part, TrainFeatures
from edgeosr.scoring.scorer import PartConstants, Scorer

SHRINKAGE = 0.1  # of the covariance, towards its mean variance times the identity


class RelativeMahalanobis(Part):
    """Least of (d_k - d_0) / 2 over classes k, d_k = (z - mu_k)' S^-1 (z - mu_k) the squared distance.

    mu_k is the mean embedding of class k, mu_0 that of all training images; S is their shrunk covariance
    within classes. Relative distances are Ren et al. 2021 (arXiv 2106.09022), who give the background a
    covariance of its own. With the same S for both, the terms z' S^-1 z cancel and it is linear in z::

        (d_0 - d_k) / 2 = z' S^-1 (mu_k - mu_0) - (mu_k' S^-1 mu_k - mu_0' S^-1 mu_0) / 2

    One row and one bias a class, the discriminant of an LDA with equal priors. The rows are stored divided by
    their largest entry, ``numbers[0]``, so that none leaves float16's range.
    """

    name, code = "relative_mahalanobis", 8
    title, meaning = "relative Mahalanobis distance", "no nearer to a class than to all of them together"

    def carried_by(self, scorer: Scorer) -> bool:
        """A scorer with rows and their largest entry."""
        own = scorer.constants.get(self.name)
        return own is not None and len(own.rows) > 0 and own.numbers.size == 1

    def constants_from(self, features: TrainFeatures, scorer: Scorer) -> PartConstants | None:
        """Return a row for each class with images; None below two such classes, or if none spreads."""
        rows, biases = _discriminants(features)
        largest = float(np.abs(rows).max(initial=0.0))
        if not largest > 0:
            return None
        return PartConstants(
            rows=(rows / largest).astype(np.float32),
            biases=(biases / largest).astype(np.float32),
            numbers=np.array([largest], np.float32),
        )

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """See ``Part``."""
        scale = float(scorer.constants[self.name].numbers[0])
        return np.asarray(-scale * self.products(batch, scorer).max(axis=1))

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """See ``Part``."""
        turned = -float(scorer.constants[self.name].numbers[0])  # float32 holds them with their scale
        return writer.reduce("ReduceMin", self.write_products(writer, tensors, scorer, turned), [1])


def _discriminants(features: TrainFeatures) -> tuple[Float64, Float64]:
    """Return rows ``[classes with images, D]`` and biases of the formula above; none where there is no S."""
    finite = np.isfinite(features.embeddings).all(axis=1)
    z, labels = features.embeddings[finite].astype(np.float64), features.labels[finite]
    dimension = z.shape[1]
    present, places = np.unique(labels, return_inverse=True)
    nothing = np.zeros((0, dimension)), np.zeros(0)
    if len(present) < 2:
        return nothing
    mean = z.mean(axis=0)
    z = z - mean  # then mu_0 is 0, and the rest rounds less
    means = np.stack([z[places == place].mean(axis=0) for place in range(len(present))])
    inside = z - means[places]
    covariance = inside.T @ inside / len(z)
    variance = float(np.trace(covariance)) / dimension
    if not variance > 0:
        return nothing
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * variance * np.eye(dimension)
    rows = np.linalg.solve(shrunk, means.T).T
    return rows, -np.einsum("kd,kd->k", rows, means) / 2 - rows @ mean


PART = RelativeMahalanobis()
