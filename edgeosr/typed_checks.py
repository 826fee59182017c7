"""Reads the typed half of a manifest: ``backbone`` and ``engines``, field by field."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeosr.checked_json import JsonNode
from edgeosr.typed_records import (
    BUILDERS,
    DTYPES,
    ENDINGS,
    PRECISIONS,
    BackboneRecord,
    EngineRecord,
    GateRecord,
)

if TYPE_CHECKING:
    from edgeosr.manifest import FusionRecord, ThresholdRecord

MOST_ENGINES = 64
LARGEST_BATCH = 1024
ENGINE_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.plan")
TARGET = re.compile(r"sm_\d{2,3}")
_LARGEST = 2**53


def parse_backbone(
    node: JsonNode,
    fusion: "Callable[[JsonNode], FusionRecord]",
    threshold: "Callable[[JsonNode], ThresholdRecord]",
) -> BackboneRecord:
    """Check the object of ``backbone``; ``fusion`` and ``threshold`` check theirs."""
    field = node.fields(BackboneRecord.__dataclass_fields__)
    own_fusion, own_threshold = field["fusion"], field["threshold"]
    if own_fusion.is_null != own_threshold.is_null:
        own_threshold.fail("a fusion with a threshold of its own, or neither")
    return BackboneRecord(
        precision=field["precision"].choice(PRECISIONS),
        ending=field["ending"].choice(ENDINGS),
        logits=field["logits"].truth(),
        dtype=field["dtype"].choice(DTYPES),
        converter=field["converter"].text(),
        fusion=None if own_fusion.is_null else fusion(own_fusion),
        threshold=None if own_threshold.is_null else threshold(own_threshold),
        gate=_gate(field["gate"]),
    )


def _gate(node: JsonNode) -> GateRecord:
    field = node.fields(GateRecord.__dataclass_fields__)
    median, largest = (item.number(0) for item in field["score_distance"].items(2, 2))
    auroc = None
    if not field["auroc"].is_null:
        before, after = (item.number(0, 1) for item in field["auroc"].items(2, 2))
        auroc = (before, after)
    return GateRecord(
        known=field["known"].integer(1, _LARGEST),
        unknown=field["unknown"].integer(0, _LARGEST),
        ties=field["ties"].integer(0, _LARGEST),
        agreement=field["agreement"].number(0, 1),
        labels=field["labels"].number(0, 1),
        decisions=field["decisions"].number(0, 1),
        minimum=field["minimum"].number(0, 1),
        score_distance=(median, largest),
        auroc=auroc,
        recalibrated=field["recalibrated"].truth(),
    )


def parse_engines(
    node: JsonNode, sha256: "Callable[[JsonNode], str]", time: "Callable[[JsonNode], str]"
) -> tuple[EngineRecord, ...]:
    """Check the list of ``engines``; ``sha256`` and ``time`` check a hash and a time."""
    records = tuple(_engine(item, sha256, time) for item in node.items(0, MOST_ENGINES))
    names = [record.file for record in records]
    if len(set(names)) < len(names):
        node.fail("engines of different names")
    return records


def _engine(
    node: JsonNode, sha256: "Callable[[JsonNode], str]", time: "Callable[[JsonNode], str]"
) -> EngineRecord:
    field = node.fields(EngineRecord.__dataclass_fields__)
    least, best, most = (item.integer(1, LARGEST_BATCH) for item in field["batch"].items(3, 3))
    if not least <= best <= most:
        field["batch"].fail("[least, optimal, largest] in this order")
    height, width = (item.integer(1, 65536) for item in field["frame"].items(2, 2))
    return EngineRecord(
        # The name becomes a path: no separators, no leading dot.
        file=_matching(field["file"], ENGINE_FILE, "a plain file name that ends in .plan"),
        sha256=sha256(field["sha256"]),
        bytes=field["bytes"].integer(1, 2**40),
        builder=field["builder"].choice(BUILDERS),
        version=field["version"].text(),
        device=field["device"].text(empty=True),
        targets=tuple(
            _matching(item, TARGET, "an architecture such as sm_87") for item in field["targets"].items(1, 32)
        ),
        precision=field["precision"].choice(PRECISIONS),
        batch=(least, best, most),
        frame=(height, width),
        backbone=sha256(field["backbone"]),
        created=time(field["created"]),
        seconds=field["seconds"].number(0),
    )


def _matching(node: JsonNode, pattern: "re.Pattern[str]", expected: str) -> str:
    text = node.text()
    if not pattern.fullmatch(text):
        node.fail(expected)
    return text
