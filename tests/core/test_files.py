"""A reader sees the whole old file or the whole new one, whatever interrupts the write."""

import errno
import os

import pytest

from edgeosr.errors import StorageError
from edgeosr.files import atomic_file, storage_errors, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_has_its_content_and_the_usual_permissions(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "grüße")
    plain = tmp_path / "plain.txt"
    plain.write_text("x")
    assert path.read_text(encoding="utf-8") == "grüße"
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("broken")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, failure):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(type(failure)), atomic_file(path) as file:
        file.write(b"ha")
        raise failure
    assert path.read_text("utf-8") == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_a_storage_error_that_names_the_path(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.txt: No space left on device"):
        write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("made", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_is_not_read_as_a_file(tmp_path, made):
    made(tmp_path / "a.txt")
    with (
        pytest.raises(StorageError, match=r"a\.txt: expected a regular file"),
        storage_errors("read", tmp_path / "a.txt"),
    ):
        raise AssertionError("it was read")
