"""Files of tensors: what was written is read, and a full disk is told in words."""

import os
import resource
from pathlib import Path

import pytest
import torch

from edgeosr.errors import StorageError
from edgeosr.model.tensor_file import read_tensors, write_tensors


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.pt", {"w": torch.arange(3), "plain": [1, "x"]})
    read = read_tensors(tmp_path / "a.pt", "")
    assert read["w"].tolist() == [0, 1, 2] and read["plain"] == [1, "x"]


def test_a_full_disk_is_a_storage_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_tensors(path, torch.zeros(3))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk, the system takes the first bytes and refuses the rest.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*a\.pt: .*free disk space"):
            write_tensors(path, torch.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_tensors(path, "").tolist() == [0, 0, 0]
    assert os.listdir(tmp_path) == ["a.pt"]
