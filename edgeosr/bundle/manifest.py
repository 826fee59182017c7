"""The bundle's manifest: what the classifier knows, how it was calibrated, and the hash of every file.

Every field is checked by hand when it is read; an error names it, what was expected and what came.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from edgeosr import __version__
from edgeosr.bundle.backbone import BackboneRecord, backbone_from_json
from edgeosr.bundle.body import BodyRecord, body_from_json
from edgeosr.bundle.calibration import fusion_from_json, threshold_from_json
from edgeosr.bundle.checked_json import LARGEST, JsonNode, parse_json, parse_time
from edgeosr.bundle.data import DataRecord, OutliersRecord, data_from_json, outliers_from_json
from edgeosr.bundle.digest import DIGEST, manifest_with_digest, require_digest
from edgeosr.bundle.engines import EngineRecord, engines_from_json
from edgeosr.bundle.left_out import LeftOutRecord, left_out_from_json
from edgeosr.bundle.network import (
    DiscriminatorRecord,
    EmbeddingRecord,
    HeadRecord,
    JacobianRecord,
    discriminator_from_json,
    embedding_from_json,
    head_from_json,
    jacobian_from_json,
)
from edgeosr.bundle.preprocessing import preprocessing_from_json
from edgeosr.errors import BundleError
from edgeosr.preprocessing import LARGEST_FRAME, LARGEST_SIDE, Preprocessing
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.parts import unknown_parts
from edgeosr.scoring.thresholds import Threshold

# Of this file. A bundle with one threshold is written as schema 5, which older versions read; one with a
# threshold a class as schema 6, and one with a body for OpenVINO as schema 7, which they refuse by their
# numbers. Others are refused here: an older one is exported again.
SCHEMAS = SCHEMA, CLASS_SCHEMA, BODY_SCHEMA = (5, 6, 7)
# Every file a bundle holds beside manifest.json; all are required. Engines are read one by one.
FILE_NAMES = ("model.onnx", "scorer.npz", "golden.npz")
BACKBONE = "backbone.onnx"
BODY = "body.onnx"
# Bytes; a file that is larger is refused unread, and not written.
LARGEST_FILES = {
    "model.onnx": 1 << 29,
    BACKBONE: 1 << 29,
    BODY: 1 << 29,
    "scorer.npz": 1 << 28,
    "golden.npz": 8_000_000,
}


@dataclass(frozen=True)
class FileRecord:
    """``sha256``: 64 lower-case hexadecimal digits; ``bytes``: size."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a bundle but its tensors.

    Attributes:
        name: the bundle's name.
        edgeosr: version that made it.
        created: when, ISO 8601 with time zone.
        classes: class names by label.
        preprocessing: from frame to network input; it is inside the graph.
        frame: (height, width) of the only frames taken, None for any size.
        embedding, jacobian, head, discriminator, fusion, threshold, data, outliers: see their classes.
            ``fusion`` lists the bundle's score parts.
        training: the run's settings as plain values, None for a wrapped classifier.
        files: by name; empty until ``write_bundle`` fills it.
        versions: of packages it was made with, by package.
        left_out: what left-out classes said about the parts; None where no fold was tried.
        backbone: the backbone in an engine's precision; None for a bundle without one.
        engines: plans built from it.
        body: the network between the ends for OpenVINO; None for a bundle without one.
    """

    name: str
    edgeosr: str
    created: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    frame: tuple[int, int] | None
    embedding: EmbeddingRecord
    jacobian: JacobianRecord
    head: HeadRecord
    discriminator: DiscriminatorRecord | None
    fusion: Fusion
    threshold: Threshold
    data: DataRecord
    outliers: OutliersRecord | None
    training: dict[str, Any] | None
    files: dict[str, FileRecord]
    versions: dict[str, str]
    left_out: LeftOutRecord | None = None
    backbone: BackboneRecord | None = None
    engines: tuple[EngineRecord, ...] = ()
    body: BodyRecord | None = None

    def __post_init__(self) -> None:
        assert self.backbone is not None or not self.engines, "engines without a backbone"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the bundle's score parts, in the order of every verdict's values."""
        return self.fusion.parts

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files beside manifest.json, engines apart."""
        return _file_names(backbone=self.backbone is not None, body=self.body is not None)

    def as_json(self) -> dict[str, Any]:
        """Return plain values, ``schema`` first, as ``manifest.json`` holds them."""
        own = {
            "preprocessing": self.preprocessing.as_json(),
            "jacobian": self.jacobian.as_json(),
            "data": self.data.as_json(),
        }
        if self.backbone is not None:
            own["backbone"] = self.backbone.as_json()
        if self.body is not None:
            own["body"] = self.body.as_json()
        plain: dict[str, Any] = {"schema": self.schema, **asdict(self), **own}
        if self.body is None:
            del plain["body"]  # schemas 5 and 6 do not know it
        for record in (plain["threshold"], (plain["backbone"] or {}).get("threshold")):
            if record and not record["by_class"]:
                del record["by_class"]  # schema 5 does not know it
        return plain

    @property
    def schema(self) -> int:
        """The oldest schema that can say all this."""
        if self.body is not None:
            return BODY_SCHEMA
        own = None if self.backbone is None else self.backbone.threshold
        by_class = self.threshold.by_class or (own and own.by_class)
        return CLASS_SCHEMA if by_class else SCHEMA

    @property
    def created_at(self) -> datetime:
        """``created`` as an aware time."""
        return parse_time(self.created)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the manifest as UTF-8 JSON with its digest; ValueError for a NaN or an infinity in it."""
    return manifest_with_digest(manifest.as_json())


