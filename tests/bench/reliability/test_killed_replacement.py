"""The trial by killing finds nothing lost, and would find it."""

import sys
from pathlib import Path

import pytest

import edgeosr.bundle.directory as directory
from edgeosr.bench.reliability.killed_replacement import kill_at_every_step, kill_at_random
from edgeosr.bundle.directory import write_bundle
from edgeosr.bundle.manifest import parse_manifest

BUNDLE_TESTS = Path(__file__).parents[2] / "core" / "bundle"
sys.path.insert(0, str(BUNDLE_TESTS))


@pytest.fixture
def bundle(tmp_path):
    from small_graphs import good

    model = good(parts=5).SerializeToString()
    files = {"model.onnx": model, "scorer.npz": b"scorer" * 50, "golden.npz": b"golden"}
    path = tmp_path / "a.edgeosr"
    write_bundle(path, parse_manifest((BUNDLE_TESTS / "sample_manifest.json").read_bytes()), files)
    return path


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("exchange", [True, False])
def test_a_bundle_is_there_whichever_step_its_writer_was_killed_at(bundle, work, exchange):
    counts = kill_at_every_step(bundle, work, exchange=exchange)
    assert counts.passed, counts
    assert counts.kills == counts.old + counts.new > 15
    assert counts.old and counts.new


def test_a_bundle_is_there_at_whatever_moment_its_writer_was_killed(bundle, work):
    counts = kill_at_random(bundle, work, 6)
    assert counts.passed and counts.kills == 6, counts


def test_a_writer_that_removes_first_is_found(bundle, work, monkeypatch):
    import shutil

    write = directory.write_bundle

    def careless(path, *rest):
        shutil.rmtree(path, ignore_errors=True)
        return write(path, *rest)

    monkeypatch.setattr("edgeosr.bench.reliability.killed_replacement.write_bundle", careless)
    counts = kill_at_random(bundle, work, 12)
    assert counts.lost and not counts.passed
