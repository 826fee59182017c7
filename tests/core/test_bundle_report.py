"""What ``edgeosr inspect`` prints of a bundle."""

from pathlib import Path

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.manifest import parse_manifest
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.scoring.parts import part

SAMPLE = Path(__file__).parent / "bundle" / "sample_manifest.json"


def test_inspect_says_of_every_score_part_what_it_is_and_what_a_larger_value_means() -> None:
    manifest = parse_manifest(SAMPLE.read_bytes())
    lines = text_from_bundle(Bundle(path=Path("cats.edgeosr"), manifest=manifest, files={})).splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith("score parts  "))
    shown = lines[first + 1 : first + 1 + len(manifest.parts)]
    column = lines[0].index("cats.edgeosr")
    assert [line[:column].strip() for line in shown] == [""] * len(manifest.parts)
    for name, line in zip(manifest.parts, shown, strict=True):
        assert line[column:].split(maxsplit=1) == [name, f"{part(name).title}: {part(name).meaning}"]


def test_inspect_does_not_say_that_the_manifest_itself_is_protected() -> None:
    manifest = parse_manifest(SAMPLE.read_bytes())
    first = text_from_bundle(Bundle(path=Path("cats.edgeosr"), manifest=manifest, files={})).splitlines()[0]
    assert first.endswith("cats.edgeosr, every file as its manifest says; the manifest itself is not signed")