def parse_manifest(data: bytes, document: str = "manifest.json") -> Manifest:
    """Check a manifest field by field.

    Args:
        data: the bytes of ``manifest.json``.
        document: what to call it in messages.

    Raises:
        BundleError: it is not strict JSON, was made by an older or newer edgeosr, a field is missing,
            unknown or of the wrong type or range (the message names it), or it is not that of its digest.
    """
    root = parse_json(data, document, BundleError, then="export the bundle again, or copy it again")
    schema = _read_schema(root, document)
    names = [name for name in Manifest.__dataclass_fields__ if name != "body" or schema == BODY_SCHEMA]
    # Bundles of before 2026-11-27 have no digest.
    field = root.fields(("schema", *names, *((DIGEST,) if DIGEST in root.entries() else ())))
    classes = field["classes"].class_names(FILE_LIMITS.classes)
    training = field["training"]
    if not training.is_null:
        training.entries()
    by_class = len(classes) if schema >= CLASS_SCHEMA else None
    backbone = None if field["backbone"].is_null else backbone_from_json(field["backbone"], by_class)
    engines = engines_from_json(field["engines"])
    if engines and backbone is None:
        field["engines"].fail("an empty list, for there is no backbone")
    fusion = fusion_from_json(field["fusion"])
    _require_known_parts(fusion, field["edgeosr"].text(), document)
    if backbone is not None and backbone.fusion is not None and backbone.fusion.parts != fusion.parts:
        field["backbone"].field("fusion").field("parts").fail(
            f"the bundle's parts, {', '.join(fusion.parts)}"
        )
    body = body_from_json(field["body"]) if "body" in field else None
    if body is not None and body.fusion is not None and body.fusion.parts != fusion.parts:
        field["body"].field("fusion").field("parts").fail(f"the bundle's parts, {', '.join(fusion.parts)}")
    embedding, images = embedding_from_json(field["embedding"]), data_from_json(field["data"])
    if set(images.known) != set(classes):
        field["data"].field("known").fail("the names of classes, in any order")
    discriminator = None
    if not field["discriminator"].is_null:
        discriminator = discriminator_from_json(field["discriminator"])
        if discriminator.layers[0] != embedding.dimension:
            field["discriminator"].field("layers").fail(f"layers that begin at {embedding.dimension}")
    checked = Manifest(
        name=field["name"].text(),
        edgeosr=field["edgeosr"].text(),
        created=field["created"].time(),
        classes=classes,
        preprocessing=preprocessing_from_json(field["preprocessing"]),
        frame=None if field["frame"].is_null else _frame(field["frame"]),
        embedding=embedding,
        jacobian=jacobian_from_json(field["jacobian"]),
        head=head_from_json(field["head"]),
        discriminator=discriminator,
        fusion=fusion,
        left_out=None if field["left_out"].is_null else left_out_from_json(field["left_out"], classes),
        threshold=threshold_from_json(field["threshold"], by_class),
        data=images,
        outliers=None if field["outliers"].is_null else outliers_from_json(field["outliers"]),
        training=training.value,
        files=_files(field["files"], _file_names(backbone=backbone is not None, body=body is not None)),
        backbone=backbone,
        body=body,
        engines=engines,
        versions={name: node.text() for name, node in field["versions"].entries().items()},
    )
    if DIGEST in field:  # last: what is wrong with a field says more
        require_digest(data, field[DIGEST], document)
    return checked


# There is no package of that name on any index to take it from.
UPGRADE = "upgrade this one from where it came, a clone with: git pull"


def _read_schema(root: JsonNode, document: str) -> int:
    if not isinstance(root.value, dict) or "schema" not in root.value:
        raise BundleError(
            f"{document} is no edgeosr manifest: it has no field 'schema'; name a bundle that edgeosr export "
            "made"
        )
    schema = root.field("schema").integer(1, LARGEST)
    if schema in SCHEMAS:
        return schema
    maker = root.value.get("edgeosr")
    made = f"made by {'a newer' if schema > max(SCHEMAS) else 'an older'} edgeosr"
    if maker == __version__:
        made = f"made {'after' if schema > max(SCHEMAS) else 'before'} this state of edgeosr"
    made += f" ({maker[:40]})" if isinstance(maker, str) else ""
    advice = (
        UPGRADE
        if schema > max(SCHEMAS)
        else "export the classifier again: edgeosr export RUN, or edgeosr export MODEL.onnx --data FOLDER"
    )
    raise BundleError(
        f"{document} has schema {schema}, {made}; this one ({__version__}) reads schema "
        f"{' and '.join(map(str, SCHEMAS))}; {advice}"
    )


def _require_known_parts(fusion: Fusion, maker: str, document: str) -> None:
    names = unknown_parts(fusion.parts)
    if names:
        raise BundleError(
            f"{document} lists score parts that this edgeosr ({__version__}) does not know: "
            f"{', '.join(names)}; it was made by edgeosr {maker}; {UPGRADE}"
        )


def _frame(node: JsonNode) -> tuple[int, int]:
    height, width = (item.integer(1, LARGEST_SIDE) for item in node.items(2, 2))
    if height * width > LARGEST_FRAME:
        node.fail(f"a frame of at most {LARGEST_FRAME} pixels")
    return height, width


def _file_names(*, backbone: bool, body: bool) -> tuple[str, ...]:
    return (*FILE_NAMES, *((BACKBONE,) if backbone else ()), *((BODY,) if body else ()))


def _files(node: JsonNode, names: tuple[str, ...]) -> dict[str, FileRecord]:
    # Names come from a fixed list, so that no path of the manifest's choosing is ever opened.
    entries = node.fields(names)
    records = {}
    for name in names:
        field = entries[name].fields(FileRecord.__dataclass_fields__)
        records[name] = FileRecord(field["sha256"].sha256(), field["bytes"].integer(1, LARGEST_FILES[name]))
    return records
