"""A picture of the images on which a typed graph decides most unlike ``model.onnx``."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import DataError, import_extra
from edgeosr.export.precision.gate import Gate
from edgeosr.files import write_bytes
from edgeosr.printed import pictured

COLUMNS = 4
AGREES, DIFFERS = "#1b7f5c", "#c8452b"


def draw_gate(path: Path, gate: Gate, classes: Sequence[str], *, precision: str) -> None:
    """Draw the worst images, each with what either graph said, as a PNG (written atomically)."""
    import_extra("matplotlib", extra="export", purpose="drawing plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    record = gate.record
    rows = -(-len(gate.worst) // COLUMNS)
    figure = Figure(figsize=(11, 0.9 + 3.1 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"model.onnx and its {precision} graph decide alike on {record.agreements()}\n"
        f"(demanded: {record.minimum:.2%} of each). "
        "The least alike (score minus threshold):",
        fontsize=11,
    )
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, image in zip(axes, gate.worst, strict=False):
        try:
            axis.imshow(image.images.read(image.index), interpolation="nearest")
        except DataError:
            axis.text(0.5, 0.5, "cannot be read", ha="center")
        lines = [
            _folded(image.name),
            _folded("onnx: " + image.said(classes, 0)),
            _folded(f"{precision}: " + image.said(classes, 1)),
        ]
        axis.set_title("\n".join(lines), fontsize=7, color=AGREES if image.agrees else DIFFERS)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def _folded(text: str) -> str:
    # A path's end says more than its beginning.
    return pictured(textwrap.fill(text if len(text) <= 80 else "..." + text[-77:], 44))
