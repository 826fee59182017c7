"""Labelled images over one array that already holds every pixel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.conversion import to_rgb
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError


def images_from_array(
    pixels: NDArray[Any],
    labels: NDArray[Any],
    class_names: Sequence[str],
    *,
    name: str,
    groups: NDArray[np.int64] | None = None,
) -> LabelledImages:
    """Wrap pixels and labels.

    Args:
        pixels: uint8 ``[n, height, width]`` or ``[n, height, width, channels]``.
        labels: integers ``[n]``, indices into ``class_names``.
        class_names: names by label.
        name: what the images are called: image i is ``"name[i]"``.
        groups: int64 ``[n]``; every image on its own if None.

    Raises:
        DataError: counts differ, or a label has no name.
    """
    checked = checked_labels(labels, len(pixels), class_names, name)
    return LabelledImages(
        class_names=tuple(class_names),
        labels=checked,
        groups=np.arange(len(checked), dtype=np.int64) if groups is None else groups,
        read=lambda i: to_rgb(pixels[i]),
        name_of=lambda i: f"{name}[{i}]",
    )


def checked_labels(
    labels: NDArray[Any], count: int, class_names: Sequence[str], name: str
) -> NDArray[np.int64]:
    """Return ``labels`` as int64 ``[count]``, every one with a name; raises DataError."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != count:
        raise DataError(
            f"{name}: expected {count} whole-number labels; got {labels.dtype} {list(labels.shape)}; "
            "the file is damaged"
        )
    wide = labels.astype(np.int64)
    if count and not (wide.min() >= 0 and wide.max() < len(class_names)):
        raise DataError(
            f"{name}: labels must lie in 0..{len(class_names) - 1}; got {wide.min()}..{wide.max()}; "
            "the file is damaged"
        )
    return wide
