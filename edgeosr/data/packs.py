"""Packs: one .npz file that holds a whole image set, read without pickles.

For each split S of ``train``, ``test`` and ``all`` that a pack has:

    classes     unicode [C]                 class names by label
    S_y         integers [n]                labels
    S_data      uint8 [bytes]               encoded images (WebP, JPEG, PNG), one after the other
    S_off       integers [n + 1]            image i is S_data[S_off[i] : S_off[i + 1]]
    S_heads, S_headoff, S_headidx           optional: shared header bytes to put before the payload
    S_track     integers [n]                optional: (label, track) names a group of near copies
    S_x         uint8 [n, h, w(, channels)] instead of S_data and S_off: raw pixels

Omniglot packs hold ``bits`` (one packed 1-bit image a row, 1 = paper) and ``shape`` instead.
"""

import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.array_images import checked_labels, images_from_array
from edgeosr.data.image_file import decode_image
from edgeosr.data.labelled_images import Image, LabelledImages
from edgeosr.errors import DataError
from edgeosr.files import HOW_TO_READ, require_readable

SPLITS = ("train", "test", "all")
Arrays = dict[str, NDArray[Any]]


def read_pack(path: Path) -> tuple[LabelledImages, LabelledImages | None]:
    """Open a pack.

    Returns:
        (train, test). A pack with one split only, whatever its name, gives it as train, and None.

    Raises:
        DataError: not a pack, damaged, or holding something that would need a pickle.
    """
    arrays = _load(path)
    if "bits" in arrays:
        return _omniglot(arrays, path.stem), None
    names = arrays.get("classes")
    if names is None or names.ndim != 1 or names.dtype.kind != "U" or not len(names):
        raise _damaged(path, "no list 'classes' of class names")
    class_names = tuple(str(name) for name in names)
    if len(set(class_names)) != len(class_names):
        raise _damaged(path, "two classes of the same name")
    splits = {s: _split(arrays, s, class_names, path) for s in SPLITS if f"{s}_y" in arrays}
    if not splits:
        raise _damaged(path, "neither train_y, test_y nor all_y")
    if set(splits) == {"train", "test"}:
        return splits["train"], splits["test"]
    if len(splits) > 1:
        raise _damaged(path, f"the splits {' and '.join(splits)} together; use train and test, or all")
    return next(iter(splits.values())), None


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a readable image pack ({reason}); fetch or copy the file again, "
        "and compare its SHA-256 with the source's"
    )


def _load(path: Path) -> Arrays:
    """Read every array once: a member of an .npz file is decompressed at each access."""
    try:
        require_readable(path)
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise _damaged(path, "it is not an .npz archive, or cut short")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
    except (DataError, MemoryError):
        raise
    # zipfile, zlib and NumPy's header parser raise nearly anything on changed bytes.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"cannot read {path}: {error.strerror}; {HOW_TO_READ}") from error
        raise _damaged(path, str(error) or type(error).__name__) from error
    foreign = next((name for name, array in arrays.items() if not isinstance(array, np.ndarray)), None)
    if foreign is not None:
        raise _damaged(path, f"its member {foreign} is not an array")
    return arrays


def _split(arrays: Arrays, split: str, class_names: tuple[str, ...], path: Path) -> LabelledImages:
    name = f"{path.stem} {split}"
    labels = arrays[f"{split}_y"]
    if labels.ndim != 1:
        raise _damaged(path, f"{split}_y must have one dimension, has {labels.ndim}")
    labels = checked_labels(labels, len(labels), class_names, name)
    groups = _groups(arrays.get(f"{split}_track"), labels, split, path)
    if f"{split}_x" in arrays:
        pixels = arrays[f"{split}_x"]
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or len(pixels) != len(labels):
            raise _damaged(path, f"{split}_x must be uint8 [{len(labels)}, height, width(, channels)]")
        return images_from_array(pixels, labels, class_names, name=name, groups=groups)
    offsets = _offsets(arrays, f"{split}_off", f"{split}_data", len(labels), path)
    blob = arrays[f"{split}_data"]
    heads = _heads(arrays, split, len(labels), path)

    def read(i: int) -> Image:
        body = blob[offsets[i] : offsets[i + 1]].tobytes()
        return decode_image(heads[0][heads[1][i]] + body if heads else body, f"{name}[{i}]")

    return LabelledImages(class_names, labels, groups, read, lambda i: f"{name}[{i}]")


