"""What a manifest says of the typed half of a bundle: the backbone for engines, its gate, built engines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeosr.manifest import FusionRecord, ThresholdRecord

PRECISIONS = ("fp32", "fp16", "int8")
# What backbone.onnx ends at, and the names of its outputs; "logits" comes behind for an external head.
ENDINGS = {
    "map": ("map",),
    "tangents": ("embedding", "tangents"),
    "embedding": ("embedding",),
}
DTYPES = ("float16", "float32")
BUILDERS = ("tensorrt", "tensorrt_rtx")


@dataclass(frozen=True, kw_only=True)
class GateRecord:
    """The decision gate: the typed graph against ``model.onnx``, image by image, on the CPU.

    Attributes:
        known, unknown: images compared, of the known select and calibrate parts and of the open validation
            set.
        ties: images left out, for their score in ``model.onnx`` is the threshold itself.
        agreement: share of them with the same decision: the same class, or "unknown" from both; 0 to 1.
        labels, decisions: share with the same nearest class; with the same accept/reject.
        minimum: ``agreement`` that was demanded, 0 to 1.
        score_distance: (median, largest) distance between the two scores.
        auroc: (model.onnx, typed) known against open validation images; None without such images.
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

    def described(self) -> str:
        """Return one line for people."""
        areas = "" if self.auroc is None else f", AUROC {self.auroc[0]:.4f} -> {self.auroc[1]:.4f}"
        median, largest = self.score_distance
        return (
            f"decides like model.onnx on {self.agreement:.2%} of {self.known + self.unknown} validation "
            f"images ({self.minimum:.1%} demanded{', recalibrated' if self.recalibrated else ''}); scores "
            f"differ by {median:.2g} (median), {largest:.2g} (most){areas}; compared on the CPU"
        )


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
    fusion: "FusionRecord | None"
    threshold: "ThresholdRecord | None"
    gate: GateRecord

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return (*ENDINGS[self.ending], *(("logits",) if self.logits else ()))

    def described(self) -> str:
        """Return one line for people."""
        return f"{self.precision}, ends at {' and '.join(self.outputs)} ({self.dtype})"


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
