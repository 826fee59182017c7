"""A reader sees the whole old file or the whole new one, whatever interrupts the write."""

import errno
import os
import socket

import pytest

from edgeosr.errors import StorageError
from edgeosr.files import atomic_file, require_place, storage_errors, write_text


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


def test_a_pipe_or_a_socket_is_not_replaced_and_is_refused_before_any_work(tmp_path, monkeypatch):
    # Never a real device: a writer that does not refuse it would replace it on the machine of the tests.
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    for name in ("pipe", "link", "socket"):
        path = tmp_path / name
        with pytest.raises(StorageError, match="it is a pipe, a device or a socket; choose another place"):
            require_place(path, folder=False)
        with pytest.raises(StorageError, match="expected a regular file, and it is a pipe, a device or a"):
            write_text(path, "new")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "socket").is_socket()
    assert os.readlink(tmp_path / "link") == "pipe"
    assert names(tmp_path) == ["link", "pipe", "socket"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path, there):
    (tmp_path / "far").mkdir()
    if there:
        (tmp_path / "far" / "a.txt").write_text("old")
    (tmp_path / "link").symlink_to("far/a.txt")
    require_place(tmp_path / "link", folder=False)
    write_text(tmp_path / "link", "new")
    assert os.readlink(tmp_path / "link") == "far/a.txt"
    assert (tmp_path / "far" / "a.txt").read_text("utf-8") == "new"
    assert names(tmp_path) == ["far", "link"] and names(tmp_path / "far") == ["a.txt"]


def test_a_link_that_leads_in_a_circle_is_refused_and_stays(tmp_path):
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(StorageError, match="it is a link that leads in a circle; choose another place"):
        require_place(tmp_path / "round", folder=False)
    with pytest.raises(StorageError, match="a link that leads in a circle"):
        write_text(tmp_path / "round", "new")
    with pytest.raises(StorageError, match="a link that leads in a circle"):
        require_place(tmp_path / "round", folder=True)
    assert os.readlink(tmp_path / "round") == "round"


def test_nothing_is_written_into_a_folder_that_a_link_leads_to_and_that_takes_nothing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file/a.txt")
    with pytest.raises(StorageError, match="file is no folder; choose another place"):
        require_place(tmp_path / "link", folder=False)
