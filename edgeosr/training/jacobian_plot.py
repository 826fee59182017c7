"""The picture of the Jacobian norm over the epochs of a run: known, unknown, and their difference (JND)."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeosr.errors import import_extra
from edgeosr.files import write_bytes
from edgeosr.printed import pictured

PICTURE = "jacobian.png"
KNOWN_COLOR, UNKNOWN_COLOR, DIFFERENCE_COLOR, INK = "#2166ac", "#b2182b", "#444444", "#222222"


def draw_jacobian(
    path: Path, runs: Sequence[tuple[str, Sequence[dict[str, Any]]]], *, title: str, caption: str
) -> None:
    """Draw mean J_u with one standard deviation over the epochs, and below it the difference of the means.

    Args:
        path: PNG to write, atomically.
        runs: (name, the lines of its ``log.jsonl``) of each run, drawn side by side on equal axes; lines
            without a ``jacobian`` are left out.
        title: what was measured.
        caption: its conditions.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # An explicit Agg canvas: no display is looked for and pyplot's global state is left alone.
    width = 1.6 + 4.6 * len(runs)
    figure = Figure(figsize=(max(width, 6.8), 6.0), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        2, len(runs), squeeze=False, sharex="col", sharey="row", gridspec_kw={"height_ratios": [2, 1]}
    )
    for column, (name, lines) in enumerate(runs):
        watched = [line for line in lines if "jacobian" in line]
        _draw_norms(grid[0][column], watched, name)
        _draw_difference(grid[1][column], watched)
    # Once all are drawn: a limit set earlier would hold the axes that share it to the first run's range.
    grid[0][0].set_ylim(bottom=0)
    grid[0][0].set_ylabel("J_u, mean and one standard deviation")
    grid[1][0].set_ylabel("JND: unknown - known")
    figure.suptitle(pictured(title), fontsize=12, color=INK)
    figure.supxlabel(
        pictured(textwrap.fill(caption, 105 if len(runs) == 1 else 160)), fontsize=7.5, color="#555555"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def require_matplotlib() -> None:
    """Raise MissingDependencyError if pictures cannot be drawn: before hours of training, not after."""
    import_extra("matplotlib", extra="export", purpose="drawing plots")


def _draw_norms(axes: Any, watched: Sequence[dict[str, Any]], name: str) -> None:
    epochs = [line["epoch"] for line in watched]
    for kind, color in (("unknown", UNKNOWN_COLOR), ("known", KNOWN_COLOR)):
        means = [line["jacobian"][kind]["mean"] for line in watched]
        spreads = [line["jacobian"][kind]["std"] for line in watched]
        low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        axes.fill_between(epochs, low, high, color=color, alpha=0.13, linewidth=0)
        axes.plot(epochs, means, color=color, linewidth=1.8, marker="o", markersize=2.5, label=kind)
    axes.set_title(pictured(name), fontsize=10, color=INK, loc="left")
    axes.legend(frameon=False, loc="upper left")
    _tidy(axes)


def _draw_difference(axes: Any, watched: Sequence[dict[str, Any]]) -> None:
    epochs = [line["epoch"] for line in watched]
    differences = [line["jacobian"]["difference"] for line in watched]
    axes.axhline(0, color="#bbbbbb", linewidth=0.9, linestyle=":")
    axes.plot(epochs, differences, color=DIFFERENCE_COLOR, linewidth=1.8, marker="o", markersize=2.5)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    _tidy(axes)


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def conditions(settings: dict[str, Any], data_title: str, known_classes: int, last: dict[str, Any]) -> str:
    """Return the caption of a run: which norm, with respect to what, K, images, data and loss.

    Args:
        settings: of the run, as ``TrainSettings.as_json``.
        data_title: name of the known images' set.
        known_classes: their number of classes.
        last: the last line of its log that has a ``jacobian``.
    """
    seen = last["jacobian"]
    unknown = settings["watch_unknown"] or "classes that are not known"
    return (
        f"J_u = |du/dx|_F of the unit embedding u with respect to the normalised network input x, eval mode, "
        f"float32, {settings['watch_probes']} fixed random orthonormal directions. "
        f"{data_title}, {known_classes} known classes: {seen['known']['images']} select images; "
        f"{seen['unknown']['images']} unknown images ({unknown}). {settings['arch']}, loss "
        f"{settings['loss']}, seed {settings['seed']}. Observed only: nothing is chosen by it."
    )
