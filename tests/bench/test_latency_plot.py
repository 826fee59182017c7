from dataclasses import replace

import numpy as np
from PIL import Image

from edgeosr.bench.latency import measure_latency
from edgeosr.bench.latency_plot import PACED_COLOR, draw_latency
from edgeosr.bench.samples import Samples
from edgeosr.bench.settings import LatencySettings
from edgeosr.bench.timer import Paced

SETTINGS = LatencySettings(batches=(1, 2), runs=10, warmup=0, threads=1, processes=0)


def has_color(path, color: str) -> bool:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.int16)
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(pixels - wanted).max(axis=2) <= 8).any())


def test_the_picture_shows_the_paced_row_if_there_is_one(tiny_bundle, fake_clock, tmp_path) -> None:
    report = measure_latency(tiny_bundle, SETTINGS, clock=fake_clock)
    spread = Samples(tuple(np.linspace(1, 3, 50)), (1.0,) * 50)
    paced = tuple(replace(batch, paced=Paced(spread, late=0)) for batch in report.batches)
    draw_latency(replace(report, batches=paced), tmp_path / "with.png")
    unpaced = tuple(replace(batch, paced=None) for batch in report.batches)
    draw_latency(replace(report, batches=unpaced), tmp_path / "without.png")
    assert has_color(tmp_path / "with.png", PACED_COLOR)
    assert not has_color(tmp_path / "without.png", PACED_COLOR)


def test_a_few_disturbed_calls_do_not_break_the_picture(tiny_bundle, fake_clock, tmp_path) -> None:
    report = measure_latency(tiny_bundle, SETTINGS, clock=fake_clock)
    first = report.batches[0]
    rows = {name: replace(row, wall_ms=(1.0,) * 9 + (500.0,)) for name, row in first.rows.items()}
    draw_latency(replace(report, batches=(replace(first, rows=rows),)), tmp_path / "wide.png")
    with Image.open(tmp_path / "wide.png") as image:
        assert image.size == (1320, 600)
