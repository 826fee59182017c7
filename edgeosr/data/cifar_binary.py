"""The official binary versions of CIFAR-10 and CIFAR-100, as archive or unpacked; never the pickles.

A record is one label byte (CIFAR-100: coarse, then fine), then 3072 bytes: 32x32 red, green, blue.
"""

import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeosr.data.array_images import images_from_array
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.files import HOW_TO_READ, require_readable

_PIXELS = 3 * 32 * 32
# data_batch_N.bin is 31 MB, train.bin of CIFAR-100 154 MB; nothing larger is read from an archive.
_LARGEST = 2**28


@dataclass(frozen=True)
class _Version:
    name: str
    names_file: str
    train: tuple[str, ...]
    test: str
    label_bytes: int
    classes: int


_VERSIONS = (
    _Version(
        "cifar10",
        "batches.meta.txt",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        1,
        10,
    ),
    _Version("cifar100", "fine_label_names.txt", ("train.bin",), "test.bin", 2, 100),
)
ReadMember = Callable[[str], bytes]


def cifar_version(path: Path) -> str | None:
    """Return ``"cifar10"`` or ``"cifar100"`` if ``path`` is such a binary archive or folder, else None.

    An archive is told by its name, a folder by its files.
    """
    if path.is_dir():
        return next((v.name for v in _VERSIONS if (path / v.train[0]).is_file()), None)
    name = path.name.casefold()
    if not name.endswith((".tar.gz", ".tgz", ".tar")) or "binary" not in name:
        return None
    return "cifar100" if "100" in name else "cifar10" if "10" in name else None


def read_cifar(path: Path) -> tuple[LabelledImages, LabelledImages]:
    """Open a binary archive or its unpacked folder.

    Returns:
        (train, test); the pixels are in memory (184 MB).

    Raises:
        DataError: not such an archive, or damaged.
    """
    version = next((v for v in _VERSIONS if v.name == cifar_version(path)), None)
    if version is None:
        raise DataError(f"{path} is not a CIFAR binary archive or folder; expected cifar-10-binary.tar.gz")
    if path.is_dir():
        return _images(version, lambda name: _file(path / name), path)
    try:
        require_readable(path)
        with tarfile.open(path) as archive:
            members = {Path(m.name).name: m for m in archive.getmembers() if m.isfile()}
            return _images(version, lambda name: _member(archive, members, name, path), path)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"cannot read {path}: {error.strerror}; {HOW_TO_READ}") from error
        raise _damaged(path, str(error)) from error


def _file(path: Path) -> bytes:
    try:
        require_readable(path)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; unpack the archive again") from error


def _member(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, path: Path) -> bytes:
    member = members.get(name)
    if member is None:
        raise _damaged(path, f"it has no {name}")
    if member.size > _LARGEST:
        raise _damaged(path, f"{name} states a size of {member.size} bytes")
    file = archive.extractfile(member)
    return file.read() if file else b""


def _images(version: _Version, read: ReadMember, path: Path) -> tuple[LabelledImages, LabelledImages]:
    text = read(version.names_file).decode("utf-8", errors="replace")
    class_names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(class_names) != version.classes:
        raise _damaged(path, f"{version.names_file} has {len(class_names)} names, not {version.classes}")
    train = _records(version, b"".join(read(name) for name in version.train), class_names, "train", path)
    return train, _records(version, read(version.test), class_names, "test", path)


def _records(
    version: _Version, data: bytes, class_names: tuple[str, ...], split: str, path: Path
) -> LabelledImages:
    length = version.label_bytes + _PIXELS
    if not data or len(data) % length:
        raise _damaged(path, f"its {split} data are {len(data)} bytes, not records of {length}")
    records = np.frombuffer(data, np.uint8).reshape(-1, length)
    pixels = records[:, version.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = records[:, version.label_bytes - 1]
    return images_from_array(pixels, labels, class_names, name=f"{version.name} {split}")


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is not a readable CIFAR binary version: {reason}; fetch or unpack it again")
