"""False accepts against false rejects over the threshold, as a picture: by which to choose a threshold.

``edgeosr export`` draws what left-out classes let expect; ``edgeosr evaluate`` adds what test images gave.
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.left_out import FalseAccepts, LeftOutRecord
from edgeosr.bundle.manifest import Manifest
from edgeosr.errors import import_extra
from edgeosr.metrics import Rate
from edgeosr.printed import pictured

MEASURED, ESTIMATED, SHIPPED, INK = "#222222", "#0072b2", "#c8452b", "#222222"
# Between these false-reject rates; the scale is logarithmic, for the choice lies at a few per cent.
LEAST, MOST = 0.005, 1.0
TITLE_WIDTH = 72  # characters in one line
TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class MeasuredCurve:
    """What test images gave at many thresholds, by rising false-reject rate; 0 to 1.

    Attributes:
        false_reject: ``[k]``.
        false_accept, low, high: ``[k]``, and the ends of its 95 % interval.
        shipped: (false rejects, false accepts) at the shipped threshold.
    """

    false_reject: NDArray[np.float64]
    false_accept: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    shipped: tuple[Rate, Rate]


def false_accepts_png(
    *,
    measured: MeasuredCurve | None,
    estimated: Sequence[FalseAccepts],
    own_rate: float,
    title: str,
    caption: str,
) -> bytes:
    """Return the curves that there are as a PNG.

    Args:
        measured: on test images; None before there are any.
        estimated: on left-out classes; may be empty.
        own_rate: the bundle's false-reject rate, marked where nothing is measured.
        title: what was measured.
        caption: its conditions.
    """
    figure, axes = _axes(title, caption)
    if measured is not None:
        _draw_measured(axes, measured)
    if estimated:
        _draw_estimated(axes, estimated)
    if measured is None:
        axes.axvline(
            own_rate,
            color=SHIPPED,
            linewidth=1.2,
            linestyle=":",
            zorder=1,
            label=f"this bundle's rate: {100 * own_rate:g} %",
        )
    axes.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=8.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def estimate_png(manifest: Manifest, record: LeftOutRecord) -> bytes:
    """Return the picture of what left-out classes let expect of a new bundle."""
    folds = max(one.folds for one in record.false_accepts)
    common = (
        " It is for a common threshold, not for those of the classes." if manifest.threshold.by_class else ""
    )
    return false_accepts_png(
        measured=None,
        estimated=record.false_accepts,
        own_rate=manifest.threshold.target_false_reject_rate,
        title=f"{manifest.name}: an estimate on left-out classes",
        caption=f"Up to {folds} folds, each by weights made without it: a rough guess, which real unknown "
        f"images may miss by far.{common} What unknown images of yours do, edgeosr evaluate measures. "
        f"edgeosr {manifest.edgeosr}, {manifest.created}",
    )


def _draw_measured(axes: Any, curve: MeasuredCurve) -> None:
    shown = curve.false_reject >= LEAST
    x = curve.false_reject[shown]
    axes.fill_between(x, curve.low[shown], curve.high[shown], color=MEASURED, alpha=0.15, linewidth=0)
    axes.plot(x, curve.false_accept[shown], color=MEASURED, linewidth=1.8, label="test images, 95 % interval")
    reject, accept = curve.shipped
    at = max(reject.value, LEAST)
    axes.errorbar(
        [at],
        [accept.value],
        xerr=[[at - max(reject.low, LEAST)], [max(reject.high, LEAST) - at]],
        yerr=[[accept.value - accept.low], [accept.high - accept.value]],
        fmt="o",
        color=SHIPPED,
        markersize=6,
        capsize=3,
        zorder=5,
        label=f"shipped threshold: {100 * reject.value:.1f} % and {100 * accept.value:.1f} %, 95 % intervals",
    )


def _draw_estimated(axes: Any, estimated: Sequence[FalseAccepts]) -> None:
    means = [one.mean for one in estimated]
    spread = [[one.mean - one.low for one in estimated], [one.high - one.mean for one in estimated]]
    axes.errorbar(
        [one.false_reject for one in estimated],
        means,
        yerr=spread,
        fmt="s--",
        color=ESTIMATED,
        markersize=4.5,
        linewidth=1.0,
        elinewidth=0.9,
        capsize=3,
        label="rough estimate on left-out classes, lowest to highest fold",
    )


def _axes(title: str, caption: str) -> tuple[Any, Any]:
    # An explicit Agg canvas: no display is looked for and pyplot's global state is left alone.
    import_extra("matplotlib", extra="export", purpose="drawing plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure = Figure(figsize=(8.0, 5.0), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(pictured(textwrap.fill(title, TITLE_WIDTH)), fontsize=12, color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_xscale("log")
    axes.set_xlim(LEAST, MOST)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_xlabel("known images rejected (false-reject rate)")
    axes.set_ylabel("unknown images accepted (false-accept rate)")
    figure.supxlabel(pictured(textwrap.fill(caption, 120)), fontsize=7.5, color="#555555")
    return figure, axes
