"""The known images that a deployed model is checked on before anything is made of it."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.image_file import quiet_pillow
from edgeosr.data.labelled_images import Image, LabelledImages
from edgeosr.data.parts import Parts
from edgeosr.errors import DataError
from edgeosr.progress import progress

# At most 300 images, or 10 a class if that is more; where those do not settle it, at most 1,000 of all parts.
MOST_IMAGES, A_CLASS, MOST_IN_DOUBT = 300, 10, 1000


def known_sample(parts: Parts, *, most: int = MOST_IMAGES, of_all_parts: bool = False) -> LabelledImages:
    """Return known images of select, then of train: at most one a group and class, and as many of each class.

    The train part serves a deployed model's check as well: it was not trained here. Near copies of an image
    would count as evidence that they are not; a group of several classes (all pictures of one patient) gives
    one of each. A class with fewer than ``A_CLASS`` there is filled up with its images of the calibrate and
    test parts: of 5 images in all, the two that are left would show nothing. Nothing is fitted on them.

    Args:
        parts: the images.
        most: at most so many images, or ``A_CLASS`` a class if that is more.
        of_all_parts: fill every class up from the calibrate and test parts.
    """
    sources = (parts.select, parts.train, parts.calibrate, parts.test)
    labels = np.concatenate([one.labels for one in sources])
    groups = np.concatenate([one.groups for one in sources])
    # Official test images number their groups by themselves.
    starts = np.cumsum([0, *(len(one) for one in sources)])
    groups[starts[3] :] += groups[: starts[3]].max(initial=0) + 1
    _, first = np.unique(groups * len(parts.known) + labels, return_index=True)
    first.sort()
    each = max(A_CLASS, math.ceil(most / len(parts.known)))
    kept = []
    for label in range(len(parts.known)):
        own = first[labels[first] == label]
        here = len(own) if of_all_parts else int((own < starts[2]).sum())
        kept.append(own[: min(each, max(here, A_CLASS))])

    def place(i: int) -> tuple[LabelledImages, int]:
        source = int(np.searchsorted(starts, i, side="right")) - 1
        return sources[source], i - int(starts[source])

    def read(i: int) -> Image:
        source, index = place(i)
        return source.read(index)

    def name_of(i: int) -> str:
        source, index = place(i)
        return source.name_of(index)

    together = LabelledImages(
        class_names=parts.select.class_names, labels=labels, groups=groups, read=read, name_of=name_of
    )
    return together.subset(np.concatenate(kept))


def read_frames(
    images: LabelledImages, chosen: NDArray[np.int64], description: str
) -> Iterator[tuple[int, Image]]:
    """Yield (index, frame) for every image at these places that can be read.

    Unreadable ones are left out without a word: the passes over the whole parts count them.
    """
    with progress(description, len(chosen)) as advance, quiet_pillow:
        for index in chosen.tolist():
            try:
                frame = images.read(index)
            except DataError:
                continue
            finally:
                advance()
            yield index, frame
