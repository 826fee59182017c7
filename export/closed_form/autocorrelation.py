"""The autocorrelation table of a convolution's filters, for the closed-form Jacobian norm."""

import numpy as np
from numpy.typing import NDArray


def autocorrelation(
    weight: NDArray[np.generic], strides: tuple[int, int], dilations: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Correlate every filter with itself at the displacements two output positions can have.

    With ``y_d(q) = sum_{c,k} W_d[c, k] h[c, q s + k e]`` (stride s, dilation e, h the padded input), the
    gradients of two positions of channel d overlap as
    ``A_d(o) = <dy_d(q)/dh, dy_d(q + o)/dh> = sum_c sum_k W_d[c, k] W_d[c, k - l]`` where ``l e = o s``: lags
    whose distance is no multiple of the stride meet nowhere. A group's filter sums over its own input
    channels only, which is all that ``weight`` holds. Padding does not enter.

    Args:
        weight: ``[D, channels / groups, kernel height, kernel width]``, any float type.
        strides: (vertical, horizontal), >= 1.
        dilations: (vertical, horizontal), >= 1.

    Returns:
        table: float64 ``[D, taps]``; ``A_d`` with the pair o, -o folded into one tap of twice the value.
        offsets: int32 ``[taps, 2]``, (vertical, horizontal) in output positions; (0, 0) first, then those
            below or to the right in the same row.
    """
    filters = weight.astype(np.float64)
    height, width = filters.shape[2:]
    vertical = _lags(height, strides[0], dilations[0])
    horizontal = _lags(width, strides[1], dilations[1])
    half = [
        (lag_y, lag_x, down, right)
        for lag_y, down in vertical
        for lag_x, right in horizontal
        if down > 0 or (down == 0 and right >= 0)
    ]
    half.sort(key=lambda lag: lag[2:])
    columns = []
    for lag_y, lag_x, down, right in half:
        later = filters[:, :, _from(lag_y, height), _from(lag_x, width)]
        earlier = filters[:, :, _from(-lag_y, height), _from(-lag_x, width)]
        twice = 1.0 if (down, right) == (0, 0) else 2.0
        columns.append(twice * np.einsum("dcyx,dcyx->d", later, earlier))
    offsets = np.array([(down, right) for _, _, down, right in half], dtype=np.int32)
    return np.stack(columns, axis=1), offsets


def _lags(kernel: int, stride: int, dilation: int) -> list[tuple[int, int]]:
    """Return (lag in taps, displacement in output positions) along one axis."""
    return [
        (lag, lag * dilation // stride) for lag in range(1 - kernel, kernel) if lag * dilation % stride == 0
    ]


def _from(lag: int, size: int) -> slice:
    return slice(max(lag, 0), size + min(lag, 0))
