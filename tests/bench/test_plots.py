"""The ROC and OSCR pictures show every score of a bundle, and say which curve lies on the fused one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.bench import plots
from edgeosr.export import false_accepts_picture
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


LONG = "a_bundle_whose_name_somebody_took_from_a_whole_sentence_about_sixty_classes_of_fruit: 1,234 known"


@pytest.mark.parametrize("draw", ["roc", "oscr", "scores", "scores of each class", "false accepts"])
def test_whatever_is_written_in_a_picture_is_inside_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: str
) -> None:
    made: list[Any] = []
    for module in (plots, false_accepts_picture):
        make = module._axes

        def kept(*args: Any, make: Any = make, **keywords: Any) -> tuple[Any, Any]:
            made.append(make(*args, **keywords))
            return made[-1]  # type: ignore[no-any-return]  # what _axes returns

        monkeypatch.setattr(module, "_axes", kept)
    said = {"title": LONG, "caption": f"known: {'/a/long/path' * 12}.  unknown: others."}
    if draw == "roc":
        plots.draw_roc(tmp_path / "p.png", curves(5), operating_point=(0.05, 0.6), **said)
    elif draw == "oscr":
        plots.draw_oscr(tmp_path / "p.png", curves(5), accuracy=0.9, **said)
    elif draw == "false accepts":
        false_accepts_picture.false_accepts_png(measured=None, estimated=(), own_rate=0.05, **said)
    else:
        plots.draw_histograms(
            tmp_path / "p.png", RISE, RISE + 1, threshold=0.5, per_class=draw != "scores", **said
        )
    ((figure, axes),) = made
    canvas = figure.canvas
    canvas.draw()
    for text in (axes.xaxis.label, axes.yaxis.label, axes._left_title, figure._supxlabel):
        box = text.get_window_extent()
        assert text.get_text()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
