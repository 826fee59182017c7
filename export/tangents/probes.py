"""The directions along which the Jacobian norm is probed: three families of orthonormal vectors.

With J = du/dh for one image and orthonormal v_1 .. v_K in the space of h (n numbers), the graph computes
``n / K * sum_k |J v_k|^2`` (``add_probe_jacobian``). What that estimates depends on the family:

- random: a uniformly random K-frame, so E[v v^T] = I / n and the sum is an **unbiased estimate of |J|_F^2**;
  with K = n it is |J|_F^2 itself. (Hutchinson's estimator with orthogonal probes.)
- dct: n / K times the norm of J **restricted to the K lowest spatial frequencies**. Not an estimate of |J|_F:
  a network that is smooth but for fine texture has a small one.
- principal: n / K times the norm of J **restricted to the K directions in which known images differ most**.
  Not an estimate of |J|_F either: it is how the embedding moves when a known image is changed as known
  images change.

The factor is the same for all three, so that figures of one family compare across K. The directions are
constants of the exported graph.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, UsageError, import_extra

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
# A singular value below this share of the largest is rounding: the images do not vary there.
NO_VARIATION = 1e-6


def require_room(K: int, shape: tuple[int, ...], tensor: str) -> None:
    """Check that ``K`` orthonormal directions fit the space of one sample's ``tensor``.

    Raises:
        UsageError: they do not.
    """
    n = math.prod(shape)
    if not 1 <= K <= n:
        raise UsageError(
            f"--probes must be from 1 to {n}, the size of the space at the cut (tensor {tensor!r}, "
            f"{spelled(shape)}); got {K}; take fewer probes, or a cut with more values"
        )


def spelled(shape: tuple[int, ...]) -> str:
    """Return ``3x224x224``."""
    return "x".join(map(str, shape))


def random_directions(K: int, n: int, seed: int) -> Float32:
    """Return K uniformly random orthonormal rows, float32 ``[K, n]``; the first ones for a smaller K.

    Args:
        K: from 1 to n.
        n: size of the space.
        seed: of the draw.
    """
    return _orthonormal(np.random.default_rng(seed).standard_normal((K, n)))


def dct_directions(K: int, shape: tuple[int, ...]) -> Float32:
    """Return the K lowest-frequency vectors of the orthonormal DCT-II, float32 ``[K, n]``.

    For ``[C, H, W]`` the order is that of the spatial frequency, (i / H)^2 + (j / W)^2, and each frequency
    comes once for each of C orthonormal mixtures of the channels, their mean first. (Channel by channel, the
    first C directions would be the mean of one channel each, and K < C of them would leave channels out.)
    For any other rank every axis is transformed, in the order of sum_a (i_a / N_a)^2.

    Args:
        K: from 1 to n.
        shape: of one sample, n numbers.
    """
    axes = range(1, 3) if len(shape) == 3 else range(len(shape))
    indices = np.indices(shape).reshape(len(shape), -1)
    frequency = np.zeros(indices.shape[1])
    for axis in axes:
        frequency += np.square(indices[axis] / shape[axis])
    # The last key sorts first; the indices break ties in one way whatever the sort does.
    order = np.lexsort((*indices[::-1], frequency))[:K]
    rows = np.empty((K, math.prod(shape)))
    for row, place in zip(rows, order, strict=True):
        vector = np.ones(1)
        for length, index in zip(shape, indices[:, place], strict=True):
            vector = np.multiply.outer(vector, _cosine(length, int(index))).ravel()
        row[:] = vector
    return rows.astype(np.float32)


def principal_directions(K: int, values: Float32, seed: int, *, fewer: bool = False) -> Float32:
    """Return the K principal directions of known images, float32 ``[K, n]``, the largest variance first.

    Args:
        K: from 1 to the number of images less one.
        values: h of m known images, ``[m, n]``.
        seed: of the randomised SVD (Halko, Martinsson and Tropp 2011, as in scikit-learn).
        fewer: return fewer than K, at least one, if the images vary in fewer directions.

    Raises:
        DataError: the images vary in fewer than K directions (in none, with ``fewer``).
    """
    extmath = import_extra("sklearn.utils.extmath", extra="export", purpose="principal directions")
    advice = "pass fewer --probes, more known images, or --probe-family random"
    if len(values) <= K:
        raise DataError(
            f"{K} principal directions need at least {K + 1} known images; got {len(values)}; {advice}"
        )
    if not bool(np.isfinite(values).all()):
        raise DataError("values at the cut are not finite for known images; the network overflows on them")
    centred = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, sizes, rows = extmath.randomized_svd(centred, n_components=K, random_state=seed)
    varying = int(np.count_nonzero(sizes > NO_VARIATION * max(float(sizes[0]), NO_VARIATION)))
    if varying < (1 if fewer else K):
        raise DataError(
            f"{len(values)} known images vary in {varying} directions at the cut; got --probes {K}; {advice}"
        )
    return _orthonormal(rows[: min(varying, K)].astype(np.float64))


def _orthonormal(rows: Float64) -> Float32:
    """Gram-Schmidt by QR: row k of the result lies in the span of the first k rows given."""
    q, r = np.linalg.qr(rows.T)
    # QR fixes the columns but for their signs; without this the draw would not be uniform.
    signs = np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray((q * signs).T, np.float32)


def _cosine(length: int, index: int) -> Float64:
    """Return the DCT-II basis vector of a frequency, of norm 1."""
    scale = math.sqrt((2 if index else 1) / length)
    angles = np.pi * (np.arange(length) + 0.5) * index / length
    return np.asarray(scale * np.cos(angles))
