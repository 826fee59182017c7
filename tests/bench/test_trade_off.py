"""What other thresholds give, counted again one by one; and the picture of it."""

from typing import Any

import numpy as np
import pytest

from edgeosr.bench.trade_off import Scored, measured_curve, trade_off_rows
from edgeosr.bundle.left_out import FalseAccepts
from edgeosr.export import false_accepts_picture
from edgeosr.export.false_accepts_picture import false_accepts_png
from edgeosr.metrics import acceptance_rate, rejection_rate

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)


def scored(count: int, shift: float, seed: int, *, copies: int = 1, decimals: int = 6) -> Scored:
    random = np.random.default_rng(seed)
    scores = np.round(random.normal(size=count) + shift, decimals).astype(np.float32)
    return Scored(scores=scores, groups=np.arange(count) // copies)


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("decimals", [6, 1])  # 1: many ties
def test_a_row_is_the_lowest_threshold_that_keeps_its_rate(copies: int, decimals: int) -> None:
    known = scored(211, 0, 1, copies=copies, decimals=decimals)
    unknown = scored(90, 1, 2, decimals=decimals)
    rows = trade_off_rows(known, unknown, RATES)
    assert [row.at_most for row in rows] == list(RATES)
    for row in rows:
        rates = {
            float(score): rejection_rate(known.scores, float(score), known.groups).value
            for score in known.scores
        }
        assert row.threshold == min(score for score, rate in rates.items() if rate <= row.at_most)
        assert row.false_reject == rejection_rate(known.scores, row.threshold, known.groups)
        assert row.false_accept == acceptance_rate(unknown.scores, row.threshold, unknown.groups)
        assert row.false_reject.low <= row.false_reject.value <= row.false_reject.high


def test_a_rate_below_the_share_of_known_images_without_a_score_has_no_row() -> None:
    known = scored(100, 0, 1)
    known.scores[:3] = np.nan, np.inf, -np.inf
    assert [row.at_most for row in trade_off_rows(known, scored(50, 1, 2), RATES)] == [0.05, 0.1, 0.2]
    known.scores[:] = np.nan
    assert trade_off_rows(known, scored(50, 1, 2), RATES) == ()
    assert len(measured_curve(known, scored(50, 1, 2), 0.0).false_reject) == 0


def test_a_rate_that_few_images_cannot_tell_rejects_none_and_says_so_by_its_interval() -> None:
    (row,) = trade_off_rows(scored(20, 0, 1), scored(20, 1, 2), [0.01])
    assert row.false_reject.value == 0 and row.false_reject.high > 0.15


def test_the_drawn_curve_falls_and_holds_only_what_the_images_give() -> None:
    known, unknown = scored(400, 0, 1), scored(300, 1.5, 2)
    curve = measured_curve(known, unknown, 1.0)
    assert 50 < len(curve.false_reject) <= 150
    assert (np.diff(curve.false_reject) > 0).all() and (np.diff(curve.false_accept) <= 0).all()
    assert ((curve.low <= curve.false_accept) & (curve.false_accept <= curve.high)).all()
    pairs = {
        rejection_rate(known.scores, float(t)).value: acceptance_rate(unknown.scores, float(t)).value
        for t in known.scores
    }
    for reject, accept in zip(curve.false_reject, curve.false_accept, strict=True):
        nearest = min(pairs, key=lambda rate: abs(rate - reject))
        assert nearest == pytest.approx(reject) and pairs[nearest] == accept
    assert curve.shipped[0] == rejection_rate(known.scores, 1.0, known.groups)


ESTIMATE = tuple(
    FalseAccepts(false_reject=rate, mean=0.5, low=0.4, high=0.7, folds=3) for rate in (0.05, 0.1, 0.2)
)


@pytest.mark.parametrize("estimated", [(), ESTIMATE])
@pytest.mark.parametrize("measured", [False, True])
def test_the_picture_tells_estimate_and_test_images_apart(
    monkeypatch: pytest.MonkeyPatch, estimated: Any, measured: bool
) -> None:
    made: list[Any] = []
    axes_of = false_accepts_picture._axes
    monkeypatch.setattr(
        false_accepts_picture, "_axes", lambda *texts: made.append(axes_of(*texts)) or made[-1]
    )
    curve = measured_curve(scored(100, 0, 1), scored(90, 1, 2), 1.2) if measured else None
    drawn = false_accepts_png(measured=curve, estimated=estimated, own_rate=0.05, title="t", caption="c")
    assert drawn.startswith(b"\x89PNG")
    rows = [text.get_text() for text in made[0][1].get_legend().get_texts()]
    assert any("rough estimate on left-out classes" in row for row in rows) == bool(estimated)
    assert any("test images, 95 % interval" in row for row in rows) == measured
    assert any("shipped threshold" in row for row in rows) == measured
    assert any("this bundle's rate: 5 %" in row for row in rows) != measured


def test_a_shipped_threshold_that_rejects_nothing_is_drawn_at_the_edge() -> None:
    curve = measured_curve(scored(100, 0, 1), scored(90, 1, 2), 1e6)
    assert curve.shipped[0].value == 0
    drawn = false_accepts_png(measured=curve, estimated=(), own_rate=0.05, title="t", caption="c")
    assert len(drawn) > 10_000
