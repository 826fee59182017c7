"""IDX files, the format of MNIST and Fashion-MNIST, raw or gzip'd.

A file is 0, 0, a type byte (8 = uint8), the number of dimensions, each dimension as a big-endian uint32, then
the values.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.array_images import images_from_array
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.files import HOW_TO_READ, require_readable

DIGIT_NAMES = tuple(str(digit) for digit in range(10))
FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_UINT8 = 8
# 2 GiB of pixels: thirty times MNIST; a damaged header must not ask for more memory than that.
_LARGEST = 2**31


def is_idx_folder(folder: Path) -> bool:
    """Return whether ``folder`` holds the training images of an IDX set."""
    return _find(folder, "train-images", 3) is not None


def read_idx_folder(
    folder: Path, class_names: tuple[str, ...], name: str
) -> tuple[LabelledImages, LabelledImages]:
    """Open the four files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]``.

    Args:
        folder: where they are.
        class_names: names by label.
        name: of the set, for the names of the images.

    Returns:
        (train, test).

    Raises:
        DataError: a file is missing or damaged.
    """
    train, test = (
        images_from_array(
            _read(folder, f"{stem}-images", 3),
            _read(folder, f"{stem}-labels", 1),
            class_names,
            name=f"{name} {split}",
        )
        for stem, split in (("train", "train"), ("t10k", "test"))
    )
    return train, test


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of uint8 values with this number of dimensions; raises DataError."""
    try:
        require_readable(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4)
            expected = bytes([0, 0, _UINT8, dimensions])
            if header != expected:
                raise _damaged(path, f"it begins with {header.hex(' ')}, expected {expected.hex(' ')}")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = math.prod(shape)
            if size > _LARGEST:
                raise _damaged(path, f"its header asks for {size} bytes")
            values = file.read(size + 1)
    # Only an error of the system has a number; a file that gzip cannot read has none.
    except (OSError, EOFError, zlib.error, struct.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"cannot read {path}: {error.strerror}; {HOW_TO_READ}") from error
        raise _damaged(path, str(error)) from error
    if len(values) != size:
        raise _damaged(
            path, f"it holds {'more' if len(values) > size else 'fewer'} than the {size} bytes it states"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read(folder: Path, stem: str, dimensions: int) -> NDArray[np.uint8]:
    path = _find(folder, stem, dimensions)
    if path is None:
        raise DataError(
            f"{folder} has no {stem}-idx{dimensions}-ubyte.gz; an IDX set needs four files: train-images, "
            "train-labels, t10k-images and t10k-labels"
        )
    return read_idx(path, dimensions)


def _find(folder: Path, stem: str, dimensions: int) -> Path | None:
    # Some copies write a dot for the first hyphen of "-idx3-ubyte".
    names = (f"{stem}{mark}idx{dimensions}-ubyte{end}" for mark in "-." for end in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is not a readable IDX file: {reason}; fetch or copy it again")
