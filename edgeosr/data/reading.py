"""Read images one after another at their own size, skipping and counting the unreadable."""

from collections.abc import Iterator

from edgeosr.data.decode import LARGEST_SKIPPED_SHARE
from edgeosr.data.image_file import quiet_pillow
from edgeosr.data.labelled_images import Image, LabelledImages
from edgeosr.errors import DataError
from edgeosr.printed import say
from edgeosr.progress import progress


def readable_images(
    images: LabelledImages, *, description: str, skipped: list[str]
) -> Iterator[tuple[int, Image]]:
    """Yield (index, uint8 RGB ``[height, width, 3]``) for every image that can be decoded.

    Args:
        images: what to read, in order.
        description: text of the progress bar.
        skipped: filled with the reason for each unreadable image; their count goes to standard error.

    Raises:
        DataError: there are no images, or more than 1 % of them cannot be read.
    """
    if not len(images):
        raise DataError("there are no images to read; check the data set and its classes")
    allowed = LARGEST_SKIPPED_SHARE * len(images)
    with progress(description, len(images)) as advance, quiet_pillow:
        for index in range(len(images)):
            try:
                image = images.read(index)
            except DataError as error:
                skipped.append(str(error))
                if len(skipped) > allowed:
                    raise DataError(
                        f"more than {LARGEST_SKIPPED_SHARE:.0%} of {len(images)} images cannot be read: "
                        f"{'; '.join(skipped[:3])}; repair or remove these files"
                    ) from error
            else:
                yield index, image
            advance()
    if skipped:
        say(f"skipped {len(skipped)} of {len(images)} images; the first: {skipped[0]}")
