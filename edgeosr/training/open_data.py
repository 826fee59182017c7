"""The images of a run, opened and cut into parts; torch is not needed."""

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.grouping import grouped, grouped_as_recorded, require_room
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import Parts, four_parts
from edgeosr.data.recorded import data_record
from edgeosr.run import RECORD, is_fold, read_run
from edgeosr.training.settings import TrainSettings


def open_parts(settings: TrainSettings) -> tuple[ImageSet, Parts]:
    """Open a run's image set, look which images belong together, and cut it as its settings say.

    A fold takes the groups of the run that it is one of: its pictures are not looked at again.

    Raises:
        UsageError, DataError: the source, its groups, its classes or their number cannot be used.
    """
    image_set = open_image_set(settings.data, settings.data_root)
    if settings.out is not None and is_fold(settings.out):
        run = settings.out.absolute().parent.parent
        image_set = grouped_as_recorded(image_set, data_record(read_run(run).data, str(run / RECORD)).groups)
    else:
        image_set = grouped(image_set, settings.groups)
    parts = four_parts(
        image_set, known=settings.known, split=settings.split, seed=settings.seed,
        fractions=settings.fractions, test_fraction=settings.test_fraction, per_group=settings.per_group,
    )  # fmt: skip
    require_room(parts.grouping, settings.data)
    return image_set, parts
