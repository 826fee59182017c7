"""The digest of a manifest: whatever is edited in it is refused, and bundles that have none are read."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from written import written

from edgeosr.bundle.digest import DIGEST, manifest_with_digest
from edgeosr.bundle.manifest import BODY, BODY_SCHEMA, parse_manifest
from edgeosr.errors import BundleError

SAMPLE = json.loads((Path(__file__).parent / "sample_manifest.json").read_text("utf-8"))
GATE = {
    "known": 600, "unknown": 400, "ties": 1, "agreement": 0.998, "labels": 0.999, "decisions": 0.998,
    "minimum": 0.995, "score_distance": [0.01, 0.2], "auroc": [0.91, 0.92], "recalibrated": True,
    "known_agreement": 0.999, "unknown_agreement": 0.997, "unknown_from": "made of known ones",
}  # fmt: skip
PLAIN: dict[str, Any] = {
    **SAMPLE,
    "schema": BODY_SCHEMA,
    "frame": [480, 640],
    "files": {**SAMPLE["files"], BODY: SAMPLE["files"]["model.onnx"]},
    "body": {
        "precision": "int8", "ending": "map", "logits": False, "converter": "by hand", "gate": GATE,
        "processor": "a processor", "fusion": SAMPLE["fusion"],
        "threshold": {**SAMPLE["threshold"], "value": 1.5},
    },
}  # fmt: skip
WORDS = "manifest.json was edited after the export: its digest must be "
AGAIN = "; export the bundle again, or copy it again"


def refusal(data: bytes) -> str:
    with pytest.raises(BundleError) as error:
        parse_manifest(data)
    return str(error.value)


def places(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the way to each value that is no object or list."""
    if isinstance(node, dict):
        return [way for key, value in node.items() for way in places(value, (*path, key))]
    if isinstance(node, list):
        return [way for i, value in enumerate(node) for way in places(value, (*path, i))]
    return [path]


def edited(way: tuple[str | int, ...], value: Any) -> bytes:
    """Return the manifest with another value, and the digest of the old one."""
    plain = json.loads(manifest_with_digest(PLAIN))
    node = plain
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = value
    return json.dumps(plain, indent=1, ensure_ascii=False).encode() + b"\n"


def test_what_is_written_has_the_digest_of_itself_last() -> None:
    data = manifest_with_digest(PLAIN)
    digest = json.loads(data)[DIGEST]
    assert data.endswith(f' "{DIGEST}": "{digest}"\n}}\n'.encode())
    read = parse_manifest(data)
    assert written(read) == PLAIN
    assert manifest_with_digest(json.loads(data)) == data  # a digest is never of an older one


def test_a_manifest_of_before_there_was_a_digest_is_read() -> None:
    assert written(parse_manifest(json.dumps(PLAIN).encode())) == PLAIN


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("body", "precision"), "bf16"),
        (("body", "gate", "agreement"), 1.0),
        (("body", "threshold", "interval"), [0.0, 0.01]),
        (("threshold", "interval"), [0.0, 0.01]),
        (("threshold", "target_false_reject_rate"), 0.001),
        (("head", "temperature"), 1.0),
        (("frame",), None),
        (("name",), "another"),
        (("training",), {}),
        (("versions", "numpy"), "9.9"),
        (("data", "source"), "others"),
    ],
)
def test_an_edit_that_leaves_a_good_manifest_is_refused(way: tuple[str, ...], value: object) -> None:
    said = refusal(edited(way, value))
    assert said.startswith(WORDS) and said.endswith(AGAIN)


def test_no_value_can_be_edited_anywhere() -> None:
    held = 0
    for way in places(PLAIN):
        node: Any = PLAIN
        for key in way:
            node = node[key]
        if isinstance(node, bool):
            value: Any = not node
        elif isinstance(node, int | float):
            value = node + 1 if isinstance(node, int) else node * 0.97 + 2e-5
        else:
            value = f"{node}x" if isinstance(node, str) else 1
        held += refusal(edited(way, value)).startswith(WORDS)
    assert held > 60  # the others are told by the field's own rule


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n ", b"\n"),
        lambda data: data + b"\n",
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.replace(b'"head"', b'"\\u0068ead"'),
    ],
)
def test_a_manifest_that_was_written_anew_by_another_program_is_refused(change: Any) -> None:
    said = refusal(change(manifest_with_digest(PLAIN)))
    assert said.startswith(WORDS)


def test_the_message_says_both_digests() -> None:
    plain = copy.deepcopy(PLAIN)
    was = json.loads(manifest_with_digest(plain))[DIGEST]
    plain["head"]["temperature"] = 3.5
    new = json.loads(manifest_with_digest(plain))[DIGEST]
    data = manifest_with_digest(plain).replace(new.encode(), was.encode())
    assert refusal(data) == f"{WORDS}{new[:12]}...; got {was[:12]}...{AGAIN}"


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_zeros_and_other_digests_are_refused(digest: str) -> None:
    good = manifest_with_digest(PLAIN)
    data = good.replace(json.loads(good)[DIGEST].encode(), digest.encode())
    assert refusal(data).startswith(WORDS)


@pytest.mark.parametrize("digest", ["", "0" * 63, "A" * 64, None, 5, ["0" * 64]])
def test_what_is_no_digest_is_told_as_such(digest: object) -> None:
    said = refusal(json.dumps({**PLAIN, DIGEST: digest}).encode())
    assert re.search("digest: expected (a SHA-256 of 64 lower-case|text)", said) and said.endswith(AGAIN)


def test_a_digest_that_is_spelled_otherwise_is_refused() -> None:
    good = manifest_with_digest(PLAIN)
    digest = json.loads(good)[DIGEST]
    spelled = f"\\u{ord(digest[0]):04x}{digest[1:]}"
    assert refusal(good.replace(digest.encode(), spelled.encode())).startswith(WORDS)
