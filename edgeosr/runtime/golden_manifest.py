"""What ``golden.npz`` holds of its manifest, so that a manifest that was edited later is noticed.

Thresholds that were changed would change decisions, and names of classes that were exchanged every verdict.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.runtime.refused_array import refuse_array
from edgeosr.scoring.thresholds import Limit

CLASSES = "classes"
_MOST_LIMITS = 1 << 15  # more would not fit beside the frames


def arrays_of_manifest(
    limits: Mapping[str, Limit | None], classes: Sequence[str] | None
) -> dict[str, NDArray[Any]]:
    """Return the entries: each threshold by its name, and the digest of the classes; none for None."""
    arrays: dict[str, NDArray[Any]] = {
        name: np.atleast_1d(np.asarray(limit, np.float64))
        for name, limit in limits.items()
        if limit is not None and np.size(limit) <= _MOST_LIMITS
    }
    if classes is not None:
        arrays[CLASSES] = digest_of_names(classes)
    return arrays


def require_manifest(
    entries: Mapping[str, NDArray[Any]], limits: Mapping[str, Limit], classes: Sequence[str]
) -> None:
    """Raise BundleError if one of the entries that are there is another than the manifest's."""
    for name in limits.keys() & entries.keys():
        wanted, found = np.atleast_1d(np.asarray(limits[name], np.float64)), entries[name]
        if found.dtype != np.float64 or found.shape != wanted.shape or not (found == wanted).all():
            spelled = f" {float(wanted[0])!r}" if len(wanted) == 1 else "s of the classes"
            refuse_array(f"{name} must be the manifest's{spelled}, which was edited after the export", found)
    if CLASSES in entries:
        digest, found = digest_of_names(classes), entries[CLASSES]
        if found.dtype != np.uint8 or found.shape != digest.shape or not (found == digest).all():
            refuse_array(
                "classes must be the digest of the manifest's names of classes, which were edited after the "
                "export",
                found,
            )


def digest_of_names(names: Sequence[str]) -> NDArray[np.uint8]:
    """Return the SHA-256 in hexadecimal letters, uint8 ``[64]``.

    It is of all names in order, each in UTF-8 behind its length in bytes and a colon, so that no two lists of
    names are alike.
    """
    encoded = [name.encode() for name in names]
    whole = b"".join(b"%d:%s" % (len(name), name) for name in encoded)
    return np.frombuffer(hashlib.sha256(whole).hexdigest().encode(), np.uint8)
