"""The TensorRT plans built from the backbone: the record, and its reader."""

from dataclasses import dataclass

from edgeosr.bundle.backbone import PRECISIONS
from edgeosr.bundle.checked_json import JsonNode
from edgeosr.preprocessing import LARGEST_FRAME, LARGEST_SIDE

BUILDERS = ("tensorrt", "tensorrt_rtx")
MOST_ENGINES = 64
LARGEST_PLAN = 1 << 31  # bytes
LARGEST_BATCH = 1024
ENGINE_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.plan"
TARGET = r"sm_[0-9]{2,3}"


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """A plan under ``engines/``: a pure TensorRT plan, which other tools load too.

    Attributes:
        file: its name there.
        sha256, bytes: of the file.
        builder: ``tensorrt`` or ``tensorrt_rtx``.
        version: of the builder, e.g. ``10.3.0``.
        device: name of the GPU it was built on and for; empty for tensorrt_rtx.
        targets: architectures it runs on, e.g. ``("sm_87",)``.
        precision: of the backbone it was built from.
        batch: (least, optimal, largest) batch of its profile.
        frame: (height, width) of the frames it takes, pixels.
        backbone: SHA-256 of that backbone.
        created: when, ISO 8601 with time zone.
        seconds: the build took.
    """

    file: str
    sha256: str
    bytes: int
    builder: str
    version: str
    device: str
    targets: tuple[str, ...]
    precision: str
    batch: tuple[int, int, int]
    frame: tuple[int, int]
    backbone: str
    created: str
    seconds: float


def engines_from_json(node: JsonNode) -> tuple[EngineRecord, ...]:
    """Check the list of ``engines``."""
    records = tuple(_engine(item) for item in node.items(0, MOST_ENGINES))
    names = [record.file for record in records]
    if len(set(names)) < len(names):
        node.fail("engines of different names")
    return records


def _engine(node: JsonNode) -> EngineRecord:
    field = node.fields(EngineRecord.__dataclass_fields__)
    least, best, most = (item.integer(1, LARGEST_BATCH) for item in field["batch"].items(3, 3))
    if not least <= best <= most:
        field["batch"].fail("[least, optimal, largest] in this order")
    height, width = (item.integer(1, LARGEST_SIDE) for item in field["frame"].items(2, 2))
    if height * width > LARGEST_FRAME:
        field["frame"].fail(f"a frame of at most {LARGEST_FRAME} pixels")
    return EngineRecord(
        # The name becomes a path: no separators, no leading dot.
        file=field["file"].matching(ENGINE_FILE, "a plain file name that ends in .plan"),
        sha256=field["sha256"].sha256(),
        bytes=field["bytes"].integer(1, LARGEST_PLAN),
        builder=field["builder"].choice(BUILDERS),
        version=field["version"].text(),
        device=field["device"].text(empty=True),
        targets=tuple(
            item.matching(TARGET, "an architecture such as sm_87") for item in field["targets"].items(1, 32)
        ),
        precision=field["precision"].choice(PRECISIONS),
        batch=(least, best, most),
        frame=(height, width),
        backbone=field["backbone"].sha256(),
        created=field["created"].time(),
        seconds=field["seconds"].number(0),
    )
