"""Every list as a dot: how far a mean can be trusted."""

import io
import textwrap
from pathlib import Path
from typing import Any

from edgeosr.bench.open_set.table import short_name
from edgeosr.errors import import_extra
from edgeosr.files import write_bytes

COLORS = {"shipped": "#222222", "part": "#0072b2", "bound": "#999999", "rival": "#e69f00"}
WORDS = {
    "shipped": "shipped",
    "part": "best single part",
    "bound": "bound: weighed on the test",
    "rival": "best of pytorch-ood",
}
INK, MUTED = "#1f2933", "#616e7c"


def draw_open_set(document: dict[str, Any], path: Path) -> None:
    """Write a PNG: by protocol the AUROC of each list, and a bar at the mean.

    Args:
        document: as ``__main__.py`` writes it.
        path: PNG to write, atomically.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    import_extra("matplotlib", extra="export", purpose="drawing the benchmark")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = document["rows"]
    figure = Figure(figsize=(9.0, 1.9 + 1.05 * len(rows)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        _draw_protocol(axes, document, row, -place)
    axes.margins(x=0.15)  # names stand left of the first dot
    axes.set_yticks([-place for place in range(len(rows))], [_title(row) for row in rows])
    axes.set_xlabel("AUROC, unknown positive: a dot is a list of known classes, a bar the mean over lists")
    axes.set_title("Telling the unknown, on the same networks and images", loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 - 0.25 / len(rows)), ncols=4, frameon=False)
    words = f"{document['conditions']} edgeosr {document['versions']['edgeosr']}, {document['created']}."
    figure.supxlabel(textwrap.fill(words, 130), fontsize=7.5, color=MUTED)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def _draw_protocol(axes: Any, document: dict[str, Any], row: dict[str, Any], y: float) -> None:
    for offset, (key, color) in zip((0.27, 0.09, -0.09, -0.27), COLORS.items(), strict=True):
        if row[key] is None:
            continue
        seen = axes.get_legend_handles_labels()[1]
        score, label = row[key]["score"], None if WORDS[key] in seen else WORDS[key]
        values = [
            cell["auroc"]
            for cell in document["cells"]
            if (cell["protocol"], cell["score"]) == (row["protocol"], score)
        ]
        axes.plot(values, [y + offset] * len(values), "o", color=color, alpha=0.55, markersize=5, label=label)
        axes.plot([row[key]["auroc"]] * 2, [y + offset - 0.08, y + offset + 0.08], color=color, linewidth=2.2)
        if key in ("part", "rival"):
            axes.annotate(
                short_name(score), (min(values), y + offset), xytext=(-8, 0), textcoords="offset points",
                ha="right", va="center", fontsize=7.5, color=MUTED,
            )  # fmt: skip


def _title(row: dict[str, Any]) -> str:
    return f"{row['protocol']}\n{row['lists']} list{'s' * (row['lists'] > 1)}"
