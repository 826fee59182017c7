"""What a backend says about a batch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rows(NamedTuple):
    """One row a frame.

    Attributes:
        label: int64 ``[batch]``.
        score: float32 ``[batch]``, larger = more unknown; NaN if something was not finite.
        values: float32 ``[batch, parts]``, the bundle's score parts in its order.
        accepted: bool ``[batch]``, decided on the device with the threshold passed; None: not decided yet.
    """

    label: NDArray[np.int64]
    score: NDArray[np.float32]
    values: NDArray[np.float32]
    accepted: NDArray[np.bool_] | None = None
