"""The ROC and OSCR pictures show every score of a bundle, and say which curve lies on the fused one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.bench import plots
from edgeosr.verdict import MOST_PARTS

RISE = np.linspace(0, 1, 41)
DRAWN = {
    "roc": lambda path, curves: plots.draw_roc(
        path, curves, operating_point=(0.05, 0.6), title="t", caption="c"
    ),
    "oscr": lambda path, curves: plots.draw_oscr(path, curves, accuracy=0.9, title="t", caption="c"),
}


@pytest.fixture
def drawn_axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the axes of every picture that is drawn."""
    made: list[Any] = []
    make = plots._axes

    def kept(*args: Any, **keywords: Any) -> tuple[Any, Any]:
        figure, axes = make(*args, **keywords)
        made.append(axes)
        return figure, axes

    monkeypatch.setattr(plots, "_axes", kept)
    return made


def curves(parts: int) -> dict[str, tuple[Any, Any, float]]:
    """The fused score, and parts of which the first has its curve."""
    names = ["fused", *(f"part{number}" for number in range(parts))]
    powers = [0.3, 0.3, *(0.35 + 0.05 * number for number in range(parts - 1))]
    return {name: (RISE, RISE**power, 1 / (1 + power)) for name, power in zip(names, powers, strict=True)}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("parts", [1, 5, 6, MOST_PARTS])
def test_every_part_has_a_line_of_its_own_look_and_a_row_in_the_legend(
    tmp_path: Path, drawn_axes: list[Any], draw: Callable[..., None], parts: int
) -> None:
    draw(tmp_path / "curves.png", curves(parts))
    (axes,) = drawn_axes
    rows = [text.get_text().split()[0] for text in axes.get_legend().get_texts()]
    assert set(curves(parts)) <= set(rows)
    lines = [line for line in axes.get_lines() if line.get_label().split()[0] in curves(parts)]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == parts + 1


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_the_legend_says_which_curve_lies_on_the_fused_one(
    tmp_path: Path, drawn_axes: list[Any], draw: Callable[..., None]
) -> None:
    draw(tmp_path / "curves.png", curves(3))
    rows = [text.get_text() for text in drawn_axes[0].get_legend().get_texts()]
    assert [row.split()[0] for row in rows if row.endswith("(on fused's curve)")] == ["part0"]
