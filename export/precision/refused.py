"""What is said when the decision gate fails."""

import math
from collections.abc import Sequence
from pathlib import Path

from edgeosr.bundle.backbone import GateRecord, images_needed
from edgeosr.errors import DecisionGateError
from edgeosr.export.precision.gate import Gate
from edgeosr.export.precision.gate_picture import draw_gate
from edgeosr.export.settings import ExportSettings
from edgeosr.printed import printable

LISTED = 5


def require_passed(
    gate: Gate,
    classes: tuple[str, ...],
    precision: str,
    settings: ExportSettings,
    picture: Path,
    *,
    instead: Sequence[str],
) -> None:
    """Draw the worst images and raise a DecisionGateError unless a typed graph passed its gate.

    Args:
        gate: what came of it.
        classes: names by index.
        precision: of the graph.
        settings: of the export.
        picture: where they are drawn.
        instead: options that may pass.

    Raises:
        DecisionGateError: it failed; the picture is written.
        StorageError: the picture cannot be written.
    """
    if gate.passed:
        return
    draw_gate(picture, gate, classes, precision=precision)
    raise DecisionGateError(_failure(gate, classes, precision, settings, picture, instead))


def _of_few(record: GateRecord) -> str:
    """Say what is let through where the minimum is less than one image."""
    if record.minimum >= 1 or min(record.known, record.unknown or record.known) >= images_needed(
        record.minimum
    ):
        return ""
    return f", and lets one differ of fewer than {images_needed(record.minimum)} images"


def _failure(
    gate: Gate,
    classes: tuple[str, ...],
    precision: str,
    settings: ExportSettings,
    picture: Path,
    instead: Sequence[str],
) -> str:
    record = gate.record
    differing = [image for image in gate.worst if not image.agrees][:LISTED]
    lines = [
        f"the {precision} graph decides like model.onnx on {record.agreements()}; --min-agreement "
        f"asks for {record.minimum:.2%} of each{_of_few(record)} (same class on {record.labels:.2%} of all, "
        f"same accept or reject on {record.decisions:.2%}). The least alike (score minus threshold):"
    ]
    for image in differing:
        said = f"{image.name}: onnx {image.said(classes, 0)}; typed {image.said(classes, 1)}"
        lines.append(f"  {printable(said)}")
    tried = " or ".join((*(() if settings.recalibrate else ("--recalibrate",)), *instead))
    sides = [share for share in (record.known_agreement, record.unknown_agreement) if share is not None]
    lines.append(
        f"All of the worst are drawn in {printable(picture)}. No bundle was written. Try {tried}; or take "
        f"it as it is with --min-agreement {math.floor(1000 * min(sides)) / 1000:g}"
    )
    return "\n".join(lines)
