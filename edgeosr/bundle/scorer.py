"""``scorer.npz`` of a bundle, held against its manifest: the two must speak of one classifier."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeosr.bundle.directory import Bundle
from edgeosr.errors import BundleError
from edgeosr.scoring.scorer import Scorer
from edgeosr.scoring.scorer_file import read_scorer


def bundle_scorer(bundle: Bundle) -> Scorer:
    """Read the scorer of a bundle.

    Args:
        bundle: checked, so the file is the one that the manifest names; this says whether it belongs there.

    Raises:
        BundleError: the file is no scorer; it has other parts (or the same in another order), classes,
            dimension, head, fusion or threshold than the manifest; or it lists a part whose constants it
            does not hold.
    """
    try:
        scorer = read_scorer(bundle.files["scorer.npz"])
    except BundleError as error:
        raise BundleError(f"{bundle.path}/{error}") from error
    for what, expected, got in _compared(bundle, scorer):
        if expected != got:
            raise BundleError(
                f"{bundle.path}/scorer.npz is not the scorer of its manifest: {what} must be {expected}; "
                f"got {got}; export the bundle again, or copy it again"
            )
    return scorer


def _compared(bundle: Bundle, scorer: Scorer) -> Iterator[tuple[str, Any, Any]]:
    """Yield (what it is, as the manifest says, as the scorer says), numbers as float32 like the file."""
    manifest = bundle.manifest
    fusion, threshold = manifest.fusion, manifest.threshold
    # The scorer is the engine's, whose backbone may have been calibrated anew.
    if manifest.backbone is not None:
        fusion, threshold = manifest.backbone.fusion or fusion, manifest.backbone.threshold or threshold
    yield "the list of parts", ", ".join(manifest.parts), ", ".join(scorer.fusion.parts)
    yield "the number of classes", len(manifest.classes), scorer.classes
    yield "the embedding's length", manifest.embedding.dimension, scorer.dimension
    yield "the head", manifest.head.kind, scorer.head.kind
    yield "the threshold", float(np.float32(threshold.value)), float(np.float32(scorer.threshold))
    limits = [
        np.asarray(one, np.float32).tolist() for one in (threshold.class_values, scorer.class_thresholds)
    ]
    yield "the number of thresholds of classes", len(limits[0]), len(limits[1])
    for class_name, wanted, found in zip(manifest.classes, *limits, strict=False):
        yield f"the threshold of the class {class_name}", wanted, found
    for name in ("means", "stds", "weights"):
        wanted, found = (np.float32(getattr(one, name)).tolist() for one in (fusion, scorer.fusion))
        yield f"the fusion's {name}", wanted, found
