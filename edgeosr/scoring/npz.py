"""Reads the arrays of an ``.npz`` file that nobody vouches for: no pickles, no more memory than is stated."""

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NpzError(ValueError):
    """The bytes are not such a file; the message says why, and the caller adds which file and what to do."""


def npz_arrays(data: bytes, *, largest: int, compressed: bool = False) -> dict[str, NDArray[Any]]:
    """Return every array of the file by its name.

    Args:
        data: the file's bytes.
        largest: bytes that its entries may have in all, unpacked.
        compressed: entries may be deflated; else they must be stored, and the file itself is the limit.

    Raises:
        NpzError: it is damaged or no such file; it holds something else than arrays without objects, a name
            twice, or more than is allowed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _require_plain(entries, len(data), largest, compressed)
            return {_name(entry): _array(archive.read(entry)) for entry in entries}
    except NpzError:
        raise
    except Exception as error:
        # zipfile, zlib and NumPy's header parser raise nearly anything on changed bytes.
        raise NpzError(str(error) or type(error).__name__) from error


def _require_plain(entries: list[zipfile.ZipInfo], size: int, largest: int, compressed: bool) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > largest:
        raise NpzError(f"it unpacks to {unpacked} bytes, more than {largest}")
    # Of entries that share one body, each is harmless and all together are not.
    if sum(entry.compress_size for entry in entries) > size:
        raise NpzError("its entries overlap")
    seen = set[str]()
    for entry in entries:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NpzError(f"its entry {entry.filename!r} is packed in a way that NumPy does not write")
        if entry.compress_type != zipfile.ZIP_STORED and not compressed:
            raise NpzError(f"its entry {entry.filename!r} is compressed; edgeosr writes stored entries only")
        if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            raise NpzError(f"its entry {entry.filename!r} has two sizes")
        name = _name(entry)
        if name in seen:
            raise NpzError(f"its entry {name!r} is there twice")
        seen.add(name)


def _name(entry: zipfile.ZipInfo) -> str:
    if not entry.filename.endswith(".npy"):
        raise NpzError(f"its entry {entry.filename!r} is not an array")
    return entry.filename[: -len(".npy")]


def _array(content: bytes) -> NDArray[Any]:
    file = io.BytesIO(content)
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    if file.read(1):
        raise NpzError("an array has bytes behind its end")
    return array
