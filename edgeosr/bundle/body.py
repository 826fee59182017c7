"""``body.onnx``, the network between the ends for OpenVINO: the record with its gate, and its reader."""

from dataclasses import asdict, dataclass
from typing import Any

from edgeosr.bundle.backbone import ENDINGS, GateRecord, gate_from_json, outputs_of, own_calibration
from edgeosr.bundle.checked_json import JsonNode
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.thresholds import Threshold

F32, BF16, INT8 = BODY_PRECISIONS = ("f32", "bf16", "int8")


@dataclass(frozen=True, kw_only=True)
class BodyRecord:
    """``body.onnx``: ``pixels`` in, float32; what the tail of ``model.onnx`` scores out, float32.

    Attributes:
        precision: that the gate was passed in: ``f32``, ``bf16`` (the file is float32, OpenVINO computes in
            bf16), or ``int8`` (Q/DQ pairs, the rest float32).
        ending, logits: what it gives, as of ``BackboneRecord``.
        converter: what made it, and what ran it at the gate, with versions, in words.
        processor: that the gate ran on, by its own name.
        fusion, threshold: fitted on this body (``--recalibrate``); None: the bundle's own.
        gate: its decisions against those of ``model.onnx``, both ends included.
    """

    precision: str
    ending: str
    logits: bool
    converter: str
    processor: str
    fusion: Fusion | None
    threshold: Threshold | None
    gate: GateRecord

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return outputs_of(self.ending, logits=self.logits)

    def as_json(self) -> dict[str, Any]:
        """Return plain values, as ``body_from_json`` reads them."""
        values = asdict(self)
        if self.threshold is not None:
            del values["threshold"]["by_class"]  # there is one for all
        return values

    def described(self) -> str:
        """Return one line for people."""
        return f"{self.precision}, for OpenVINO, ends at {' and '.join(self.outputs)}"


def body_from_json(node: JsonNode) -> BodyRecord:
    """Check the object of ``body``."""
    field = node.fields(BodyRecord.__dataclass_fields__)
    fusion, threshold = own_calibration(field)
    return BodyRecord(
        precision=field["precision"].choice(BODY_PRECISIONS),
        ending=field["ending"].choice(ENDINGS),
        logits=field["logits"].truth(),
        converter=field["converter"].text(),
        processor=field["processor"].text(),
        fusion=fusion,
        threshold=threshold,
        gate=gate_from_json(field["gate"]),
    )
