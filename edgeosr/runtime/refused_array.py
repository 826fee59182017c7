"""What is said of an array of ``golden.npz`` that is refused."""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import BundleError


def refuse_array(expected: str, got: NDArray[Any]) -> NoReturn:
    """Raise a BundleError that says what was expected of an array of ``golden.npz``, and what came."""
    raise BundleError(
        f"golden.npz: {expected}; got {got.dtype} {list(got.shape)}{_in_words(got)}; export the bundle again"
    )


def _in_words(got: NDArray[Any]) -> str:
    """Return what is in an array: its few values, or how far they reach; nothing of what has no order."""
    if got.size <= 2 or got.dtype.kind not in "biuf":
        return f" {got.tolist()}" if got.size <= 2 else ""
    if got.dtype.kind == "b":
        return f", {int(got.sum())} of them true"
    finite = got[np.isfinite(got)]
    reach = f", from {finite.min():g} to {finite.max():g}" if finite.size else ""
    lost = f", {got.size - finite.size} of them not finite" if finite.size < got.size else ""
    return reach + lost
