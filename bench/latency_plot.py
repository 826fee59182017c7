"""The latency report as a picture."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.bench.latency_report import (
    CLASSIFIER,
    RUNTIME,
    SESSION,
    BatchLatency,
    LatencyReport,
    thread_words,
)
from edgeosr.bench.samples import Samples
from edgeosr.errors import import_extra
from edgeosr.files import write_bytes
from edgeosr.printed import pictured

COLORS = {CLASSIFIER: "#9aa5b1", SESSION: "#4c78a8", RUNTIME: "#e07b39"}
PACED_COLOR = "#7b4ea3"
WIDE = 4.0
INK, MUTED = "#1f2933", "#616e7c"


def draw_latency(report: LatencyReport, path: Path) -> None:
    """Write a PNG: left the distributions of the first batch size, right the overheads of every one.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    import_extra("matplotlib", extra="export", purpose="drawing the latency")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.0), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.75, 1]})
    figure.subplots_adjust(left=0.165, right=0.975, top=0.80, bottom=0.20, wspace=0.42)
    first = report.batches[0]
    _draw_rows(left, first, report.settings.rate_hz)
    _draw_overheads(right, report.batches)
    figure.text(0.02, 0.945, pictured(f"Latency of {report.bundle}"), fontsize=15, weight="bold", color=INK)
    figure.text(0.02, 0.895, pictured(_conditions(report)), fontsize=9, color=MUTED)
    note = "Box: quartiles; line: median; whiskers: 1 % to 99 %; dots: the calls beyond. " + (
        "Error bar: 95 % interval of the median paired ratio."
    )
    figure.text(0.02, 0.03, note, fontsize=8.5, color=MUTED)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def _draw_rows(axes: Any, batch: BatchLatency, rate_hz: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    rows: list[tuple[str, Samples, str]] = [
        (name, batch.rows[name], COLORS[name]) for name in (CLASSIFIER, SESSION, RUNTIME)
    ]
    if batch.paced is not None:
        rows.append((f"{RUNTIME}\nat {rate_hz:g} Hz", batch.paced.samples, PACED_COLOR))
    for position, (_, row, color) in enumerate(rows):
        y = len(rows) - 1 - position
        _draw_box(axes, y, row, color)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)], fontsize=10, color=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    tail = max(max(row.wall_ms) for _, row, _ in rows)
    low = min(min(row.wall_ms) for _, row, _ in rows)
    scale = ""
    if tail > WIDE * low:  # a few disturbed calls would squeeze all others against the axis
        axes.set_xscale("log")
        axes.set_xlim(low / 1.1, tail * 1.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        scale = ", logarithmic"
    else:
        margin = 0.04 * (tail - low) or 0.1 * tail
        axes.set_xlim(max(0.0, low - margin), tail + 3 * margin)
    axes.set_xlabel(f"milliseconds a call{scale}", fontsize=10, color=INK)
    axes.set_title(f"Batch {batch.batch}: back to back, and paced", fontsize=11, loc="left", color=INK)
    _clean(axes, grid="x")


def _draw_box(axes: Any, y: int, row: Samples, color: str) -> None:
    low, first, middle, third, high = (row.wall(percent) for percent in (1, 25, 50, 75, 99))
    axes.plot([low, high], [y, y], color=color, linewidth=1.6, zorder=2)
    axes.barh(y, third - first, left=first, height=0.34, color=color, alpha=0.55, zorder=3)
    axes.plot([middle, middle], [y - 0.17, y + 0.17], color=INK, linewidth=2, zorder=4)
    beyond = [value for value in row.wall_ms if value < low or value > high]
    axes.plot(beyond, [y] * len(beyond), "o", color=color, markersize=3, alpha=0.7, zorder=2)
    # Every call once more as a faint strip under its box: nothing is hidden by the summary.
    jitter = np.random.default_rng(0).uniform(-0.40, -0.26, len(row))
    axes.plot(row.wall_ms, y + jitter, ".", color=color, markersize=2.5, alpha=0.35, zorder=1)
    axes.text(
        middle, y + 0.22, f"p50 {middle:.3g}   p99 {high:.3g} ms", fontsize=8.5, color=INK, ha="left",
        va="bottom",
    )  # fmt: skip


def _draw_overheads(axes: Any, batches: tuple[BatchLatency, ...]) -> None:
    labels, top = [], 0.0
    for position, batch in enumerate(batches):
        for offset, (ratio, color) in enumerate(
            ((batch.overhead, COLORS[SESSION]), (batch.runtime_overhead, COLORS[RUNTIME]))
        ):
            x = position + 0.38 * (offset - 0.5)
            low, high = (100 * (end - 1) for end in ratio.interval)
            middle = 100 * (ratio.paired - 1)
            axes.bar(x, middle, width=0.32, color=color, alpha=0.85, zorder=2)
            axes.plot([x, x], [low, high], color=INK, linewidth=1.4, zorder=3)
            axes.annotate(
                f"{middle:+.1f} %", (x, max(high, 0)), xytext=(0, 5), textcoords="offset points",
                ha="center", fontsize=9, color=INK,
            )  # fmt: skip
            top = max(top, high)
        labels.append(f"batch {batch.batch}")
    axes.axhline(0, color=MUTED, linewidth=0.9, zorder=4)
    axes.set_xticks(range(len(batches)), labels, fontsize=10, color=INK)
    axes.set_xlim(-0.7, len(batches) - 0.3)
    bottom, upper = axes.get_ylim()
    axes.set_ylim(bottom, upper + 0.16 * (upper - bottom))
    axes.set_ylabel("extra time, %", fontsize=10, color=INK)
    axes.set_title("What it adds", fontsize=11, loc="left", color=INK)
    handles = [
        axes.bar(0, 0, width=0, color=COLORS[SESSION], label="knowing the unknown (over the classifier)"),
        axes.bar(0, 0, width=0, color=COLORS[RUNTIME], label="the Runtime (over its session)"),
    ]
    axes.legend(handles=handles, fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.1))
    _clean(axes, grid="y")


def _clean(axes: Any, *, grid: str) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#cbd2d9")
    axes.tick_params(colors=MUTED, length=3)
    axes.grid(axis=grid, color="#e4e7eb", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)


def _conditions(report: LatencyReport) -> str:
    frame, network = report.frame, report.network
    return (
        f"{report.device.cpu}, {report.device.cores} cores, {thread_words(report.settings.threads)}, "
        f"onnxruntime {report.versions.get('onnxruntime', '?')}, CPU; frame "
        f"{frame[0]}x{frame[1]}, network input {network[0]}x{network[1]}; "
        f"{len(report.batches[0].rows[RUNTIME])} calls a row, "
        "interleaved"
    )
