"""Pictures of an open-set evaluation: score histograms, ROC and OSCR curves."""

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import import_extra
from edgeosr.files import write_bytes
from edgeosr.printed import pictured

KNOWN_COLOR = "#1b7f5c"
UNKNOWN_COLOR = "#c8452b"
INK = "#222222"
TITLE_WIDTH = {False: 72, True: 50}  # characters in one line of a title above a wide, and a square, picture
CAPTION_WIDTH = {False: 120, True: 95}  # characters that fit under a wide, and under a square, picture
# Colour-blind safe (Okabe and Ito), the fused score first. The other scores take the rest in turn; a second
# turn is dashed, so that a bundle with more parts than colours still has one look for each.
FUSED_COLOR = "#222222"
PART_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
PART_STYLES = ("-", "--", ":", "-.")


def draw_histograms(
    path: Path,
    known: NDArray[Any],
    unknown: NDArray[Any],
    *,
    threshold: float,
    title: str,
    caption: str,
    per_class: bool = False,
) -> None:
    """Draw the fused score of known and unknown test images with the shipped threshold.

    Args:
        path: PNG to write (atomically).
        known: float ``[n]``, unknown scores; values that are not finite are left out and counted.
        unknown: float ``[m]``, likewise.
        threshold: frames above it are rejected.
        title: what was measured.
        caption: its conditions.
        per_class: the scores are what is left of them above the threshold of the predicted class.
    """
    figure, axes = _axes(title, caption)
    finite = np.concatenate([known[np.isfinite(known)], unknown[np.isfinite(unknown)], [threshold]])
    low, high = np.quantile(finite, [0.001, 0.999])
    low, high = min(low, threshold), max(high, threshold)
    margin = max((high - low) * 0.03, 1e-6)
    bins = np.linspace(low - margin, high + margin, 61)
    for scores, name, color in ((known, "known", KNOWN_COLOR), (unknown, "unknown", UNKNOWN_COLOR)):
        shown = np.clip(scores[np.isfinite(scores)], bins[0], bins[-1])
        left_out = len(scores) - len(shown)
        label = f"{name}, n = {len(scores):,}" + (f" ({left_out} not finite)" if left_out else "")
        weights = np.full(len(shown), 1 / max(len(shown), 1))
        axes.hist(shown, bins, weights=weights, histtype="stepfilled", alpha=0.45, color=color, label=label)
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle="--", label=f"threshold {threshold:.3g}")
    what = "unknown score minus the threshold of the predicted class" if per_class else "unknown score"
    # Two lines: one would be wider than the axes.
    axes.set_xlabel(f"{what}\n(standard deviations of known images; larger = more unknown)")
    axes.set_ylabel("share of images")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_roc(
    path: Path,
    curves: Mapping[str, tuple[NDArray[Any], NDArray[Any], float]],
    *,
    operating_point: tuple[float, float],
    title: str,
    caption: str,
) -> None:
    """Draw ROC curves, unknown as the positive class.

    Args:
        path: PNG to write.
        curves: by name, (known rejected ``[k]``, unknown rejected ``[k]``, AUROC); all are drawn, the first
            bold. The legend says of which the curve is the first's too.
        operating_point: (false-reject rate, unknown rejected) at the shipped threshold.
        title: what was measured.
        caption: its conditions.
    """
    figure, axes = _axes(title, caption, square=True)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, linestyle=":")
    _draw_curves(axes, curves)
    axes.plot(*operating_point, "o", color=UNKNOWN_COLOR, markersize=7, label="shipped threshold", zorder=5)
    axes.set_xlabel("known images rejected (false-reject rate)")
    axes.set_ylabel("unknown images rejected")
    axes.legend(frameon=False, title="score, AUROC", loc="lower right")
    _save(figure, path)


def draw_oscr(
    path: Path,
    curves: Mapping[str, tuple[NDArray[Any], NDArray[Any], float]],
    *,
    accuracy: float,
    title: str,
    caption: str,
) -> None:
    """Draw OSCR curves (correct classification rate over false-accept rate).

    Args:
        path: PNG to write.
        curves: by name, (unknown accepted ``[k]``, known accepted and correct ``[k]``, area); as in
            ``draw_roc``.
        accuracy: closed-set accuracy, the curves' ceiling.
        title: what was measured.
        caption: its conditions.
    """
    figure, axes = _axes(title, caption, square=True)
    axes.axhline(
        accuracy, color="#bbbbbb", linewidth=0.9, linestyle=":", label=f"closed accuracy {accuracy:.3f}"
    )
    _draw_curves(axes, curves)
    axes.set_xlabel("unknown images accepted (false-accept rate)")
    axes.set_ylabel("known images accepted and correct")
    axes.legend(frameon=False, title="score, OSCR", loc="lower right")
    _save(figure, path)


def _draw_curves(axes: Any, curves: Mapping[str, tuple[NDArray[Any], NDArray[Any], float]]) -> None:
    """Draw every curve, the first bold and the others thin upon it."""
    (first, (first_x, first_y, first_area)), *others = curves.items()
    axes.plot(first_x, first_y, color=FUSED_COLOR, linewidth=2.2, label=f"{first}  {first_area:.3f}")
    for number, (name, (x, y, area)) in enumerate(others):
        turn, place = divmod(number, len(PART_COLORS))
        same = f" (on {first}'s curve)" if _lie_together((x, y), (first_x, first_y)) else ""
        axes.plot(
            x,
            y,
            color=PART_COLORS[place],
            linestyle=PART_STYLES[turn % len(PART_STYLES)],
            linewidth=1.1,
            label=f"{name}  {area:.3f}{same}",
        )


def _lie_together(one: tuple[NDArray[Any], NDArray[Any]], other: tuple[NDArray[Any], NDArray[Any]]) -> bool:
    """Whether two monotone curves are one line to the eye: nowhere further apart than a line is wide.

    Standardising rounds, so a part that alone is weighed may tie where the fused score does not.
    """
    (x, y), (other_x, other_y) = one, other
    places = np.linspace(0, 1, 512)
    return bool(np.max(np.abs(np.interp(places, x, y) - np.interp(places, other_x, other_y))) < 0.004)


def _axes(title: str, caption: str, *, square: bool = False) -> tuple[Any, Any]:
    # An explicit Agg canvas: no display is looked for and pyplot's global state is left alone.
    import_extra("matplotlib", extra="export", purpose="drawing plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.2) if square else (8.0, 4.6), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(pictured(textwrap.fill(title, TITLE_WIDTH[square])), fontsize=12, color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    if square:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.01)
        axes.set_aspect("equal")
    figure.supxlabel(pictured(textwrap.fill(caption, CAPTION_WIDTH[square])), fontsize=7.5, color="#555555")
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())
