"""What a score part is: one number of a sample, whatever made it; larger always means more unknown."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeosr.scoring.graph import GraphTensors, GraphWriter, Value
from edgeosr.scoring.scorer import Float32, PartConstants, Scorer

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TrainFeatures:
    """What constants of parts are made from: the train part, as the exported graph sees it.

    Attributes:
        embeddings: z, float32 ``[n, D]``.
        labels: int64 ``[n]``, from 0 to ``classes`` - 1; a class may have no image.
        classes: C.
        seed: of whatever is drawn.
        jacobian_squared: |dz/dh|_F^2 of the closed form, float64 ``[n]``; None without one.
    """

    embeddings: Float32
    labels: NDArray[np.int64]
    classes: int
    seed: int
    jacobian_squared: Float64 | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What parts may read of a batch, float64.

    Attributes:
        z: the embedding, ``[B, D]``.
        norm: |z|, not below FLOOR, ``[B]``.
        logits: ``[B, C]``.
        label: the top class, int64 ``[B]``.
        top: the top logit, ``[B]``.
        jacobian: J, ``[B]``; ones without a Jacobian norm.
        known: the discriminator's logit of "known", ``[B]``; zeros without one.
    """

    z: Float64
    norm: Float64
    logits: Float64
    label: NDArray[np.int64]
    top: Float64
    jacobian: Float64
    known: Float64


class Part:
    """One entry of the registry; a subclass with its formula in a module of its own is a part.

    Attributes:
        name: as bundles list it and verdicts show it.
        code: number of its function in ``kernels/src/parts.cuh``, unique.
        title: a word for people, in reports.
        meaning: what a larger value means, in a few words.
        counts_masks: it is computed of derivatives of activations, which may jump.
    """

    name: ClassVar[str]
    code: ClassVar[int]
    title: ClassVar[str]
    meaning: ClassVar[str]
    counts_masks: ClassVar[bool] = False

    def carried_by(self, scorer: Scorer) -> bool:
        """Tell whether the scorer has what this part is computed from: by default, constants of its own."""
        return self.name in scorer.constants

    def constants_from(self, features: TrainFeatures, scorer: Scorer) -> PartConstants | None:
        """Make the part's own constants; None if it needs none, or if the features do not allow it.

        Args:
            features: of the train part.
            scorer: everything else; its ``constants`` are not read.
        """
        return None

    def value(self, batch: Batch, scorer: Scorer) -> Float64:
        """Return the part of each sample, ``[B]``; may be NaN."""
        raise NotImplementedError

    def write(self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer) -> Value:
        """Add its nodes; return a column ``[batch, 1]``."""
        raise NotImplementedError

    def products(self, batch: Batch, scorer: Scorer) -> Float64:
        """Return the products of z with the part's own rows, biases added, ``[B, R]``."""
        constants = scorer.constants[self.name]
        return np.asarray(batch.z @ constants.rows.astype(np.float64).T + constants.biases.astype(np.float64))

    def write_products(
        self, writer: GraphWriter, tensors: GraphTensors, scorer: Scorer, times: float = 1.0
    ) -> Value:
        """Add the node of ``products``, ``[batch, R]``; ``times`` is a factor that the constants take in."""
        constants, factor = scorer.constants[self.name], np.float32(times)
        return writer.op(
            "Gemm",
            tensors.z,
            writer.constant(constants.rows * factor, f"scoring/{self.name}_rows"),
            writer.constant(constants.biases * factor, f"scoring/{self.name}_biases"),
            transB=1,
        )
