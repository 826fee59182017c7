"""Reads arrays of an ``.npz`` file that nobody vouches for: no pickles, and never more memory than the file.

Entries are stored, not compressed, and lie one behind the other; the sizes that they claim are those of the
bytes that are there.
"""

import io
import math
import re
import struct
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of a zip's local header, before the name; and a name of ours with what writers put behind it.
_LOCAL_HEADER = 30
# The record at a zip's end, without the comment that readers would look for it behind.
_END, _END_BYTES = b"PK\5\6", 22
# Of the record before it in a zip64, which may say that the directory is elsewhere.
_LOCATOR, _LOCATOR_BYTES = b"PK\6\7", 20
_PLAIN_NAME = re.compile(r"[ -~]+\.npy")  # of ASCII that is seen, whatever code page a reader takes it for
LONGEST_NAME = 100
MOST_ENTRIES = 512


class NpzError(ValueError):
    """The bytes are not such a file; the message says why, and the caller adds which file and what to do."""


def npz_arrays(data: bytes, *, largest: int) -> dict[str, NDArray[Any]]:
    """Return every array of the file by its name; they share its memory and are read-only.

    Args:
        data: the file's bytes.
        largest: bytes that the file may have.

    Raises:
        NpzError: it is damaged or no such file; it holds something else than stored arrays without objects, a
            name twice, or more than is allowed.
    """
    if len(data) > largest:
        raise NpzError(f"it has {len(data)} bytes, more than {largest}")
    # Else another file could follow, and readers differ in which of two they take.
    if data[-_END_BYTES:][: len(_END)] != _END:
        raise NpzError("it does not end as a zip without a comment ends")
    try:
        directory = _directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _require_plain(entries, data, directory)
            return {_name(entry): _array(archive.read(entry)) for entry in entries}
    except NpzError:
        raise
    except Exception as error:
        # zipfile, zlib and NumPy's header parser raise nearly anything on changed bytes.
        raise NpzError(str(error) or type(error).__name__) from error


def _directory(data: bytes) -> int:
    """Return where the directory begins, which must be the one that every reader takes."""
    end = len(data) - _END_BYTES
    if data[max(end - _LOCATOR_BYTES, 0) : end].startswith(_LOCATOR):
        raise NpzError("it is a zip64")
    size, start = struct.unpack_from("<2I", data, end + 12)
    if start + size != end:
        raise NpzError("its directory is not at its end")
    return int(start)


def _require_plain(entries: list[zipfile.ZipInfo], data: bytes, directory: int) -> None:
    if len(entries) > MOST_ENTRIES:
        raise NpzError(f"it has {len(entries)} entries, more than {MOST_ENTRIES}")
    seen, reached = set[str](), 0
    for entry in entries:
        name = _name(entry)
        # Either can hold what another reader takes for another name, place or directory.
        if entry.extra or entry.comment:
            raise NpzError("its directory has extra fields or comments")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise NpzError(f"its entry {name!r} is compressed; edgeosr writes stored entries only")
        if entry.file_size != entry.compress_size:
            raise NpzError(f"its entry {name!r} has two sizes")
        if name in seen:
            raise NpzError(f"its entry {name!r} is there twice")
        seen.add(name)
    # Of entries that share one body, each is harmless and all together are not.
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < reached:
            raise NpzError("its entries overlap")
        reached = entry.header_offset + _LOCAL_HEADER
        if reached <= len(data):
            reached += sum(struct.unpack_from("<2H", data, reached - 4)) + entry.file_size
    if reached > directory:
        raise NpzError("its entries reach beyond its end")


def _name(entry: zipfile.ZipInfo) -> str:
    spelled = entry.orig_filename  # filename ends before a NUL, or is what an extra field says
    if entry.filename != spelled or not _PLAIN_NAME.fullmatch(spelled):
        raise NpzError(f"its entry {spelled[:LONGEST_NAME]!r} is not an array")
    if len(entry.filename) > LONGEST_NAME:
        raise NpzError(f"an entry's name has {len(entry.filename)} letters, more than {LONGEST_NAME}")
    return entry.filename[: -len(".npy")]


def _array(content: bytes) -> NDArray[Any]:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise NpzError(f"an array has the format {version}; 1.0 and 2.0 are read")
    read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise NpzError(f"an array has the type {dtype}; numbers alone are read")
    body = content[file.tell() :]
    if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise NpzError(f"an array of {dtype} {list(shape)[:8]} has {len(body)} bytes")
    flat: NDArray[Any] = np.frombuffer(body, dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")
