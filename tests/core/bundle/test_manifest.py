"""manifest.json is checked field by field; a refusal names the field, what was expected and what came."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from written import written

from edgeosr import __version__
from edgeosr.bundle.left_out import MOST_FOLDS
from edgeosr.bundle.manifest import BODY_SCHEMA, SCHEMA, Manifest, manifest_bytes, parse_manifest
from edgeosr.errors import BundleError

SAMPLE = json.loads((Path(__file__).parent / "sample_manifest.json").read_text(encoding="utf-8"))
# The same bundle with J_u from probes.
PROBES = {
    **SAMPLE,
    "jacobian": {
        "method": "probes",
        "kind": "J_u",
        "with_respect_to": "the normalised network input, 3x16x16",
        "probes": {
            "cut": "input",
            "tensor": "pixels",
            "family": "random",
            "K": 4,
            "n": 768,
            "gain": 1.0,
            "seed": 0,
            "errors": [[1, 0.9], [2, 0.6], [4, 0.4]],
            "largest_error": 0.5,
        },
    },
}
# The same bundle with folds of left-out classes, a typed backbone and an engine built from it.
BACKBONE = {
    **PROBES,
    "left_out": {
        "parts": ["movr_loss", "max_logit"],
        "auroc": [0.93, 0.9],
        "spread": [0.02, 0.05],
        "strength": 0.5,
        "false_accepts": [
            {"false_reject": 0.05, "mean": 0.2, "low": 0.1, "high": 0.3, "folds": 2},
            {"false_reject": 0.1, "mean": 0.1, "low": 0.1, "high": 0.1, "folds": 2},
        ],
        "folds": [
            {"classes": ["zero"], "accuracy": 0.98, "known": 40, "unknown": 90, "auroc": 0.94, "dropped": ""},
            {"classes": [], "accuracy": 0.97, "known": 50, "unknown": 60, "auroc": 0.92, "dropped": ""},
            {
                "classes": ["one", "三"],
                "accuracy": 0.4,
                "known": 30,
                "unknown": 99,
                "auroc": None,
                "dropped": "select accuracy 40%, far below the full run's 98%",
            },
        ],
    },
    "backbone": {
        "precision": "fp16",
        "ending": "tangents",
        "logits": False,
        "dtype": "float16",
        "converter": "onnxruntime.transformers.float16 1.32.0",
        "fusion": {**copy.deepcopy(SAMPLE["fusion"]), "note": "fitted on the typed graph"},
        "threshold": SAMPLE["threshold"],
        "gate": {
            "known": 480,
            "unknown": 120,
            "ties": 1,
            "agreement": 0.998,
            "labels": 0.999,
            "decisions": 0.997,
            "minimum": 0.995,
            "score_distance": [0.001, 0.05],
            "auroc": [0.91, 0.9101],
            "recalibrated": True,
        },
    },
    "engines": [
        {
            "file": "orin-10.3.0-fp16-b1-1-8-480x640.plan",
            "sha256": "c" * 64,
            "bytes": 1_000_000,
            "builder": "tensorrt",
            "version": "10.3.0",
            "device": "Orin",
            "targets": ["sm_87"],
            "precision": "fp16",
            "batch": [1, 1, 8],
            "frame": [480, 640],
            "backbone": "d" * 64,
            "created": "2026-01-31T12:00:00Z",
            "seconds": 12.5,
        }
    ],
    "files": {**SAMPLE["files"], "backbone.onnx": {"sha256": "d" * 64, "bytes": 5_000_000}},
}
MISSING = object()


def changed(path: str, value: object, sample: dict[str, Any] = SAMPLE) -> bytes:
    """The sample with the value at a dotted ``path`` replaced, or removed for MISSING."""
    plain = copy.deepcopy(sample)
    node: Any = plain
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in parents:
        node = node[key]
    if value is MISSING:
        del node[last]
    else:
        node[last] = value
    return json.dumps(plain).encode()


def test_a_manifest_reads_back_as_it_was_written() -> None:
    manifest = parse_manifest(json.dumps(SAMPLE).encode())
    assert written(manifest) == SAMPLE
    assert parse_manifest(manifest_bytes(manifest)) == manifest
    assert manifest.classes == ("zero", "one", "Zwei", "三")
    assert manifest.data.sizes["calibrate"] == (240, 120)


def test_weights_of_either_sign_are_read() -> None:
    manifest = parse_manifest(changed("fusion/weights", [0.5, 0.0, -0.3, 0.2, 0.0]))
    assert manifest.fusion.used() == {"log_jacobian": 0.5, "movr_loss": -0.3, "max_logit": 0.2}


def test_optional_records_may_be_null() -> None:
    plain = copy.deepcopy(SAMPLE)
    for name in ("discriminator", "outliers", "training"):
        plain[name] = None
    plain["frame"] = [480, 640]
    plain["jacobian"] = {"method": "none", "kind": "J_z", "with_respect_to": "", "probes": None}
    manifest = parse_manifest(json.dumps(plain).encode())
    assert (manifest.discriminator, manifest.outliers, manifest.training) == (None, None, None)
    assert manifest.frame == (480, 640)


# A body has a schema of its own: test_body.py.
@pytest.mark.parametrize("name", ["schema", *sorted({*Manifest.__dataclass_fields__} - {"body"})])
def test_every_field_is_required_by_name(name: str) -> None:
    with pytest.raises(BundleError, match="schema" if name == "schema" else f": {name} is missing"):
        parse_manifest(changed(name, MISSING, BACKBONE))


def _leaves(node: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in _leaves(value, f"{path}/{key}".lstrip("/"))]
    if isinstance(node, list):
        return [leaf for i, value in enumerate(node) for leaf in _leaves(value, f"{path}/{i}")]
    return [(path, node)]


def test_a_manifest_with_probes_reads_back_as_it_was_written() -> None:
    manifest = parse_manifest(json.dumps(PROBES).encode())
    assert written(manifest) == PROBES
    assert manifest.jacobian.probes is not None
    assert manifest.jacobian.probes.errors == ((1, 0.9), (2, 0.6), (4, 0.4))
    given = changed("jacobian/probes/largest_error", None, PROBES)
    assert parse_manifest(given).jacobian.probes is not None


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("jacobian/probes", None, "jacobian.probes: expected an object; got null"),
        ("jacobian/probes", MISSING, "jacobian.probes is missing"),
        ("jacobian/kind", "J_z", "jacobian.kind: expected one of J_u; got"),
        ("jacobian/method", "none", "jacobian.kind: expected one of J_z; got"),
        ("jacobian/probes/K", 769, "jacobian.probes.K: expected a whole number from 1 to 768; got 769"),
        ("jacobian/probes/n", 0, "jacobian.probes.n: expected a whole number from 1"),
        ("jacobian/probes/family", "hadamard", "jacobian.probes.family: expected one of random, dct"),
        ("jacobian/probes/errors", [[1]], "jacobian.probes.errors[0]: expected a list of 2 items"),
        ("jacobian/probes/errors/0/1", -1, "jacobian.probes.errors[0][1]: expected a number from 0"),
        ("jacobian/probes/largest_error", "no", "jacobian.probes.largest_error: expected a number"),
        ("jacobian/probes/tensor", "", "jacobian.probes.tensor: expected text"),
    ],
)  # fmt: skip
def test_probes_out_of_range_are_refused_with_their_path(path: str, value: object, said: str) -> None:
    with pytest.raises(BundleError, match=re.escape(said)):
        parse_manifest(changed(path, value, PROBES))


def test_a_manifest_with_a_backbone_and_an_engine_reads_back_as_it_was_written() -> None:
    manifest = parse_manifest(json.dumps(BACKBONE).encode())
    assert written(manifest) == BACKBONE
    assert manifest.backbone is not None
    assert manifest.backbone.outputs == ("embedding", "tangents")
    assert manifest.backbone.gate.auroc == (0.91, 0.9101)
    assert manifest.engines[0].batch == (1, 1, 8)
    assert manifest.file_names == ("model.onnx", "scorer.npz", "golden.npz", "backbone.onnx")


def test_a_backbone_may_keep_the_bundles_threshold_and_have_no_open_images() -> None:
    plain = copy.deepcopy(BACKBONE)
    plain["backbone"].update(fusion=None, threshold=None)
    plain["backbone"]["gate"].update(auroc=None, unknown=0, recalibrated=False)
    plain["engines"] = []
    assert written(parse_manifest(json.dumps(plain).encode())) == plain


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("backbone", None, "engines: expected an empty list, for there is no backbone"),
        ("backbone/precision", "bf16", "backbone.precision: expected one of fp32, fp16, int8; got"),
        ("backbone/ending", "logits", "backbone.ending: expected one of map, tangents, embedding; got"),
        ("backbone/fusion", None, "backbone.threshold: expected a fusion with a threshold of its own"),
        ("backbone/gate/known", 0, "backbone.gate.known: expected a whole number from 1"),
        ("backbone/gate/agreement", 1.2, "backbone.gate.agreement: expected a number from 0 to 1"),
        ("backbone/gate/score_distance", [1], "gate.score_distance: expected a list of 2 items"),
        ("backbone/gate/auroc/1", -0.1, "backbone.gate.auroc[1]: expected a number from 0 to 1"),
        ("engines/0/file", "../a.plan", "engines[0].file: expected a plain file name that ends in .plan"),
        ("engines/0/file", ".plan", "engines[0].file: expected a plain file name"),
        ("engines/0/targets", [], "engines[0].targets: expected a list of 1 to 32 items"),
        ("engines/0/targets/0", "orin", "engines[0].targets[0]: expected an architecture such as sm_87"),
        ("engines/0/targets/0", "sm_\u0668\u0667", "engines[0].targets[0]: expected an architecture such as"),
        ("engines/0/batch", [2, 1, 8], "engines[0].batch: expected [least, optimal, largest] in this order"),
        ("engines/0/batch/2", 1025, "engines[0].batch[2]: expected a whole number from 1 to 1024"),
        ("engines/0/builder", "tvm", "engines[0].builder: expected one of tensorrt, tensorrt_rtx"),
        ("engines/0/backbone", "x", "engines[0].backbone: expected a SHA-256"),
        ("engines", BACKBONE["engines"] * 2, "engines: expected engines of different names"),
        ("backbone/fusion/parts/0", "ovr_loss", "backbone.fusion.parts: expected the bundle's parts, log_"),
        ("files/backbone.onnx", MISSING, "files.backbone.onnx is missing"),
    ],
)  # fmt: skip
def test_a_backbone_or_engine_out_of_range_is_refused_with_its_path(
    path: str, value: object, said: str
) -> None:
    with pytest.raises(BundleError, match=re.escape(said)):
        parse_manifest(changed(path, value, BACKBONE))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("strength", 4.5, "strength: expected a number from 0 to 4"),
        ("strength", 3.75, "strength: expected a quarter from 0 to 3, or 4"),
        ("strength", None, "left_out.strength: expected a number"),
        ("folds/0/classes/0", "nobody", "folds[0].classes[0]: expected one of the bundle's classes"),
        ("false_accepts", MISSING, "left_out.false_accepts is missing"),
        ("false_accepts/0/mean", 0.31, "false_accepts[0].mean: expected a share from low to high"),
        ("false_accepts/0/mean", 0.09, "false_accepts[0].mean: expected a share from low to high"),
        ("false_accepts/1/high", 1.1, "false_accepts[1].high: expected a number from 0 to 1"),
        ("false_accepts/1/false_reject", 0.05, "false_reject: expected a rate below 0.5, above 0 and above"),
        ("false_accepts/1/false_reject", 0.5, "false_reject: expected a rate below 0.5"),
        ("false_accepts/0/false_reject", 0, "false_reject: expected a rate below 0.5, above 0"),
        ("false_accepts/0/folds", 3, "false_accepts[0].folds: expected a whole number from 1 to 2"),
        ("false_accepts", [{}] * 7, "left_out.false_accepts: expected a list of 0 to 6 items"),
    ],
)  # fmt: skip
def test_estimates_that_cannot_be_are_refused_with_their_path(path: str, value: object, said: str) -> None:
    with pytest.raises(BundleError, match=re.escape(said)):
        parse_manifest(changed(f"left_out/{path}", value, BACKBONE))


def test_a_strength_without_a_used_fold_is_refused() -> None:
    plain = copy.deepcopy(BACKBONE)
    record = plain["left_out"]
    record.update(parts=[], auroc=[], spread=[], false_accepts=[], folds=record["folds"][2:])
    with pytest.raises(BundleError, match=r"left_out\.strength: expected null, for no fold is used"):
        parse_manifest(json.dumps(plain).encode())
    record["strength"] = None
    assert parse_manifest(json.dumps(plain).encode()).left_out.strength is None


def test_as_many_folds_as_an_export_may_make_are_read_with_the_real_outliers_beside_them() -> None:
    plain = copy.deepcopy(BACKBONE)
    fold = plain["left_out"]["folds"][0]
    plain["left_out"]["folds"] = [fold] * MOST_FOLDS + [{**fold, "classes": []}]
    record = parse_manifest(json.dumps(plain).encode()).left_out
    assert record is not None and record.folds[-1].name == "real outliers"
    plain["left_out"]["folds"].append(fold)
    with pytest.raises(BundleError, match="expected a list of 0 to 65 items"):
        parse_manifest(json.dumps(plain).encode())


# Free-form settings, and null where null is allowed, take any type.
CHECKED = [(path, value) for path, value in _leaves(BACKBONE) if not path.startswith("training")]


@pytest.mark.parametrize(("path", "value"), CHECKED, ids=[path for path, _ in CHECKED])
def test_every_value_of_another_type_is_refused_with_its_path(path: str, value: object) -> None:
    parts = [f"[{key}]" if key.isdigit() else f".{key}" for key in path.split("/")]
    dotted = "".join(parts).lstrip(".")
    truth = 1 if isinstance(value, bool) else True
    for wrong in ([1], {"a": 1}, truth, 12 if isinstance(value, str) else "12"):
        with pytest.raises(BundleError) as refusal:
            parse_manifest(changed(path, wrong, BACKBONE))
        assert dotted in str(refusal.value)
        assert "expected" in str(refusal.value) and "got" in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("threshold/value", None, "threshold.value: expected a number; got null (null)"),
        ("threshold/value", 10**400, "threshold.value: expected a finite number"),
        ("threshold/value", 1e300, "threshold.value: expected a finite number that float32 holds"),
        ("fusion/weights/0", -3.5e38, "expected a finite number that float32 holds"),
        ("threshold/target_false_reject_rate", 1.0, "target_false_reject_rate: expected a number between 0"),
        ("threshold/interval", [0.9, 0.1], "threshold.interval: expected [low, high]"),
        ("threshold/interval", [0.1], "threshold.interval: expected a list of 2 items; got 1 entries"),
        ("threshold/groups", 1.5, "threshold.groups: expected a whole number"),
        ("threshold/treshold", 1, "threshold.treshold is not a known field"),
        ("fusion/stds/1", 0, "fusion.stds[1]: expected a number above 0; got 0"),
        ("fusion/means", [1, 2], "fusion.means: expected a list of 5 items; got 2 entries"),
        ("fusion/parts", [], "fusion.parts: expected a list of 1 to 16 items"),
        ("fusion/parts", [f"part{i}" for i in range(17)], "fusion.parts: expected a list of 1 to 16 items"),
        ("fusion/parts/1", "log_jacobian", "fusion.parts[1]: 'log_jacobian' is in the list twice"),
        ("classes", [], "classes: expected 1 to 65536 class names"),
        ("classes/1", "zero", "classes[1]: 'zero' is in the list twice"),
        ("classes/1", "", "classes[1]: expected text"),
        ("classes/1", "a\x1b[2J", "classes[1]: expected text without control characters"),
        ("classes/1", "\ud800", "classes[1]: expected text without control characters"),
        ("fusion/parts/0", "log jacobian", "fusion.parts[0]: expected a part's name, such as log_jacobian"),
        ("created", "yesterday", "created: expected a time such as"),
        ("frame", [0, 10], "frame[0]: expected a whole number from 1"),
        ("preprocessing/std/2", 0.0, "std must be above 0"),
        ("preprocessing/height", 5000, "preprocessing.height: expected a whole number from 1 to 4096; got"),
        ("preprocessing/fit", "squash", "preprocessing.fit: expected one of crop, stretch, letterbox"),
        ("head/margin", 2.0, "head.margin: expected a number"),
        ("head/temperature", 0, "head.temperature: expected a number above 0"),
        ("jacobian/with_respect_to", "", "jacobian.with_respect_to: expected text"),
        ("files/model.onnx/sha256", "B" * 64, "files.model.onnx.sha256: expected a SHA-256"),
        ("files/model.onnx/bytes", -1, "files.model.onnx.bytes: expected a whole number from 1"),
        ("files/golden.npz", MISSING, "files.golden.npz is missing"),
        ("files/..~secret", {}, "files...~secret is not a known field"),
        ("nmae", "x", "nmae is not a known field; did you mean 'name'?"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_with_its_path(path: str, value: object, said: str) -> None:
    with pytest.raises(BundleError, match=re.escape(said)):
        parse_manifest(changed(path, value))


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "engines/../../x", "model.onnx/"])
def test_a_file_outside_the_fixed_list_is_refused(name: str) -> None:
    plain = copy.deepcopy(SAMPLE)
    plain["files"][name] = plain["files"]["model.onnx"]
    with pytest.raises(BundleError, match="not a known field"):
        parse_manifest(json.dumps(plain).encode())


def test_a_newer_schema_says_how_to_upgrade_before_anything_else_is_checked() -> None:
    newer = json.dumps({"schema": BODY_SCHEMA + 1, "edgeosr": "9.1", "anything": float(1)}).encode()
    with pytest.raises(
        BundleError,
        match=r"newer edgeosr \(9\.1\).*upgrade this one from where it came, a clone with: git pull",
    ):
        parse_manifest(newer)


def test_another_schema_of_the_same_version_is_not_said_to_be_of_an_older_or_newer_one() -> None:
    for schema, when in ((SCHEMA - 1, "before"), (BODY_SCHEMA + 1, "after")):
        document = json.dumps({"schema": schema, "edgeosr": __version__}).encode()
        with pytest.raises(
            BundleError, match=rf"made {when} this state of edgeosr \({__version__}\); this one"
        ):
            parse_manifest(document)


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_an_older_schema_says_to_export_again(schema: int) -> None:
    older = json.dumps({"schema": schema, "edgeosr": "0.0.9"}).encode()
    with pytest.raises(BundleError, match=r"older edgeosr \(0\.0\.9\).*export the classifier again"):
        parse_manifest(older)


def test_parts_that_are_not_known_here_are_refused_with_the_version_that_knows_them() -> None:
    with pytest.raises(BundleError, match=r"not know: entropy; it was made by edgeosr 0\.1\.0; upgrade"):
        parse_manifest(changed("fusion/parts/2", "entropy"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"schema": 1, "schema": 1}', "'schema' appears twice"),
        (b'{"schema": 1, "training": {"a": 1, "a": 2}}', "'a' appears twice"),
        (b'{"schema": NaN}', "NaN is not a JSON number"),
        (b'{"schema": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"schema": 1e999}', "1e999 is too large"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "not valid JSON|expected a whole number"),
        (b'{"schema": 1', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "no edgeosr manifest: it has no field .schema.; name a bundle that edgeosr export made"),
        (b'{"name": "a"}', "no edgeosr manifest: it has no field .schema.; name a bundle that edgeosr"),
    ],
)
def test_text_that_is_not_strict_json_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        parse_manifest(text)
