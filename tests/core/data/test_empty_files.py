"""A file of size 0 is empty without being opened: what the system shows so (``/proc/kmsg``) may never end."""

import gzip
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.cifar_binary import read_cifar
from edgeosr.data.given_groups import GivenGroups
from edgeosr.data.gtsrb import _listed
from edgeosr.data.idx import read_idx
from edgeosr.data.image_file import read_image_file
from edgeosr.data.packs import read_pack
from edgeosr.data.picture_limits import regular_file_bytes
from edgeosr.errors import DataError, EdgeosrError
from edgeosr.files import storage_errors
from edgeosr.runtime.sources import Video
from edgeosr.runtime.video import VideoReader


def read_inside(path: Path) -> None:
    with storage_errors("read", path):
        path.read_bytes()


READERS: dict[str, Callable[[Path], Any]] = {
    "picture.jpg": read_image_file,
    "encoded.jpg": regular_file_bytes,
    "pack.npz": read_pack,
    "set.npz": lambda path: open_image_set(str(path)),
    "a-idx3-ubyte": lambda path: read_idx(path, 3),
    "a-idx3-ubyte.gz": lambda path: read_idx(path, 3),
    "cifar-10-binary.tar.gz": read_cifar,
    "GT.csv": lambda path: _listed(path, None),
    "groups.csv": lambda path: GivenGroups(str(path)),
    "names.txt": read_inside,
    "video.mp4": lambda path: VideoReader(Video(str(path), "video", False)),
}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened of the folder ``kept``, in whatever way."""
    cv2 = pytest.importorskip("cv2")
    paths: list[str] = []

    def noted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if "kept" in str(path):
                paths.append(str(path))
            return real(path, *arguments, **named)

        return call

    for owner, name in (
        (Path, "open"),
        (Path, "read_bytes"),
        (gzip, "open"),
        (tarfile, "open"),
        (cv2, "VideoCapture"),
    ):
        monkeypatch.setattr(owner, name, noted(getattr(owner, name)))
    return paths


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("linked", [False, True])
def test_an_empty_file_is_told_and_not_opened(
    name: str, linked: bool, tmp_path: Path, opened: list[str]
) -> None:
    path = tmp_path / "kept" / name
    path.parent.mkdir()
    if linked:
        (tmp_path / "other").touch()
        os.symlink(tmp_path / "other", path)
    else:
        path.touch()
    with pytest.raises(EdgeosrError, match="it is empty"):
        READERS[name](path)
    assert opened == []


@pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="only Linux shows its messages as a file")
def test_the_kernel_s_messages_are_no_picture(tmp_path: Path) -> None:
    os.symlink("/proc/kmsg", tmp_path / "kmsg.jpg")
    with pytest.raises(DataError, match=r"cannot decode .*kmsg\.jpg: it is empty"):
        read_image_file(tmp_path / "kmsg.jpg")
