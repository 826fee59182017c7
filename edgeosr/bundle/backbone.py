"""``backbone.onnx``, the graph in an engine's precision, and its gate: the records, and their readers."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeosr.bundle.calibration import fusion_from_json, threshold_from_json
from edgeosr.bundle.checked_json import LARGEST, JsonNode
from edgeosr.bundle.tensors import EMBEDDING, LOGITS, MAP, TANGENTS
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.thresholds import Threshold

PRECISIONS = ("fp32", "fp16", "int8")
# What backbone.onnx ends at, called after its last tensor, and the names of its outputs; LOGITS comes behind
# for an external head.
ENDINGS = {MAP: (MAP,), TANGENTS: (EMBEDDING, TANGENTS), EMBEDDING: (EMBEDDING,)}
DTYPES = ("float16", "float32")
# A single difference that would come more often than this of a graph that is as good as asked shows nothing.
BY_CHANCE = 0.05
# Fields of a gate that older bundles do not have.
_LATER = ("known_agreement", "unknown_agreement", "unknown_from")
# Where the unknown images of the gate come from, as it is said.
OUTLIERS, MADE, BOTH = UNKNOWN_FROM = (
    "real outliers",
    "made of known ones",
    "real outliers, and made of known ones",
)


@dataclass(frozen=True, kw_only=True)
class GateRecord:
    """The decision gate: the typed graph against ``model.onnx``, image by image, on the CPU.

    Attributes:
        known, unknown: images compared, of the known select and calibrate parts, and unknown ones.
        unknown_from: what the unknown ones are, one of ``UNKNOWN_FROM``: real open validation images, images
            made of known ones, or both.
        ties: images left out, for their score in ``model.onnx`` is the threshold itself.
        agreement: share of them with the same decision: the same class, or "unknown" from both; 0 to 1.
        known_agreement, unknown_agreement: likewise of the known and of the unknown ones; None in the records
            of older bundles, and without such images.
        labels, decisions: share with the same nearest class; with the same accept/reject.
        minimum: ``known_agreement`` and ``unknown_agreement`` that was demanded, 0 to 1; in the records of
            older bundles ``agreement``.
        score_distance: (median, largest) distance between the two scores.
        auroc: (model.onnx, typed) known against real open validation images; None without such images.
        recalibrated: fusion and threshold of the typed graph were fitted on it.
    """

    known: int
    unknown: int
    ties: int
    agreement: float
    labels: float
    decisions: float
    minimum: float
    score_distance: tuple[float, float]
    auroc: tuple[float, float] | None
    recalibrated: bool
    known_agreement: float | None = None
    unknown_agreement: float | None = None
    unknown_from: str = OUTLIERS

    @property
    def passed(self) -> bool:
        """The decisions agree on enough of the known images, and on enough of the unknown ones.

        Where the images are so few that the minimum lets less than one of them differ, one of both sides
        together may: it would differ more often than in ``BY_CHANCE`` of all exports of a graph that is
        exactly as good as asked.
        """
        sides = self._sides()
        if all(share >= self.minimum for share, _ in sides):
            return True
        differing = [(_differing(share, count), count) for share, count in sides if share < self.minimum]
        return len(differing) == 1 and differing[0][0] == 1 and self._one_shows_nothing(differing[0][1])

    def _sides(self) -> list[tuple[float, int]]:
        """Return (agreement, images) of known and unknown ones, or of both together in an older bundle."""
        sides = ((self.known_agreement, self.known), (self.unknown_agreement, self.unknown))
        told = [(share, count) for share, count in sides if share is not None]
        return told or [(self.agreement, self.known + self.unknown)]

    def _one_shows_nothing(self, count: int) -> bool:
        return self.minimum**count < 1 - BY_CHANCE

    def let_through(self) -> str:
        """Return a sentence if an image that differs was let through because there are so few; else nothing.

        Else fewer than 200 images could not pass 99.5 % but without any difference.
        """
        if not self.passed or all(share >= self.minimum for share, _ in self._sides()):
            return ""
        return (
            f"; one that differs of so few shows no more than chance: to prove {self.minimum:.1%} takes "
            f"{images_needed(self.minimum)} known and as many unknown images"
        )

    def agreements(self) -> str:
        """Return on what share of which images the two decide alike, for the middle of a sentence."""
        if self.known_agreement is None and self.unknown_agreement is None:
            return f"{self.agreement:.2%} of {self.known + self.unknown} validation images"
        sides = (
            (self.known_agreement, self.known, "known"),
            (self.unknown_agreement, self.unknown, "unknown"),
        )
        said = [f"{share:.2%} of {count} {kind}" for share, count, kind in sides if share is not None]
        made = "" if self.unknown_from == OUTLIERS or not self.unknown else f" ({self.unknown_from})"
        return f"{' and '.join(said)} images{made}"

    def described(self) -> str:
        """Return one line for people."""
        areas = "" if self.auroc is None else f", AUROC {self.auroc[0]:.4f} -> {self.auroc[1]:.4f}"
        median, largest = self.score_distance
        return (
            f"decides like model.onnx on {self.agreements()}; {self.minimum:.1%} demanded of each"
            f"{self.let_through()}"
            f"{', recalibrated' if self.recalibrated else ''}; scores "
            f"differ by {median:.2g} (median), {largest:.2g} (most){areas}; compared on the CPU"
        )


def images_needed(minimum: float) -> int:
    """Return with how many images one that is decided otherwise is within a minimum below 1."""
    return math.ceil(1 / (1 - minimum) - 1e-9)


def _differing(share: float, count: int) -> int:
    return round((1 - share) * count)


@dataclass(frozen=True, kw_only=True)
class BackboneRecord:
    """``backbone.onnx``: uint8 frames ``[B, H, W, 3]`` (RGB) in, what the fused kernel takes out.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8`` (explicit Q/DQ, the rest fp16).
        ending: ``map`` (y before the last activation, ``[B, D, H', W']``), ``tangents`` (z ``[B, D]`` and
            t ``[K, B, D]``) or ``embedding`` (z alone); see ``ENDINGS``.
        logits: the graph computes the logits ``[B, C]`` too, float32 (external head).
        dtype: of map, embedding and tangents.
        converter: what typed it, with its version, in words.
        fusion, threshold: fitted on the typed graph (``--recalibrate``); None: the bundle's own. What
            scorer.npz holds is these.
        gate: its decisions against those of ``model.onnx``.
    """

    precision: str
    ending: str
    logits: bool
    dtype: str
    converter: str
    fusion: Fusion | None
    threshold: Threshold | None
    gate: GateRecord

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return outputs_of(self.ending, logits=self.logits)

    def as_json(self) -> dict[str, Any]:
        """Return plain values, as ``backbone_from_json`` reads them; an older gate stays as it was."""
        values = asdict(self)
        if self.gate.known_agreement is None and self.gate.unknown_agreement is None:
            values["gate"] = {key: value for key, value in values["gate"].items() if key not in _LATER}
        return values

    def described(self) -> str:
        """Return one line for people."""
        return f"{self.precision}, ends at {' and '.join(self.outputs)} ({self.dtype})"


def backbone_from_json(node: JsonNode, by_class: int | None = None) -> BackboneRecord:
    """Check the object of ``backbone``; ``by_class``: see ``threshold_from_json``."""
    field = node.fields(BackboneRecord.__dataclass_fields__)
    fusion, threshold = own_calibration(field, by_class)
    return BackboneRecord(
        precision=field["precision"].choice(PRECISIONS),
        ending=field["ending"].choice(ENDINGS),
        logits=field["logits"].truth(),
        dtype=field["dtype"].choice(DTYPES),
        converter=field["converter"].text(),
        fusion=fusion,
        threshold=threshold,
        gate=gate_from_json(field["gate"]),
    )


def outputs_of(ending: str, *, logits: bool) -> tuple[str, ...]:
    """Return the names of a graph's outputs in order; ``ending``: one of ``ENDINGS``."""
    return (*ENDINGS[ending], *((LOGITS,) if logits else ()))


