"""What a backend says about a batch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import BundleError


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


def require_rows(rows: Rows, count: int, parts: int) -> None:
    """Raise BundleError unless a graph gave one row for each of ``count`` frames, with ``parts`` values each.

    A graph declares its ranks and sizes, but not every backend holds it to them.
    """
    if rows.label.shape != (count,) or rows.score.shape != (count,) or rows.values.shape != (count, parts):
        got = ", ".join(str(list(each.shape)) for each in (rows.label, rows.score, rows.values))
        raise BundleError(
            f"model.onnx must give one row a frame: for {count} expected label and score [{count}] and "
            f"values [{count}, {parts}]; got {got}; export the bundle again"
        )
