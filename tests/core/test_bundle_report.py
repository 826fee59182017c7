"""What ``edgeosr inspect`` prints of a bundle."""

import json
import re
from pathlib import Path

import numpy as np

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.groups import GroupsRecord, packed_groups
from edgeosr.bundle.manifest import manifest_bytes, parse_manifest
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
    for data, said in (
        (manifest_bytes(manifest), "the manifest itself as its digest says, which is no signature"),
        (
            SAMPLE.read_bytes(),
            "the manifest itself has no digest, so not every edit of it is found: export again",
        ),
    ):
        bundle = Bundle(path=Path("cats.edgeosr"), manifest=manifest, files={}, manifest_data=data)
        first = text_from_bundle(bundle).splitlines()[0]
        assert first.endswith(f"cats.edgeosr, every file as its manifest says; {said}")


def test_inspect_reads_a_negative_weight_in_words() -> None:
    plain = json.loads(SAMPLE.read_bytes())
    plain["fusion"]["weights"] = [0.5, 0.0, 0.3, 0.0, -0.2]
    manifest = parse_manifest(json.dumps(plain).encode())
    text = text_from_bundle(Bundle(path=Path("cats.edgeosr"), manifest=manifest, files={}))
    assert "Jacobian norm 0.50, margin loss 0.30, minus embedding norm 0.20 (counts against unknown)" in text


def test_inspect_says_how_many_groups_the_images_are_and_why() -> None:
    plain = json.loads(SAMPLE.read_bytes())
    groups = GroupsRecord(
        source="content",
        images=5,
        groups=2,
        copies=1,
        bursts=2,
        train_ids=packed_groups(np.array([0, 0, 2, 2, 2])),
    )
    plain["data"]["groups"] = groups.as_json()
    manifest = parse_manifest(json.dumps(plain).encode())
    assert manifest.as_json()["data"]["groups"] == json.loads(json.dumps(groups.as_json()))
    text = text_from_bundle(Bundle(path=Path("cats.edgeosr"), manifest=manifest, files={}))
    assert "5 images in 2 groups: 1 copy, 2 in bursts" in text


def test_inspect_tells_the_estimated_false_accepts_with_their_bias_and_nothing_without_folds() -> None:
    plain = json.loads(SAMPLE.read_bytes())
    bundle = Bundle(path=Path("cats.edgeosr"), manifest=parse_manifest(json.dumps(plain).encode()), files={})
    assert "false accepts" not in text_from_bundle(bundle)
    fold = {"classes": ["zero"], "accuracy": 1, "known": 40, "unknown": 9, "auroc": 0.9, "dropped": ""}
    plain["left_out"] = {
        "parts": ["movr_loss"],
        "auroc": [0.9],
        "spread": [0.0],
        "strength": 0.0,
        "false_accepts": [{"false_reject": 0.05, "mean": 0.2, "low": 0.1, "high": 0.3, "folds": 2}],
        "folds": [fold, fold],
    }
    bundle = Bundle(path=Path("cats.edgeosr"), manifest=parse_manifest(json.dumps(plain).encode()), files={})
    said = re.sub(r"\s+", " ", text_from_bundle(bundle).partition("\nfalse accepts")[2])
    assert "at 5 % false rejects, on left-out classes: 20.0 % (lowest fold 10.0, highest 30.0)" in said
    assert "a rough guess from few classes, no interval and no promise" in said
