"""A bundle is read only if every byte of it matches its manifest, and written whole or not at all."""

import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_graphs import good

from edgeosr.bundle import directory as bundle_module
from edgeosr.bundle.directory import MANIFEST_LIMIT, newest_bundle, read_bundle, write_bundle
from edgeosr.bundle.manifest import FILE_NAMES, Manifest, parse_manifest
from edgeosr.errors import BundleError, StorageError, UsageError

FILES = {
    "model.onnx": good(parts=5).SerializeToString(),
    "scorer.npz": b"scorer" * 50,
    "golden.npz": b"golden",
}
NEW = good(parts=5, producer="new").SerializeToString()


@pytest.fixture
def manifest() -> Manifest:
    return parse_manifest((Path(__file__).parent / "sample_manifest.json").read_bytes())


@pytest.fixture
def written(tmp_path: Path, manifest: Manifest) -> Path:
    write_bundle(tmp_path / "a.edgeosr", manifest, FILES)
    return tmp_path / "a.edgeosr"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with no bundle in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as error:
        read_bundle(path)
    return str(error.value)


def test_a_bundle_reads_back_as_it_was_written(written: Path, manifest: Manifest) -> None:
    bundle = read_bundle(written)
    assert bundle.files == FILES
    assert replace(bundle.manifest, files=manifest.files) == manifest
    assert {path.name for path in written.iterdir()} == {"manifest.json", *FILE_NAMES}
    assert [path.name for path in written.parent.iterdir()] == ["a.edgeosr"]


@pytest.mark.parametrize("name", FILE_NAMES)
@pytest.mark.parametrize("position", [0, 3, -1])
def test_one_changed_bit_is_refused_by_name(written: Path, name: str, position: int) -> None:
    data = bytearray((written / name).read_bytes())
    data[position] ^= 1
    (written / name).write_bytes(data)
    assert re.search(rf"{name} is damaged: its SHA-256", refusal(written))


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_file_of_another_size_is_refused_with_both_sizes(written: Path, name: str) -> None:
    size = (written / name).stat().st_size
    with open(written / name, "ab") as file:
        file.write(b"x")
    assert f"{name} is damaged: it has {size + 1} bytes, the manifest says {size}" in refusal(written)
    os.truncate(written / name, 0)
    assert "has 0 bytes" in refusal(written)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_missing_file_is_refused_by_name(written: Path, name: str) -> None:
    (written / name).unlink()
    assert f"{name} is missing" in refusal(written)


def test_a_newer_schema_is_refused(written: Path) -> None:
    (written / "manifest.json").write_text('{"schema": 99, "edgeosr": "3.0"}')
    assert "newer edgeosr (3.0)" in refusal(written)


