"""The manifest's record of a body for OpenVINO: written, read back, and refused field by field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from written import written

from edgeosr.bundle.manifest import BODY, BODY_SCHEMA, SCHEMA, manifest_bytes, parse_manifest
from edgeosr.errors import BundleError

SAMPLE = json.loads((Path(__file__).parent / "sample_manifest.json").read_text(encoding="utf-8"))
GATE = {
    "known": 600, "unknown": 400, "ties": 1, "agreement": 0.998, "labels": 0.999, "decisions": 0.998,
    "minimum": 0.995, "score_distance": [0.01, 0.2], "auroc": None, "recalibrated": True,
    "known_agreement": 0.999, "unknown_agreement": 0.997, "unknown_from": "made of known ones",
}  # fmt: skip
OWN = {"fusion": SAMPLE["fusion"], "threshold": {**SAMPLE["threshold"], "value": 1.5}}
RECORD = {
    "precision": "int8", "ending": "map", "logits": False, "converter": "by hand; OpenVINO 2026.4.1",
    "processor": "a processor", **OWN, "gate": GATE,
}  # fmt: skip


def document(**changes: Any) -> dict[str, Any]:
    plain = {**copy.deepcopy(SAMPLE), "schema": BODY_SCHEMA, "body": {**copy.deepcopy(RECORD), **changes}}
    plain["files"][BODY] = plain["files"]["model.onnx"]
    return plain


def encoded(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain).encode()


def test_a_manifest_with_a_body_reads_back_as_it_was_written() -> None:
    manifest = parse_manifest(encoded(document()))
    assert manifest.schema == BODY_SCHEMA and BODY in manifest.file_names
    assert manifest.body is not None and manifest.body.threshold is not None
    assert (manifest.body.outputs, manifest.body.threshold.value) == (("map",), 1.5)
    assert written(manifest) == document()
    assert parse_manifest(manifest_bytes(manifest)) == manifest
    assert parse_manifest(encoded(document(fusion=None, threshold=None))).body is not None


def test_a_manifest_without_a_body_is_written_as_before() -> None:
    manifest = parse_manifest(encoded(SAMPLE))
    assert manifest.schema == SCHEMA and manifest.body is None
    assert "body" not in written(manifest)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "fp16"}, "body.precision: expected one of f32, bf16, int8"),
        ({"ending": "logits"}, "body.ending"),
        ({"logits": 0}, "body.logits"),
        ({"processor": ""}, "body.processor"),
        ({"converter": 3}, "body.converter"),
        ({"fusion": None}, "body.threshold: expected a fusion with a threshold of its own, or neither"),
        ({"fusion": {**SAMPLE["fusion"], "parts": SAMPLE["fusion"]["parts"][::-1]}}, "body.fusion.parts"),
        ({"gate": {**GATE, "unknown_agreement": 2}}, "body.gate.unknown_agreement"),
        ({"more": 1}, "more"),
    ],
)
def test_a_field_that_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        parse_manifest(encoded(document(**changes)))


def test_a_body_belongs_to_its_schema_and_its_file_to_the_body() -> None:
    with pytest.raises(BundleError, match="body"):
        parse_manifest(encoded({**document(), "schema": SCHEMA}))
    without = document()
    del without["body"]
    with pytest.raises(BundleError, match="body"):
        parse_manifest(encoded(without))
    fileless = document()
    del fileless["files"][BODY]
    with pytest.raises(BundleError, match=r"body\.onnx"):
        parse_manifest(encoded(fileless))
