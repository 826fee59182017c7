"""The images of a run, opened and cut into parts; torch is not needed, nothing is decoded."""

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Parts, four_parts
from edgeosr.training.settings import TrainSettings


def open_parts(settings: TrainSettings) -> tuple[ImageSet, Parts]:
    """Open a run's image set and cut it as its settings say.

    Raises:
        UsageError, DataError: the source, its classes or their number cannot be used.
    """
    image_set = open_image_set(settings.data, settings.data_root)
    parts = four_parts(
        image_set, known=settings.known, split=settings.split, seed=settings.seed,
        fractions=settings.fractions, test_fraction=settings.test_fraction, per_group=settings.per_group,
    )  # fmt: skip
    return image_set, parts
