"""Reads a manifest: every field checked by hand; an error names it, what was expected and what came."""

import math
import re

from edgeosr import __version__
from edgeosr.checked_json import JsonNode, parse_json
from edgeosr.errors import BundleError, UsageError
from edgeosr.manifest import (
    BACKBONE,
    BACKBONE_SINCE,
    FILE_NAMES,
    PROBE_FAMILIES,
    PROBES_SINCE,
    SCHEMA,
    DataRecord,
    DiscriminatorRecord,
    EmbeddingRecord,
    FileRecord,
    FusionRecord,
    HeadRecord,
    JacobianRecord,
    Manifest,
    OutliersRecord,
    ProbesRecord,
    ThresholdRecord,
    parse_time,
)
from edgeosr.preprocessing import COLORS, FITS, Preprocessing
from edgeosr.typed_checks import parse_backbone, parse_engines
from edgeosr.typed_records import BackboneRecord, EngineRecord
from edgeosr.verdict import PART_NAMES

# By method, the kind of norm; by schema, the methods there are.
JACOBIAN_KINDS = {"closed-form": "J_z", "none": "J_z", "probes": "J_u"}
HEAD_KINDS = ("cosine", "linear", "external")
_MOST_CLASSES = 65536
_LARGEST = 2**53


def parse_manifest(data: bytes, document: str = "manifest.json") -> Manifest:
    """Check a manifest field by field.

    Args:
        data: the bytes of ``manifest.json``.
        document: what to call it in messages.

    Raises:
        BundleError: it is not strict JSON, was made by a newer edgeosr, or a field is missing, unknown or
            of the wrong type or range; the message names the field.
    """
    root = parse_json(data, document, BundleError)
    if not isinstance(root.value, dict) or "schema" not in root.value:
        raise BundleError(f"{document} is no edgeosr manifest: it has no field 'schema'")
    schema = root.field("schema").integer(1, _LARGEST)
    if schema > SCHEMA:
        maker = root.value.get("edgeosr")
        raise BundleError(
            f"{document} has schema {schema}, made by a newer edgeosr"
            f"{f' ({maker[:40]})' if isinstance(maker, str) else ''}; "
            f"this one ({__version__}) reads schemas 1 to {SCHEMA}. "
            "Upgrade with: pip install -U edgeosr"
        )
    typed = ("backbone", "engines") if schema < BACKBONE_SINCE else ()
    field = root.fields(name for name in Manifest.__dataclass_fields__ if name not in typed)
    classes = field["classes"].texts()
    if not 1 <= len(classes) <= _MOST_CLASSES:
        field["classes"].fail(f"1 to {_MOST_CLASSES} class names")
    training = field["training"]
    if not training.is_null:
        training.entries()
    backbone: BackboneRecord | None = None
    engines: tuple[EngineRecord, ...] = ()
    if schema >= BACKBONE_SINCE:
        if not field["backbone"].is_null:
            backbone = parse_backbone(field["backbone"], _fusion, _threshold)
        engines = parse_engines(field["engines"], _sha256, _time)
        if engines and backbone is None:
            field["engines"].fail("an empty list, for there is no backbone")
    return Manifest(
        schema=schema,
        name=field["name"].text(),
        edgeosr=field["edgeosr"].text(),
        created=_time(field["created"]),
        classes=classes,
        preprocessing=parse_preprocessing(field["preprocessing"]),
        frame=None if field["frame"].is_null else _frame(field["frame"]),
        embedding=_embedding(field["embedding"]),
        jacobian=_jacobian(field["jacobian"], schema),
        head=_head(field["head"]),
        discriminator=None if field["discriminator"].is_null else _discriminator(field["discriminator"]),
        parts=_parts(field["parts"]),
        fusion=_fusion(field["fusion"]),
        threshold=_threshold(field["threshold"]),
        data=parse_data(field["data"]),
        outliers=None if field["outliers"].is_null else _outliers(field["outliers"]),
        training=training.value,
        files=_files(field["files"], (*FILE_NAMES, *((BACKBONE,) if backbone else ()))),
        backbone=backbone,
        engines=engines,
        versions={name: node.text() for name, node in field["versions"].entries().items()},
    )


def parse_preprocessing(node: JsonNode) -> Preprocessing:
    """Check a preprocessing object; raises the document's error."""
    field = node.fields(Preprocessing.__dataclass_fields__)
    mean, std = field["mean"].numbers(3), field["std"].numbers(3)
    try:
        return Preprocessing(
            height=field["height"].integer(1, 4096),
            width=field["width"].integer(1, 4096),
            fit=next(fit for fit in FITS if fit == field["fit"].choice(FITS)),
            crop_fraction=field["crop_fraction"].number(0, 1),
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
            color=next(color for color in COLORS if color == field["color"].choice(COLORS)),
        )
    except UsageError as error:
        node.fail(f"usable preprocessing ({error})")


def parse_data(node: JsonNode) -> DataRecord:
    """Check the object that records data and parts; raises the document's error."""
    field = node.fields(DataRecord.__dataclass_fields__)
    shares = [item.number(0, 1) for item in field["fractions"].items(3, 3)]
    sizes = {name: item.items(2, 2) for name, item in field["sizes"].entries().items()}
    return DataRecord(
        source=field["source"].text(),
        title=field["title"].text(empty=True),
        known=field["known"].texts(),
        unknown=field["unknown"].texts(),
        split=None if field["split"].is_null else field["split"].integer(0, _LARGEST),
        seed=field["seed"].integer(0, 2**64),
        fractions=(shares[0], shares[1], shares[2]),
        per_group=None if field["per_group"].is_null else field["per_group"].integer(1, _LARGEST),
        test_fraction=field["test_fraction"].number(0, 1),
        digests={name: _sha256(item) for name, item in field["digests"].entries().items()},
        sizes={
            name: (pair[0].integer(0, _LARGEST), pair[1].integer(0, _LARGEST)) for name, pair in sizes.items()
        },
    )


