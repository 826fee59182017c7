"""The 1,797 scanned digits that scikit-learn bundles: real images, no download, too small for claims."""

import numpy as np

from edgeosr.data.array_images import images_from_array
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import import_extra


def read_digits() -> LabelledImages:
    """Return the 8x8 digits, their values 0..16 scaled to 0..255.

    Raises:
        MissingDependencyError: scikit-learn is not installed (extra ``export``).
    """
    datasets = import_extra("sklearn.datasets", extra="export", purpose="the set 'digits'")
    bunch = datasets.load_digits()
    pixels = np.floor(np.asarray(bunch.images, np.float64) * (255 / 16) + 0.5).astype(np.uint8)
    names = [str(digit) for digit in range(10)]
    return images_from_array(pixels, np.asarray(bunch.target, np.int64), names, name="digits")
