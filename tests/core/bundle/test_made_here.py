"""What a bundle says of its images is opened unasked only where this user made the bundle."""

from pathlib import Path

import pytest

from edgeosr.bundle import notes
from edgeosr.bundle.made_here import remember_made_here, was_made_here


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / "cache"))


def test_a_manifest_is_known_by_its_very_bytes() -> None:
    assert not was_made_here(b"manifest")
    remember_made_here(b"manifest")
    assert was_made_here(b"manifest")
    assert not was_made_here(b"manifest ")


def test_a_cache_that_cannot_be_written_remembers_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    remember_made_here(b"manifest")
    assert not was_made_here(b"manifest")


def test_a_cache_that_cannot_be_looked_into_knows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name that is too long fails as the folder of another user does, which root may enter.
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / ("a" * 300)))
    remember_made_here(b"manifest")
    assert not was_made_here(b"manifest")


def test_old_notes_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(notes, "MOST_NOTES", 8)
    for number in range(20):
        remember_made_here(b"%d" % number)
    assert len(list((tmp_path / "cache" / "made-here").iterdir())) <= 8
    assert was_made_here(b"19")


def test_without_a_home_folder_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("EDGEOSR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    remember_made_here(b"manifest")
    assert not was_made_here(b"manifest")
