"""A directory is never gone while another takes its place, whoever is killed when."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgeosr import leftovers, replace_directory
from edgeosr.errors import StorageError
from edgeosr.exchange import exchange
from edgeosr.replace_directory import atomic_directory, complete_replacement, identity_of

BOTH_WAYS = pytest.mark.parametrize("can_exchange", [True, False])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


@pytest.fixture
def way(can_exchange, monkeypatch):
    if not can_exchange:
        monkeypatch.setattr(replace_directory, "exchange", lambda first, second: False)


@BOTH_WAYS
def test_a_directory_is_replaced_as_a_whole(target, tmp_path, way):
    with atomic_directory(target) as folder:
        (folder / "new").write_text("new")
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["d"]


@BOTH_WAYS
def test_an_exception_inside_leaves_the_old_one_and_nothing_beside_it(target, tmp_path, way):
    with pytest.raises(KeyboardInterrupt), atomic_directory(target) as folder:
        (folder / "new").write_text("new")
        raise KeyboardInterrupt
    assert names(target) == ["old"]
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("before", [True, False])
def test_an_interrupt_between_the_moves_leaves_one_of_the_two(target, tmp_path, monkeypatch, nth, before):
    rename, calls = Path.rename, []
    monkeypatch.setattr(replace_directory, "exchange", lambda first, second: False)

    def interrupted(self, to):
        calls.append(to)
        if len(calls) != nth:
            return rename(self, to)
        if not before:
            rename(self, to)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_directory(target) as folder:
        (folder / "new").write_text("new")
    monkeypatch.undo()
    complete_replacement(target)
    assert names(target) in (["old"], ["new"])
    with atomic_directory(target) as folder:
        (folder / "newer").write_text("newer")
    assert names(tmp_path) == ["d"]


def test_a_replacement_that_was_killed_between_its_moves_is_finished_by_a_reader(target, tmp_path):
    ready = tmp_path / ".d.ready"
    target.rename(ready)
    assert complete_replacement(target)
    assert names(target) == ["old"]
    assert not complete_replacement(target)


def test_a_reader_that_may_not_write_there_finds_nothing_and_no_traceback(tmp_path, monkeypatch):
    (tmp_path / ".d.ready").mkdir()

    def refused(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    assert not complete_replacement(tmp_path / "d")


def test_a_new_temporary_that_is_just_being_removed_is_not_taken(tmp_path):
    import fcntl

    path = tmp_path / ".x.abc.part"
    path.write_text("")
    with open(path) as remover, open(path) as writer:
        fcntl.flock(remover, fcntl.LOCK_EX)
        assert not leftovers._claimed(writer.fileno(), path)
        fcntl.flock(remover, fcntl.LOCK_UN)
        assert leftovers._claimed(writer.fileno(), path)


def test_a_ready_directory_that_was_never_needed_does_not_take_the_place_of_a_newer_one(target, tmp_path):
    (tmp_path / ".d.ready").mkdir()
    assert not complete_replacement(target)
    assert names(target) == ["old"]


@BOTH_WAYS
def test_another_directory_than_the_expected_one_is_not_replaced(target, tmp_path, way):
    expected = identity_of(target)
    with (
        pytest.raises(StorageError, match="replaced by another process"),
        atomic_directory(target, expected=expected),
        atomic_directory(target) as other,
    ):
        (other / "theirs").write_text("theirs")
    assert names(target) == ["theirs"]
    assert names(tmp_path) == ["d"]


HELD = """
import sys, time
from pathlib import Path
from edgeosr.files import atomic_file
from edgeosr.replace_directory import atomic_directory
path = Path(sys.argv[2])
with atomic_file(path) if sys.argv[1] == "file" else atomic_directory(path):
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_next_write_removes_what_a_killed_one_left_and_nothing_of_one_that_still_writes(tmp_path, kind):
    path = tmp_path / "x[1]"
    writers = [
        subprocess.Popen([sys.executable, "-c", HELD, kind, path], stdout=subprocess.PIPE) for _ in range(2)
    ]
    for writer in writers:
        writer.stdout.readline()
    writers[0].kill()
    writers[0].wait()
    assert len(names(tmp_path)) == 2
    write_again(kind, path)
    assert len(names(tmp_path)) == 2, "one is whole, one is still written"
    writers[1].kill()
    writers[1].wait()
    write_again(kind, path)
    assert names(tmp_path) == ["x[1]"]
    for writer in writers:
        writer.stdout.close()


def write_again(kind, path):
    from edgeosr.files import write_text

    if kind == "file":
        write_text(path, "whole")
    else:
        with atomic_directory(path) as folder:
            (folder / "whole").write_text("whole")


def test_names_that_only_look_like_leftovers_are_kept(tmp_path, target):
    for name in (".d.part", ".e.x1.part", "d.x1.part", ".d.x 1.part", ".d.x1.party"):
        (tmp_path / name).write_text("mine")
    with atomic_directory(target) as folder:
        (folder / "new").write_text("new")
    assert len(names(tmp_path)) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_two_directories_change_places_in_one_step(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "a") == ["b"] and names(tmp_path / "b") == ["a"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")


def test_a_system_without_the_call_is_told_apart_from_a_failure(tmp_path, monkeypatch):
    import errno

    def refused(*arguments):
        import ctypes

        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr("edgeosr.exchange._renameat2", lambda: refused)
    assert not exchange(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr("edgeosr.exchange._renameat2", lambda: None)
    assert not exchange(tmp_path / "a", tmp_path / "b")
    assert os.listdir(tmp_path) == []


def test_who_has_to_wait_for_another_writer_says_so(target, tmp_path, capsys):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    threading.Timer(0.3, os.close, [held]).start()
    with atomic_directory(target) as folder:
        (folder / "new").write_text("new")
    assert names(target) == ["new"]
    assert f"waiting for another process that writes or trains in {tmp_path};" in capsys.readouterr().err
