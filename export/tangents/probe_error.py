"""How much of log J_u's variation between images is noise of the probes: what ``--probes auto`` looks at."""

import numpy as np
from numpy.typing import NDArray

from edgeosr.verdict import FLOOR

Float64 = NDArray[np.float64]


def probe_error(squares: Float64, norms: Float64, K: int) -> float:
    """Return the standard error of log J_u with K probes, as a share of its spread over images.

    The probes are dealt into as many disjoint sets of K as there are, every set gives each image a log J_u,
    and each set's mean over the images is taken off, because a shift that all images share changes neither
    their order nor a standardised score. The error is the standard deviation of what is left between sets;
    the spread is its standard deviation between images, the error included. So ``1 - share^2`` is the part
    of the variance that repeats with other probes (the intraclass correlation).

    Args:
        squares: |t_k|^2 - (u . t_k)^2, ``[images, probes]``, at least two images and 2 K probes.
        norms: |z|, ``[images]``.
        K: probes of one set.

    Returns:
        A number from 0; 0 if log J_u is the same for all images.
    """
    images, probes = squares.shape
    sets = probes // K
    assert sets >= 2 and images >= 2, (squares.shape, K)
    # Dealt like cards, so that an ordered family (frequencies, variances) gives sets that are alike.
    dealt = squares[:, : sets * K].reshape(images, K, sets).sum(axis=1)
    logs = np.log(np.maximum(np.sqrt(np.maximum(dealt, 0.0)) / np.maximum(norms, FLOOR)[:, None], FLOOR))
    logs -= logs.mean(axis=0)
    error = float(np.mean(logs.var(axis=1, ddof=1)))
    spread = float(np.mean(logs.var(axis=0, ddof=1)))
    return float(np.sqrt(error / spread)) if spread > 0 else 0.0
