"""The demo's picture: test digits with what the classifier said about them."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.plots import INK, KNOWN_COLOR, UNKNOWN_COLOR
from edgeosr.errors import import_extra
from edgeosr.files import write_bytes
from edgeosr.verdict import Verdict

ROWS, COLUMNS = 3, 12  # of each of the two blocks


@dataclass(frozen=True)
class Shown:
    """One test image and its verdict.

    Attributes:
        frame: uint8 RGB ``[height, width, 3]``.
        truth: its class name; truth_known: whether the classifier was trained on that class.
        verdict: what the runtime said.
    """

    frame: NDArray[np.uint8]
    truth: str
    truth_known: bool
    verdict: Verdict

    @property
    def correct(self) -> bool:
        """True if a known image got its own name, or another one was called unknown."""
        return self.verdict.label == self.truth if self.truth_known else not self.verdict.accepted


def draw_grid(
    path: Path, known: tuple[Shown, ...], unknown: tuple[Shown, ...], *, title: str, seed: int
) -> None:
    """Draw a random sample of both kinds, not a chosen one.

    Args:
        path: PNG to write (atomically).
        known: all test images of known classes; ``ROWS * COLUMNS`` are drawn, or all if there are fewer.
        unknown: all test images of the others, likewise.
        title: the figures over all of them.
        seed: of the sample.
    """
    import_extra("matplotlib", extra="export", purpose="drawing plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(13.4, 9.8), dpi=110, layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.04))
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, color=INK)
    blocks: Any = figure.subfigures(2, 1, hspace=0.05)
    order = np.random.default_rng(seed)
    for block, shown, name in zip(blocks, (known, unknown), ("known", "never seen"), strict=True):
        chosen = order.permutation(len(shown))[: ROWS * COLUMNS]
        sample = [shown[i] for i in chosen]
        right = sum(one.correct for one in sample)
        digits = ", ".join(sorted({one.truth for one in shown}))
        block.suptitle(
            f"Classes {name} in training ({digits}): {len(sample)} random test images, {right} right",
            fontsize=11,
            color=INK,
        )
        _draw_block(block, sample)
    figure.supxlabel(
        "Under each digit: the verdict, the truth, the unknown score (standard deviations of known images; "
        "larger = more unknown).",
        fontsize=9,
        color="#555555",
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def _draw_block(block: Any, sample: list[Shown]) -> None:
    grid = block.subplots(ROWS, COLUMNS, gridspec_kw={"wspace": 0.08, "hspace": 0.12})
    for axes in grid.flat:
        axes.axis("off")
    for axes, one in zip(grid.flat, sample, strict=False):
        color = KNOWN_COLOR if one.correct else UNKNOWN_COLOR
        axes.axis("on")
        axes.imshow(one.frame, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(color)
            spine.set_linewidth(3)
        mark = "\N{CHECK MARK}" if one.correct else "\N{BALLOT X}"
        said = f"{mark} {one.verdict.label}\nis {one.truth}, score {one.verdict.score:+.1f}"
        axes.set_xlabel(said, fontsize=8.5, color=color)
