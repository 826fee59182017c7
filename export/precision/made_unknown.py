"""Unknown images for the gate where there are no real ones: made of known ones, by stated rules.

Image i is made of known image i and of another one, half of the set away, in one of five ways in turn: mixed
(30 to 70 % of either), cut into strips that are shuffled, made coarse (4 x 4 fields), inverted, and mixed
with noise (20 to 80 %). The shares vary, so that scores lie on both sides of the threshold and close to it:
that is where a typed graph decides otherwise. They stand for no unknown in particular: what is measured on
them is whether two graphs agree, never how good either is.
"""

from collections.abc import Sequence

import numpy as np

from edgeosr.data.labelled_images import Image, LabelledImages
from edgeosr.export.golden_frames import unlike_known
from edgeosr.preprocessing import Preprocessing


def made_unknown(known: Sequence[LabelledImages], count: int) -> LabelledImages:
    """Return ``count`` images, made as they are read; the same for the same known ones.

    Args:
        known: what they are made of, all of them readable: each made image reads two, so that one that is
            not would be missing twice.
        count: how many, at most as many as these.
    """
    places = [(part, i) for part in known for i in range(len(part))]

    def of(index: int) -> tuple[LabelledImages, int]:
        return places[index % len(places)]

    def read(index: int) -> Image:
        (part, i), (other_part, j) = of(index), of(index + len(places) // 2)
        one, other = part.read(i), other_part.read(j)
        if other.shape != one.shape:
            other = Preprocessing(height=one.shape[0], width=one.shape[1], fit="stretch").resize(other)
        return unlike_known(index, one, other)

    def name_of(index: int) -> str:
        part, i = of(index)
        return f"made of {part.name_of(i)}"

    return LabelledImages(
        class_names=("unknown",),
        labels=np.zeros(count, np.int64),
        groups=np.arange(count, dtype=np.int64),
        read=read,
        name_of=name_of,
    )
