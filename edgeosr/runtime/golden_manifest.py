"""What ``golden.npz`` holds of its manifest, so that a manifest that was edited later is noticed.

It names what was edited where the manifest has no digest, or one that was made anew with the edit.
Thresholds that were changed would change decisions, and names of classes that were exchanged every verdict.
Another preprocessing is what libedgeosr would give a body: its front end is made of the manifest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.manifest import Manifest
from edgeosr.preprocessing import COLORS, FITS, Preprocessing
from edgeosr.runtime.refused_array import refuse_array
from edgeosr.scoring.thresholds import Limit

CLASSES, PREPROCESSING = "classes", "preprocessing"
# Of each number of ``numbers_of_preprocessing``.
_FIELDS = ("height", "width", "fit", "crop_fraction", "resize_to", *("mean",) * 3, *("std",) * 3, "color")
_MOST_LIMITS = 1 << 15  # more would not fit beside the frames


def arrays_of_manifest(
    limits: Mapping[str, Limit | None],
    classes: Sequence[str] | None,
    preprocessing: Preprocessing | None,
) -> dict[str, NDArray[Any]]:
    """Return an entry for each that is not None: thresholds by name, the classes' digest, preprocessing."""
    arrays: dict[str, NDArray[Any]] = {
        name: np.atleast_1d(np.asarray(limit, np.float64))
        for name, limit in limits.items()
        if limit is not None and np.size(limit) <= _MOST_LIMITS
    }
    if classes is not None:
        arrays[CLASSES] = digest_of_names(classes)
    if preprocessing is not None:
        arrays[PREPROCESSING] = numbers_of_preprocessing(preprocessing)
    return arrays


def require_manifest(
    entries: Mapping[str, NDArray[Any]], limits: Mapping[str, Limit], manifest: Manifest
) -> None:
    """Raise BundleError if one of the entries that are there is another than the manifest's."""
    for name in limits.keys() & entries.keys():
        wanted, found = np.atleast_1d(np.asarray(limits[name], np.float64)), entries[name]
        if found.dtype != np.float64 or found.shape != wanted.shape or not (found == wanted).all():
            spelled = f" {float(wanted[0])!r}" if len(wanted) == 1 else "s of the classes"
            refuse_array(f"{name} must be the manifest's{spelled}, which was edited after the export", found)
    if CLASSES in entries:
        digest, found = digest_of_names(manifest.classes), entries[CLASSES]
        if found.dtype != np.uint8 or found.shape != digest.shape or not (found == digest).all():
            refuse_array(
                "classes must be the digest of the manifest's names of classes, which were edited after the "
                "export",
                found,
            )
    if PREPROCESSING in entries:
        _require_preprocessing(entries[PREPROCESSING], manifest.preprocessing)


def _require_preprocessing(found: NDArray[Any], made: Preprocessing) -> None:
    numbers = numbers_of_preprocessing(made)
    if found.dtype != np.float64 or found.shape != numbers.shape:
        refuse_array("preprocessing must be the manifest's, float64 [12]", found)
    edited = dict.fromkeys(_FIELDS[place] for place in np.flatnonzero(found != numbers))
    if edited:
        refuse_array(
            f"preprocessing must be the manifest's, whose {', '.join(edited)} was edited after the export",
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


def numbers_of_preprocessing(preprocessing: Preprocessing) -> NDArray[np.float64]:
    """Return what is done to a frame as numbers, float64 ``[12]``.

    They are height, width, the place of ``fit`` among ``FITS``, ``crop_fraction``, ``resize_to`` or 0, three
    means, three stds, and the place of ``color`` among ``COLORS``.
    """
    made = preprocessing
    shape = (made.height, made.width, FITS.index(made.fit), made.crop_fraction, made.resize_to or 0)
    return np.array([*shape, *made.mean, *made.std, COLORS.index(made.color)], np.float64)