def test_a_huge_manifest_is_refused_without_being_read(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(written / "manifest.json", 100 * 2**30)  # sparse: reading it would not fit in memory
    monkeypatch.setattr(bundle_module, "parse_manifest", lambda *_: pytest.fail("parsed"))
    assert f"at most {MANIFEST_LIMIT}" in refusal(written)


@pytest.mark.parametrize("name", ["manifest.json", *FILE_NAMES])
def test_links_are_refused_even_to_the_right_bytes(written: Path, name: str) -> None:
    outside = written.parent / "outside"
    (written / name).rename(outside)
    (written / name).symlink_to(outside)
    assert f"{name} is a link" in refusal(written)


@pytest.mark.parametrize("name", ["manifest.json", *FILE_NAMES])
def test_fifos_and_directories_are_refused_without_waiting(written: Path, name: str) -> None:
    (written / name).unlink()
    os.mkfifo(written / name)
    assert f"{name} is no plain file" in refusal(written)
    (written / name).unlink()
    (written / name).mkdir()
    assert f"{name} is no plain file" in refusal(written)


def test_a_file_swapped_for_a_link_after_the_look_is_refused(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = written / "model.onnx"
    plain = target.lstat()
    target.rename(written / "kept")
    target.symlink_to(written / "kept")
    real = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda self: plain if self == target else real(self))
    with pytest.raises(StorageError, match=r"model\.onnx"):
        read_bundle(written)


def test_a_path_in_the_manifest_cannot_lead_outside(written: Path) -> None:
    plain = json.loads((written / "manifest.json").read_text("utf-8"))
    plain["files"]["../outside"] = plain["files"].pop("model.onnx")
    (written / "manifest.json").write_text(json.dumps(plain))
    assert "files.model.onnx is missing" in refusal(written)


def test_nothing_is_parsed_before_every_hash_matched(written: Path) -> None:
    (written / "golden.npz").write_bytes(b"gol1en")
    assert "golden.npz is damaged" in refusal(written)  # the other two are not even valid formats


def test_a_path_that_is_no_bundle_says_what_to_do(written: Path, elsewhere: Path, manifest: Manifest) -> None:
    assert refusal(written.parent / "b.edgeosr").endswith("did you mean 'a.edgeosr'?")
    assert refusal(written.parent / "a").endswith("did you mean 'a.edgeosr'?")
    assert refusal(elsewhere / "nothing.edgeosr").endswith("make one with: edgeosr export")
    assert "make one with: edgeosr export" in refusal(elsewhere)
    assert refusal(written.parent).endswith(f"use {written}")
    (elsewhere / "run.json").write_text("{}")
    assert "training run" in refusal(elsewhere)
    (elsewhere / "net.onnx").write_bytes(b"x")
    assert "edgeosr export" in refusal(elsewhere / "net.onnx")
    assert "is a file" in refusal(written / "golden.npz")


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("call", range(4))
def test_an_interrupted_write_leaves_the_old_bundle(
    written: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, problem: BaseException, call: int
) -> None:
    calls = iter(range(100))

    def failing_fsync(descriptor: int) -> None:
        if next(calls) == call:
            raise problem

    monkeypatch.setattr(os, "fsync", failing_fsync)
    with pytest.raises((KeyboardInterrupt, StorageError)):
        write_bundle(written, manifest, {**FILES, "model.onnx": NEW})
    assert read_bundle(written).files == FILES
    assert [path.name for path in written.parent.iterdir()] == ["a.edgeosr"]


def test_a_new_bundle_replaces_the_old_one_as_a_whole_also_behind_a_link(
    written: Path, manifest: Manifest
) -> None:
    (written / "left-over").write_text("of the old one")
    link = written.parent / "current.edgeosr"
    link.symlink_to(written)
    write_bundle(link, manifest, {**FILES, "model.onnx": NEW})
    assert link.is_symlink()
    assert read_bundle(link).files["model.onnx"] == NEW
    assert {path.name for path in written.iterdir()} == {"manifest.json", *FILE_NAMES}
    assert {path.name for path in written.parent.iterdir()} == {"a.edgeosr", "current.edgeosr"}


def test_what_would_be_refused_when_read_is_not_written(tmp_path: Path, manifest: Manifest) -> None:
    path = tmp_path / "a.edgeosr"
    not_a_number = replace(manifest, threshold=replace(manifest.threshold, value=float("nan")))
    with pytest.raises(BundleError, match="cannot be written"):
        write_bundle(path, not_a_number, FILES)
    with pytest.raises(BundleError, match=r"classes\[1\]: 'x' is in the list twice"):
        write_bundle(path, replace(manifest, classes=("x", "x")), FILES)
    with pytest.raises(BundleError, match=r"a bundle holds model\.onnx.*got model\.onnx"):
        write_bundle(path, manifest, {"model.onnx": b""})
    with pytest.raises(BundleError, match="at most"):
        write_bundle(path, replace(manifest, training={"notes": "x" * MANIFEST_LIMIT}), FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path, manifest: Manifest) -> None:
    photos = tmp_path / "photos.edgeosr"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"dear")
    with pytest.raises(UsageError, match="is no bundle, so it is not replaced"):
        write_bundle(photos, manifest, FILES)
    with pytest.raises(UsageError, match=r"must end in \.edgeosr"):
        write_bundle(tmp_path / "photos", manifest, FILES)
    assert (photos / "cat.jpg").read_bytes() == b"dear"


def test_the_newest_bundle_is_the_last_created_not_the_last_touched(
    tmp_path: Path, manifest: Manifest
) -> None:
    for path, created in {
        "old.edgeosr": "2026-01-01T00:00:00Z",
        "runs/x/new.edgeosr": "2026-01-03T01:00:00+02:00",
        "runs/y/middle.edgeosr": "2026-01-02T22:00:00Z",
        "deep/er/newest-but-not-looked-at.edgeosr": "2027-01-01T00:00:00Z",
    }.items():
        write_bundle(tmp_path / path, replace(manifest, created=created), FILES)
    os.utime(tmp_path / "old.edgeosr" / "manifest.json")
    assert newest_bundle(tmp_path) == tmp_path / "runs/x/new.edgeosr"
    (tmp_path / "runs/x/new.edgeosr/manifest.json").write_text("{")
    assert newest_bundle(tmp_path) == tmp_path / "runs/y/middle.edgeosr"


def test_the_bundle_of_the_demo_is_taken_only_where_there_is_no_other(
    tmp_path: Path, manifest: Manifest
) -> None:
    demo, own = tmp_path / "runs/demo/demo.edgeosr", tmp_path / "runs/own/own.edgeosr"
    write_bundle(demo, replace(manifest, created="2026-01-03T00:00:00Z"), FILES)
    (demo.parent / "demo.json").touch()
    assert newest_bundle(tmp_path) == demo
    write_bundle(own, replace(manifest, created="2026-01-01T00:00:00Z"), FILES)
    assert newest_bundle(tmp_path) == own


def test_without_any_bundle_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="make one with: edgeosr export"):
        newest_bundle(tmp_path)
    (tmp_path / "broken.edgeosr").mkdir()
    with pytest.raises(BundleError, match=r"broken\.edgeosr has no manifest\.json"):
        newest_bundle(tmp_path)