def own_calibration(
    field: Mapping[str, JsonNode], by_class: int | None = None
) -> tuple[Fusion | None, Threshold | None]:
    """Check a record's ``fusion`` and ``threshold``, fitted on its graph; None for the bundle's."""
    fusion, threshold = field["fusion"], field["threshold"]
    if fusion.is_null != threshold.is_null:
        threshold.fail("a fusion with a threshold of its own, or neither")
    if fusion.is_null:
        return None, None
    return fusion_from_json(fusion), threshold_from_json(threshold, by_class)


def gate_from_json(node: JsonNode) -> GateRecord:
    """Check the object that records the gate."""
    # A gate from before unknown images were told apart has no figures of them.
    names = GateRecord.__dataclass_fields__
    field = node.fields(name for name in names if name not in _LATER or name in node.entries())
    sides: dict[str, float | None] = {
        name: field[name].number(0, 1) if name in field and not field[name].is_null else None
        for name in ("known_agreement", "unknown_agreement")
    }
    median, largest = (item.number(0) for item in field["score_distance"].items(2, 2))
    auroc = None
    if not field["auroc"].is_null:
        before, after = (item.number(0, 1) for item in field["auroc"].items(2, 2))
        auroc = (before, after)
    return GateRecord(
        known=field["known"].integer(1, LARGEST),
        unknown=field["unknown"].integer(0, LARGEST),
        ties=field["ties"].integer(0, LARGEST),
        agreement=field["agreement"].number(0, 1),
        labels=field["labels"].number(0, 1),
        decisions=field["decisions"].number(0, 1),
        minimum=field["minimum"].number(0, 1),
        score_distance=(median, largest),
        auroc=auroc,
        recalibrated=field["recalibrated"].truth(),
        known_agreement=sides["known_agreement"],
        unknown_agreement=sides["unknown_agreement"],
        unknown_from=field["unknown_from"].choice(UNKNOWN_FROM) if "unknown_from" in field else OUTLIERS,
    )
