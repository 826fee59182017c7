"""A reader sees the whole old file or directory, or the whole new one, whatever interrupts the write."""

import errno
import os
from pathlib import Path

import pytest

from edgeosr.errors import StorageError
from edgeosr.files import atomic_directory, atomic_file, write_text


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


def test_a_directory_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "d"
    target.mkdir()
    (target / "old").write_text("old")
    with atomic_directory(target) as folder:
        (folder / "new").write_text("new")
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize("nth", [1, 2])
def test_an_interrupt_while_directories_change_places_brings_the_old_one_back(tmp_path, monkeypatch, nth):
    target = tmp_path / "d"
    target.mkdir()
    (target / "old").write_text("old")
    rename, calls = Path.rename, []

    def interrupted(self, to):
        calls.append(to)
        if len(calls) == nth:
            # The first move has happened when Ctrl-C comes; the second has not.
            if nth == 1:
                rename(self, to)
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_directory(target) as folder:
        (folder / "new").write_text("new")
    assert names(target) == ["old"]
    assert names(tmp_path) == ["d"]
