"""A threshold a class in the manifest: a schema of its own, and one threshold is written as it always was."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from written import written

from edgeosr.bundle.manifest import CLASS_SCHEMA, SCHEMA, parse_manifest
from edgeosr.errors import BundleError

SAMPLE = json.loads(Path(__file__).with_name("sample_manifest.json").read_text("utf-8"))
OWN = {"value": 0.5, "interval": [0.0, 0.125], "groups": 60, "images": 80}
COMMON = {"value": 1.25, "interval": None, "groups": 30, "images": 40}


def per_class(*records: dict[str, Any], schema: int = CLASS_SCHEMA) -> dict[str, Any]:
    plain = {**copy.deepcopy(SAMPLE), "schema": schema}
    plain["threshold"] = {**plain["threshold"], "by_class": [copy.deepcopy(one) for one in records]}
    return plain


def test_thresholds_of_classes_come_back_and_one_threshold_is_written_as_before() -> None:
    plain = per_class(OWN, COMMON, OWN, COMMON)
    parsed = parse_manifest(json.dumps(plain).encode())
    assert [one.own for one in parsed.threshold.by_class] == [True, False, True, False]
    assert parsed.threshold.limit == (0.5, 1.25, 0.5, 1.25)
    assert written(parsed) == plain
    common = replace(parsed, threshold=replace(parsed.threshold, by_class=()))
    assert written(common) == SAMPLE and SAMPLE["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (per_class(OWN, OWN, OWN, OWN, schema=SCHEMA), r"threshold\.by_class is not a known field"),
        (per_class(OWN, OWN, OWN), r"threshold\.by_class: expected a list of 4 items"),
        (per_class(*[OWN] * 5), "list of 4 items"),
        (per_class(), "list of 4 items"),
        (per_class(OWN, {**COMMON, "value": 2.0}, OWN, OWN), r"by_class\[1\]\.value: expected the common"),
        (per_class(OWN, {**OWN, "interval": [0.2, 0.1]}, OWN, OWN), "low <= high"),
        (per_class({**OWN, "groups": -1}, OWN, OWN, OWN), r"by_class\[0\]\.groups: expected a whole number"),
        (
            per_class({**OWN, "groups": 81}, OWN, OWN, COMMON),
            r"by_class\[0\]\.groups: expected at most as many",
        ),
        (
            per_class({**OWN, "groups": 0}, OWN, OWN, COMMON),
            r"by_class\[0\]\.groups: expected at most as many",
        ),
        (
            per_class({**OWN, "groups": 0, "images": 0}, OWN, OWN, COMMON),
            "interval: expected null, for the class",
        ),
        (per_class(OWN, OWN, OWN, COMMON), r"threshold\.by_class: expected classes of 240 images together"),
        (per_class({**OWN, "more": 1}, OWN, OWN, OWN), "more is not a known field"),
    ],
)
def test_thresholds_of_classes_that_cannot_be_are_refused(plain: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        parse_manifest(json.dumps(plain).encode())


def test_numbers_of_images_that_add_up_to_more_than_a_machines_word_are_refused() -> None:
    # 2048 times 2**53 is 2**64, which a sum in 64 bits forgets.
    images = SAMPLE["threshold"]["images"]
    plain = per_class(
        *[{**COMMON, "groups": 1, "images": number} for number in (*[2**53] * 2048, images - 1, 1)]
    )
    plain["classes"] = plain["data"]["known"] = [f"c{number}" for number in range(2050)]
    plain["left_out"] = None
    with pytest.raises(BundleError, match=r"by_class: expected classes of \d+ images together"):
        parse_manifest(json.dumps(plain).encode())