def _groups(
    track: NDArray[Any] | None, labels: NDArray[np.int64], split: str, path: Path
) -> NDArray[np.int64]:
    if track is None:
        return np.arange(len(labels), dtype=np.int64)
    if track.dtype.kind not in "iu" or track.shape != labels.shape:
        raise _damaged(path, f"{split}_track must hold {len(labels)} whole numbers")
    # Track numbers restart in every class.
    pairs = np.stack([labels, track.astype(np.int64)], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].astype(np.int64).reshape(-1)


def _offsets(arrays: Arrays, key: str, blob_key: str, count: int | None, path: Path) -> NDArray[np.int64]:
    offsets, blob = arrays.get(key), arrays.get(blob_key)
    if offsets is None or blob is None:
        raise _damaged(path, f"{key} or {blob_key} is missing")
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or not len(offsets):
        raise _damaged(path, f"{key} must be a list of whole numbers")
    if blob.ndim != 1 or blob.dtype != np.uint8:
        raise _damaged(path, f"{blob_key} must be a list of bytes")
    wide = offsets.astype(np.int64)
    if count is not None and len(wide) != count + 1:
        raise _damaged(path, f"{key} has {len(wide)} entries for {count} images")
    if wide[0] < 0 or wide[-1] != len(blob) or np.any(np.diff(wide) < 0):
        raise _damaged(path, f"{key} does not fit the {len(blob)} bytes of {blob_key}")
    return wide


def _heads(
    arrays: Arrays, split: str, count: int, path: Path
) -> tuple[list[bytes], NDArray[np.int64]] | None:
    if f"{split}_heads" not in arrays:
        return None
    offsets = _offsets(arrays, f"{split}_headoff", f"{split}_heads", None, path)
    blob = arrays[f"{split}_heads"]
    index = arrays.get(f"{split}_headidx", np.zeros(0, np.uint8))
    if index.shape != (count,) or index.dtype.kind not in "iu":
        raise _damaged(path, f"{split}_headidx must hold {count} whole numbers")
    if count and int(index.max()) >= len(offsets) - 1:
        raise _damaged(path, f"{split}_headidx names a header that is not there")
    heads = [blob[start:end].tobytes() for start, end in itertools.pairwise(offsets)]
    return heads, index.astype(np.int64)


def _omniglot(arrays: Arrays, stem: str) -> LabelledImages:
    """Unpack characters with the ink bright on black, as digits are in MNIST.

    A label is the character's index within its file; characters have no names.
    """
    bits, shape = arrays["bits"], arrays.get("shape", np.zeros(0))
    if shape.shape != (4,) or shape.dtype.kind not in "iu" or np.any(shape < 1):
        raise _damaged(Path(f"{stem}.npz"), "'shape' must be four positive numbers")
    characters, drawers, height, width = (int(value) for value in shape)
    expected = (characters * drawers, -(-height * width // 8))
    if bits.dtype != np.uint8 or bits.shape != expected:
        raise _damaged(Path(f"{stem}.npz"), f"'bits' must be uint8 {list(expected)}, is {list(bits.shape)}")
    paper = np.unpackbits(bits, axis=1, count=height * width).reshape(-1, height, width)
    digits = len(str(characters - 1))
    return images_from_array(
        (1 - paper) * np.uint8(255),
        np.arange(len(paper)) // drawers,
        [f"{stem.removeprefix('omniglot_')}-{i:0{digits}d}" for i in range(characters)],
        name=stem,
    )
