import json

import numpy as np
import pytest

from edgeosr.bench import figures
from edgeosr.bench.figure import WIDTH, Figure, not_measured, table_from_figures
from edgeosr.bench.figures import GROUPS, main, measure_figures
from edgeosr.bench.latency import measure_latency
from edgeosr.bench.random_bundle import write_random_bundle
from edgeosr.bench.settings import LatencySettings
from edgeosr.bench.subgraph import plain_classifier
from edgeosr.bundle.directory import read_bundle
from edgeosr.errors import EdgeosrError
from edgeosr.scoring.parts import part_names


def figure(reached: bool | None) -> Figure:
    return Figure(
        name="open-set overhead, efficientnet-lite0 224 px", target="<= x1.08 or +0.5 ms",
        measured="x1.043, +0.36 ms", reached=reached, conditions="word " * 60, detail={"n": 3},
    )  # fmt: skip


def test_the_table_says_which_figures_are_reached_missed_or_not_there() -> None:
    text = table_from_figures([figure(True), figure(False), not_measured("training", "-", "no torch here")])
    assert "1 reached, 1 missed, 1 not measured" in text
    assert "no torch here" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_figure_as_json_keeps_its_conditions_and_numbers() -> None:
    values = json.loads(json.dumps(figure(False).as_json()))
    assert values["verdict"] == "missed"
    assert values["detail"] == {"n": 3}
    assert values["conditions"] and values["target"]


def test_what_cannot_be_measured_here_says_why_and_the_others_go_on(monkeypatch) -> None:
    def fail(_folder, _seconds):
        raise EdgeosrError("torch is missing; install it")
        yield

    monkeypatch.setitem(GROUPS, "overhead", fail)
    monkeypatch.setitem(GROUPS, "memory", lambda _folder, _seconds: iter([figure(True)]))
    first, second = measure_figures(["overhead", "memory"], 1.0)
    assert (first.verdict, first.conditions) == ("not measured", "torch is missing; install it")
    assert second.verdict == "reached"


def test_the_program_prints_the_table_and_writes_json(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setitem(GROUPS, "memory", lambda _folder, _seconds: iter([figure(True)]))
    main(["--only", "memory", "--json", str(tmp_path / "figures.json")])
    out = capsys.readouterr().out
    assert "1 reached" in out and "onnxruntime" in out
    document = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert document["figures"][0]["verdict"] == "reached"
    assert document["device"]["cores"] >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--only", "overhaed"], "did you mean 'overhead'"), (["--seconds", "0"], "--seconds must be above 0")],
)
def test_a_wrong_option_is_told_without_a_traceback(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_random_bundle_is_the_whole_default_and_can_be_timed(tmp_path, fake_clock) -> None:
    path = write_random_bundle(tmp_path / "random.edgeosr", "classifier32", 32)
    bundle = read_bundle(path)
    assert bundle.manifest.parts == part_names()
    assert bundle.manifest.discriminator is not None
    assert bundle.manifest.discriminator.layers[1:] == (512, 256, 128, 64, 1)
    assert bundle.manifest.jacobian.method == "closed-form"
    # The plain classifier is smaller by the discriminator's weights at least.
    weights = 4 * sum(
        narrow * wide for narrow, wide in zip(bundle.manifest.discriminator.layers, (512, 256, 128, 64, 1),
                                              strict=False)
    )  # fmt: skip
    model = bundle.files["model.onnx"]
    assert len(model) - len(plain_classifier(model)) > weights
    settings = LatencySettings(runs=1, warmup=0, threads=1, rate_hz=0, processes=0)
    report = measure_latency(path, settings, clock=fake_clock)
    assert report.checked == 8


def test_training_speed_is_read_epoch_by_epoch(tmp_path) -> None:
    lines = [
        {"epoch": 1, "images_per_second": 30.5},
        {"note": "resumed"},
        {"epoch": 2, "images_per_second": 200},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert figures.epoch_rates(tmp_path) == [30.5, 200.0]


def test_startup_is_taken_from_fresh_processes(monkeypatch, tmp_path) -> None:
    real_program, real_import = figures.time_program, figures.time_import
    monkeypatch.setattr(
        figures, "time_program", lambda arguments, repeats: real_program(arguments, repeats=1)
    )
    monkeypatch.setattr(figures, "time_import", lambda repeats: real_import(repeats=1))
    found = {item.name: item for item in figures.startup_figures(tmp_path, 1.0)}
    assert set(found) == {"edgeosr --help", "import edgeosr"}
    seconds = {name: float(item.measured.split()[0]) for name, item in found.items()}
    assert 0 < seconds["import edgeosr"] < seconds["edgeosr --help"]
    assert np.isfinite(list(seconds.values())).all()