def _time(node: JsonNode) -> str:
    text = node.text()
    try:
        parse_time(text)
    except ValueError:
        node.fail("a time such as 2026-01-31T12:00:00Z")
    return text


def _frame(node: JsonNode) -> tuple[int, int]:
    height, width = (item.integer(1, 65536) for item in node.items(2, 2))
    return height, width


def _embedding(node: JsonNode) -> EmbeddingRecord:
    return EmbeddingRecord(node.fields(("dimension",))["dimension"].integer(1, 2**20))


def _jacobian(node: JsonNode, schema: int) -> JacobianRecord:
    knows_probes = schema >= PROBES_SINCE
    field = node.fields(
        name for name in JacobianRecord.__dataclass_fields__ if knows_probes or name != "probes"
    )
    method = field["method"].choice(name for name in JACOBIAN_KINDS if knows_probes or name != "probes")
    kind = field["kind"].choice((JACOBIAN_KINDS[method],))
    text = field["with_respect_to"].text(empty=method == "none")
    if method != "probes":
        if knows_probes and not field["probes"].is_null:
            field["probes"].fail(f"null for the method {method}")
        return JacobianRecord(method, kind, text)
    return JacobianRecord(method, kind, text, _probes(field["probes"]))


def _probes(node: JsonNode) -> ProbesRecord:
    field = node.fields(ProbesRecord.__dataclass_fields__)
    size = field["n"].integer(1, _LARGEST)
    pairs = [pair.items(2, 2) for pair in field["errors"].items(0, 64)]
    largest = field["largest_error"]
    return ProbesRecord(
        cut=field["cut"].text(),
        tensor=field["tensor"].text(),
        family=field["family"].choice(PROBE_FAMILIES),
        K=field["K"].integer(1, size),
        n=size,
        seed=field["seed"].integer(0, 2**64),
        errors=tuple((count.integer(1, size), error.number(0)) for count, error in pairs),
        largest_error=None if largest.is_null else largest.number(0),
    )


def _head(node: JsonNode) -> HeadRecord:
    field = node.fields(HeadRecord.__dataclass_fields__)
    temperature = field["temperature"].number()
    if temperature <= 0:
        field["temperature"].fail("a number above 0")
    return HeadRecord(field["kind"].choice(HEAD_KINDS), temperature, field["margin"].number(0, math.pi / 2))


def _discriminator(node: JsonNode) -> DiscriminatorRecord:
    field = node.fields(DiscriminatorRecord.__dataclass_fields__)
    layers = tuple(item.integer(1, 2**20) for item in field["layers"].items(2, 64))
    return DiscriminatorRecord(layers, field["selected_by"].text())


def _parts(node: JsonNode) -> tuple[str, ...]:
    names = node.texts()
    for item in node.items(1, len(PART_NAMES)):
        item.choice(PART_NAMES)
    return tuple(name for name in PART_NAMES if name in names)


def _fusion(node: JsonNode) -> FusionRecord:
    field = node.fields(FusionRecord.__dataclass_fields__)
    count = len(PART_NAMES)
    stds = field["stds"].numbers(count)
    for item, std in zip(field["stds"].items(), stds, strict=True):
        if std <= 0:
            item.fail("a number above 0")
    means, weights = field["means"].numbers(count), field["weights"].numbers(count)
    return FusionRecord(means, stds, weights, field["note"].text(empty=True))


def _threshold(node: JsonNode) -> ThresholdRecord:
    field = node.fields(ThresholdRecord.__dataclass_fields__)
    low, high = (item.number(0, 1) for item in field["interval"].items(2, 2))
    if low > high:
        field["interval"].fail("[low, high] with low <= high")
    rates = {name: field[name].number(0, 1) for name in ("target_false_reject_rate", "confidence")}
    for name, rate in rates.items():
        if rate in (0.0, 1.0):
            field[name].fail("a number between 0 and 1")
    return ThresholdRecord(
        value=field["value"].number(),
        target_false_reject_rate=rates["target_false_reject_rate"],
        interval=(low, high),
        confidence=rates["confidence"],
        groups=field["groups"].integer(1, _LARGEST),
        images=field["images"].integer(1, _LARGEST),
        method=field["method"].text(),
    )


def _outliers(node: JsonNode) -> OutliersRecord:
    field = node.fields(OutliersRecord.__dataclass_fields__)
    train, select = field["train"].integer(0, _LARGEST), field["select"].integer(0, _LARGEST)
    return OutliersRecord(field["source"].text(), train, select)


def _sha256(node: JsonNode) -> str:
    text = node.text()
    if not re.fullmatch("[0-9a-f]{64}", text):
        node.fail("a SHA-256 of 64 lower-case hexadecimal digits")
    return text


def _files(node: JsonNode, names: tuple[str, ...]) -> dict[str, FileRecord]:
    # Names come from a fixed list, so that no path of the manifest's choosing is ever opened.
    entries = node.fields(names)
    records = {}
    for name in names:
        field = entries[name].fields(FileRecord.__dataclass_fields__)
        records[name] = FileRecord(_sha256(field["sha256"]), field["bytes"].integer(1, 2**31))
    return records
