"""A manifest that an enemy wrote costs little, and says nothing that misleads."""

import contextlib
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeosr.bundle.manifest import parse_manifest
from edgeosr.errors import BundleError

PLAIN: dict[str, Any] = json.loads((Path(__file__).parent / "sample_manifest.json").read_bytes())


def with_classes(*names: str) -> dict[str, Any]:
    return {**PLAIN, "classes": list(names), "data": {**PLAIN["data"], "known": list(names)}}


def changed(path: str, value: object) -> dict[str, Any]:
    plain = copy.deepcopy(PLAIN)
    *way, last = path.split("/")
    node = plain
    for key in way:
        node = node[key]
    node[last] = value
    return plain


def refusal(plain: dict[str, Any]) -> str:
    with pytest.raises(BundleError) as error:
        parse_manifest(json.dumps(plain).encode())
    return str(error.value)


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".", "/", "unknown", "a\x1b[31mb", "a\nb", "a\u202eb", "\u2066", "a\u2028"]
)
def test_a_class_cannot_have_a_name_that_is_a_path_the_verdict_on_strangers_or_reads_otherwise(
    name: str,
) -> None:
    assert re.search(r"classes(\[1\])?: expected", refusal(with_classes("cat", name)))


def test_names_in_any_script_are_fine() -> None:
    names = ("猫", "école", "كلب", "собака", "\U0001f408", "a b", "~x", "a\\b", "[b]", "-")
    assert parse_manifest(json.dumps(with_classes(*names)).encode()).classes == names


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("frame", [65536, 65536], "frame[0]: expected a whole number from 1 to 16384"),
        ("frame", [16384, 16384], "frame: expected a frame of at most 33554432 pixels"),
        ("files/model.onnx/bytes", 2**31, "files.model.onnx.bytes: expected a whole number from 1 to"),
        ("files/golden.npz/bytes", 8_000_001, "files.golden.npz.bytes: expected a whole number from 1"),
        ("files/scorer.npz/bytes", 2**40, "files.scorer.npz.bytes: expected a whole number from 1 to"),
        ("data/known", ["zero", "one"], "data.known: expected the names of classes, in any order"),
        ("discriminator/layers", [7, 4, 1], "discriminator.layers: expected layers that begin at 6"),
        ("threshold/groups", 241, "threshold.groups: expected at most as many groups as images, 240"),
        ("versions", {f"p{i}": "1" for i in range(65_537)}, "versions: expected an object of at most 65536"),
        ("data/unknown", ["x"] * 65_537, "data.unknown: expected a list of 0 to 65536 items"),
        ("name", "x" * 4097, "name: expected text of at most 4096 characters"),
    ],
)  # fmt: skip
def test_what_is_too_much_or_does_not_fit_together_is_refused_by_name(
    path: str, value: object, said: str
) -> None:
    assert said in refusal(changed(path, value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def paths(plain: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(plain) if isinstance(plain, dict) else range(len(plain)) if isinstance(plain, list) else ()
    return [(*way, key) for key in keys] + [path for key in keys for path in paths(plain[key], (*way, key))]


@settings(max_examples=100)
@given(st.sampled_from(paths(PLAIN)), JSON)
def test_any_value_anywhere_is_read_or_refused_as_a_bundles_error(
    path: tuple[Any, ...], value: object
) -> None:
    plain = copy.deepcopy(PLAIN)
    node: Any = plain
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    try:
        manifest = parse_manifest(json.dumps(plain).encode())
    except BundleError:
        return
    assert manifest.classes and all("/" not in name for name in manifest.classes)


@settings(max_examples=100)
@given(st.binary(max_size=60), st.integers(0, len(json.dumps(PLAIN)) - 1))
def test_any_bytes_anywhere_are_read_or_refused_as_a_bundles_error(noise: bytes, place: int) -> None:
    data = json.dumps(PLAIN).encode()
    with contextlib.suppress(BundleError):
        parse_manifest(data[:place] + noise + data[place + len(noise) // 2 :])


@pytest.mark.parametrize(
    "damaged",
    [
        b"{", b"\xff", json.dumps({**PLAIN, "name": 5}).encode(), json.dumps({**PLAIN, "more": 1}).encode(),
        json.dumps({key: value for key, value in PLAIN.items() if key != "files"}).encode(),
        json.dumps({**PLAIN, "data": {**PLAIN["data"], "known": ["a", "a"]}}).encode(), b"[" * 100_000,
    ],
    ids=["no JSON", "no text", "a type", "an unknown field", "a missing field", "a name twice", "too deep"],
)  # fmt: skip
def test_whatever_is_wrong_the_message_ends_with_what_to_do(damaged: bytes) -> None:
    with pytest.raises(BundleError, match=r"[^;]; export the bundle again, or copy it again$"):
        parse_manifest(damaged)
