"""The bundle's manifest: what the classifier knows, how it was calibrated, and the hash of every file.

``edgeosr.manifest_checks`` reads it back, field by field.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from edgeosr.preprocessing import Preprocessing
from edgeosr.typed_records import BackboneRecord, EngineRecord

# The newest schema there is. A manifest says the oldest that can hold it, so that an older edgeosr on a
# device goes on reading what it knows: 1, 2 for a bundle with probes (``jacobian.probes``), 3 for one with
# a typed backbone (``backbone``, ``engines``).
SCHEMA = 3
PROBES_SINCE = 2
BACKBONE_SINCE = 3
PROBE_FAMILIES = ("random", "dct", "principal")
# Every file a bundle holds beside manifest.json; all are required. Engines are read one by one.
FILE_NAMES = ("model.onnx", "scorer.npz", "golden.npz")
BACKBONE = "backbone.onnx"


@dataclass(frozen=True)
class EmbeddingRecord:
    """``dimension``: length D of the embedding z."""

    dimension: int


@dataclass(frozen=True)
class ProbesRecord:
    """The directions v_k along which J_u = |du/dh|_F is probed, u = z / |z|.

    Attributes:
        cut: which h was asked for: ``input``, ``last-stage``, ``last-conv`` or a tensor's name.
        tensor: name of h in the classifier's graph.
        family: ``random``, ``dct`` or ``principal``.
        K: number of directions.
        n: size of one sample's h; J_u^2 = n / K times the sum over the K directions.
        seed: of the directions.
        errors: how K was chosen: (K tried, standard error of log J_u between disjoint sets of K directions
            as a share of its spread over known select images), in the order tried; empty if K was given.
        largest_error: the share that K had to stay below; None if K was given.
    """

    cut: str
    tensor: str
    family: str
    K: int
    n: int
    seed: int
    errors: tuple[tuple[int, float], ...] = ()
    largest_error: float | None = None


@dataclass(frozen=True)
class JacobianRecord:
    """Which Jacobian norm the graph computes.

    Attributes:
        method: ``closed-form``, ``probes``, or ``none`` (J is then 1 and its part carries nothing).
        kind: ``J_z`` = |dz/dh|_F / |z|, or ``J_u`` = |du/dh|_F with u = z / |z|.
        with_respect_to: what h is, in words; may be empty for ``none``.
        probes: for the method ``probes`` only.
    """

    method: str
    kind: str
    with_respect_to: str
    probes: ProbesRecord | None = None

    @property
    def schema(self) -> int:
        """The oldest schema of a manifest that can hold this record."""
        return 1 if self.probes is None else PROBES_SINCE


@dataclass(frozen=True)
class HeadRecord:
    """The head.

    Attributes:
        kind: cosine, linear or external (the graph's own).
        temperature: T of the m-OvR loss.
        margin: m of the m-OvR loss, radians.
    """

    kind: str
    temperature: float
    margin: float


@dataclass(frozen=True)
class DiscriminatorRecord:
    """``layers``: sizes from input to output; ``selected_by``: what chose its epoch, in words."""

    layers: tuple[int, ...]
    selected_by: str


@dataclass(frozen=True)
class FusionRecord:
    """Score = sum of weights * (parts - means) / stds, ``PART_NAMES`` order; ``note``: how fitted."""

    means: tuple[float, ...]
    stds: tuple[float, ...]
    weights: tuple[float, ...]
    note: str


@dataclass(frozen=True)
class ThresholdRecord:
    """The calibrated threshold.

    Attributes:
        value: accept if score <= value.
        target_false_reject_rate: stated share of known images that may be rejected, 0 < value < 1.
        interval: the false-reject rate lies in it at ``confidence``.
        confidence: 0 < value < 1.
        groups: independent groups it was calibrated on (frames of one track are one group).
        images: images in these groups.
        method: in words.
    """

    value: float
    target_false_reject_rate: float
    interval: tuple[float, float]
    confidence: float
    groups: int
    images: int
    method: str


@dataclass(frozen=True)
class DataRecord:
    """The images behind the bundle and how they were cut into parts.

    Attributes:
        source: path or name as the user gave it.
        title: what it is, for reports.
        known, unknown: class names trained on, and held out.
        split: number of the published or own split, None if classes were named.
        seed: of the cut into parts.
        fractions: shares of train, select, calibrate.
        per_group: most images kept of one group, None for all.
        test_fraction: share held out for test where there is no official test.
        digests: SHA-256 of each part's (name, label) list, by part.
        sizes: (images, groups) by part.
    """

    source: str
    title: str
    known: tuple[str, ...]
    unknown: tuple[str, ...]
    split: int | None
    seed: int
    fractions: tuple[float, float, float]
    per_group: int | None
    test_fraction: float
    digests: dict[str, str]
    sizes: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class OutliersRecord:
    """Real outliers used in training: ``source``, and images used in ``train`` and ``select``."""

    source: str
    train: int
    select: int


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
        parts: names of the score parts the bundle carries, in ``PART_NAMES`` order.
        training: the run's settings as plain values, None for a wrapped classifier.
        files: by name; empty until ``write_bundle`` fills it.
        versions: of packages it was made with, by package.
        backbone: the typed backbone for engines; None for a bundle without one.
        engines: plans built from it.
        schema: of this file; at least ``jacobian.schema``.
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
    parts: tuple[str, ...]
    fusion: FusionRecord
    threshold: ThresholdRecord
    data: DataRecord
    outliers: OutliersRecord | None
    training: dict[str, Any] | None
    files: dict[str, FileRecord]
    versions: dict[str, str]
    backbone: BackboneRecord | None = None
    engines: tuple[EngineRecord, ...] = ()
    schema: int = 1

    def __post_init__(self) -> None:
        assert self.jacobian.schema <= self.schema <= SCHEMA, (self.jacobian.schema, self.schema)
        assert self.backbone is None or self.schema >= BACKBONE_SINCE, self.schema
        assert self.backbone is not None or not self.engines, "engines without a backbone"

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files beside manifest.json, engines apart."""
        return (*FILE_NAMES, *((BACKBONE,) if self.backbone is not None else ()))

    def as_json(self) -> dict[str, Any]:
        """Return plain values, ``schema`` first, as ``manifest.json`` holds them."""
        plain = asdict(self)
        if self.schema < PROBES_SINCE:
            del plain["jacobian"]["probes"]
        if self.schema < BACKBONE_SINCE:
            del plain["backbone"], plain["engines"]
        return {"schema": plain.pop("schema"), **plain}

    @property
    def created_at(self) -> datetime:
        """``created`` as an aware time."""
        return parse_time(self.created)


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 time (UTC if it names no zone); ValueError if it is none."""
    # Python 3.10 does not read the Z.
    time = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the manifest as UTF-8 JSON; ValueError for a NaN or an infinity in it."""
    text = json.dumps(manifest.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")
