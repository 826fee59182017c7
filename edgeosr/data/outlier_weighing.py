"""Whether real outliers are enough to weigh the score parts: a cross-validation needs some in each fold.

Half of the outliers teach the discriminator. The others, and the known images of the select part, are cut
into folds: here, so that a training tells beforehand what the export will do.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.printed import counted

FOLDS = 5
# Per fold at least this many images of each side; below it, weights are not fitted at all.
SMALLEST_FOLD = 4
# Separate images (near copies count once) that are always enough, the half for the discriminator included.
FEWEST_OUTLIERS = 2 * FOLDS * SMALLEST_FOLD
# Begins what is told where they are not enough; it stands in the note of such a bundle.
WEIGH_NOTHING = "the outliers weigh nothing"


def too_few_to_weigh(
    known: int,
    unknown: int,
    known_groups: NDArray[np.integer[Any]] | None = None,
    open_groups: NDArray[np.integer[Any]] | None = None,
) -> str:
    """Return why real outliers cannot weigh the parts, in words; empty if they can.

    Args:
        known: images of the select part.
        unknown: real open validation images, without the half that the discriminator learns from.
        known_groups: ``[known]``, equal for near copies, which then share a fold; None if there are none.
        open_groups: ``[unknown]``, likewise.
    """
    if _smallest(unknown, open_groups, 1) < SMALLEST_FOLD:
        left, are = counted(unknown, "image"), "is" if unknown == 1 else "are"
        if open_groups is not None and len(np.unique(open_groups)) < unknown:
            left += f" in {counted(len(np.unique(open_groups)), 'group')}"
        return (
            f"{WEIGH_NOTHING}: {left} {are} left beside those that the discriminator learns from, "
            f"too few to cross-validate on; {FEWEST_OUTLIERS} separate ones in all are enough"
        )
    if _smallest(known, known_groups, 0) < SMALLEST_FOLD:
        return (
            f"{WEIGH_NOTHING}: {counted(known, 'known select image')}, too few to cross-validate "
            f"on; {FOLDS * SMALLEST_FOLD} separate ones are enough"
        )
    return ""


def folds_of_images(count: int, groups: NDArray[np.integer[Any]] | None, stream: int) -> NDArray[np.int64]:
    """Return each image's fold, 0 to FOLDS - 1; images of a group share one. Deterministic."""
    ids = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    shuffled = np.random.default_rng((count, stream)).permutation(int(ids.max(initial=-1)) + 1)
    return (shuffled[ids] % FOLDS).astype(np.int64)


def _smallest(count: int, groups: NDArray[np.integer[Any]] | None, stream: int) -> int:
    return int(np.bincount(folds_of_images(count, groups, stream), minlength=FOLDS).min())
