"""What a deployed model itself answers on known images, for the stated preprocessing and for any other."""

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.export.foreign.known_sample import read_frames
from edgeosr.export.foreign.own_model import OwnModel, top_classes
from edgeosr.export.foreign.recipe import fitted
from edgeosr.export.foreign.stated import Stated
from edgeosr.preprocessing import Preprocessing

# Alternatives are compared on so many images unless more are asked for, and on what fits into so many bytes.
_COMPARED, _KEPT_BYTES = 300, 2**28

Places = NDArray[np.int64]


class KnownAnswers:
    """The model's own answers on a sample, for any preprocessing.

    Attributes:
        indices, labels, answers: of the images that were read: where in the sample, class, and answer.
        compared: places of those that other preprocessings are tried on.
        not_finite: how many of them have a class score that is NaN or infinite.
        first_not_finite: the first of these as the model's size has it, uint8; None if there is none.
    """

    first_not_finite: NDArray[np.uint8] | None

    def __init__(
        self, own: OwnModel, sample: LabelledImages, stated: Stated, *, compared: int = _COMPARED
    ) -> None:
        self._own, self._sample, self._stated = own, sample, stated
        self.not_finite, self.first_not_finite = 0, None
        given: list[int] = []
        kept: list[int] = []
        labels: list[int] = []
        pixels: dict[int, NDArray[np.uint8]] = {}
        size = stated.preprocessing
        most = max(1, min(compared, _KEPT_BYTES // (size.height * size.width * 3)))
        wanted = set(np.linspace(0, len(sample) - 1, min(most, len(sample))).round().astype(int).tolist())
        for index, frame in read_frames(sample, np.arange(len(sample)), "checking on known images"):
            one = fitted(frame, size, stated.resampling)
            logits = own.logits_of([one], size)
            if not np.isfinite(logits).all():
                self.not_finite += 1
                self.first_not_finite = one if self.first_not_finite is None else self.first_not_finite
            given.append(int(top_classes(logits)[0]))
            labels.append(int(sample.labels[index]))
            if index in wanted:
                pixels[len(kept)] = one
            kept.append(index)
        if not kept:
            raise DataError(
                "none of the known images that the model is checked on can be read; repair or remove these "
                "files"
            )
        self.indices = np.array(kept, np.int64)
        self.labels, self.answers = np.array(labels, np.int64), np.array(given, np.int64)
        # Where the compared images lie among those that were read.
        self.compared = np.array(sorted(pixels), np.int64)
        self._pixels = [pixels[place] for place in self.compared.tolist()]

    @property
    def grey(self) -> bool:
        """True if the model takes grey images."""
        return self._own.grey

    def __call__(self, preprocessing: Preprocessing, places: Places) -> NDArray[np.int64]:
        """Return the answers on the compared images at ``places``."""
        stated = self._stated.preprocessing
        cut = ("fit", "crop_fraction", "resize_to")
        if all(getattr(preprocessing, name) == getattr(stated, name) for name in cut):
            images = [self._pixels[place] for place in places.tolist()]
        else:
            chosen = self.indices[self.compared[places]]
            frames = read_frames(self._sample, chosen, "trying another cut")
            images = [fitted(frame, preprocessing, self._stated.resampling) for _, frame in frames]
        return top_classes(self._own.logits_of(images, preprocessing))
