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

# At most 300 images, or 10 a class if that is more.
MOST_IMAGES, A_CLASS = 300, 10


def known_sample(parts: Parts) -> LabelledImages:
    """Return known images of select, then of train: at most one a group and class, and as many of each class.

    The train part serves a deployed model's check as well: it was not trained here. Near copies of an image
    would count as evidence that they are not; a group of several classes (all pictures of one patient) gives
    one of each.
    """
    select, train = parts.select, parts.train
    labels = np.concatenate([select.labels, train.labels])
    groups = np.concatenate([select.groups, train.groups])
    _, first = np.unique(groups * len(parts.known) + labels, return_index=True)
    first.sort()
    most = max(A_CLASS, math.ceil(MOST_IMAGES / len(parts.known)))
    kept = [first[labels[first] == label][:most] for label in range(len(parts.known))]
    both = LabelledImages(
        class_names=select.class_names,
        labels=labels,
        groups=groups,
        read=lambda i: select.read(i) if i < len(select) else train.read(i - len(select)),
        name_of=lambda i: select.name_of(i) if i < len(select) else train.name_of(i - len(select)),
    )
    return both.subset(np.concatenate(kept))


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
