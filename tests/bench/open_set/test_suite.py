"""A finished list is not run again, a stopped run goes on, and the program writes what it found."""

import json
from dataclasses import replace

import pytest

from edgeosr.bench.open_set import __main__ as program
from edgeosr.bench.open_set import suite
from edgeosr.bench.open_set.protocols import PROTOCOLS, published
from edgeosr.bench.open_set.suite import SuiteSettings, document_of, run_lists
from edgeosr.errors import TrainingError, UsageError

DIGITS = PROTOCOLS["digits"]


@pytest.fixture
def observed(monkeypatch, make_network):
    """Networks that are there at once; returns the known classes of each, as they were asked for."""
    asked = []

    def network(self, known):
        asked.append(known)
        return make_network(seed=len(asked))

    monkeypatch.setattr(suite.ProtocolRun, "_observed", network)
    return asked


def test_a_finished_list_is_read_back_and_only_what_is_missing_is_run(observed, tmp_path):
    settings = SuiteSettings(work=tmp_path, rivals=None)
    first = run_lists([DIGITS], (0, 2), settings)
    assert len(observed) == 2
    second = run_lists([DIGITS], (0, 1, 2), settings)
    assert len(observed) == 3
    assert second["digits"][0] == first["digits"][0] and second["digits"][2] == first["digits"][2]


def test_a_run_that_is_stopped_keeps_the_lists_before_it(monkeypatch, observed, tmp_path):
    settings, network = SuiteSettings(work=tmp_path, rivals=None), suite.ProtocolRun._observed

    def fails_at_the_second(self, known):
        if len(observed) == 1:
            raise TrainingError("the loss is not finite")
        return network(self, known)

    with monkeypatch.context() as patch, pytest.raises(TrainingError):
        patch.setattr(suite.ProtocolRun, "_observed", fails_at_the_second)
        run_lists([DIGITS], (0, 1), settings)
    run_lists([DIGITS], (0, 1), settings)
    assert observed == [DIGITS.chosen((0,))[0], DIGITS.chosen((1,))[1]]


@pytest.mark.parametrize("why", ["another recipe", "damaged", "again", "rivals"])
def test_a_list_is_run_again_if(why, observed, tmp_path, monkeypatch):
    settings, protocol = SuiteSettings(work=tmp_path, rivals=None), DIGITS
    run_lists([protocol], (0,), settings)
    if why == "another recipe":
        protocol = replace(DIGITS, recipe=replace(DIGITS.recipe, epochs=3))
    elif why == "damaged":
        (tmp_path / "digits" / "list-0.json").write_text('{"cells": [', "utf-8")
    elif why == "again":
        settings = replace(settings, again=True)
    else:
        package = type("Package", (), {"__version__": "9.9", "detector": object()})
        settings = replace(settings, rivals=package)
    run_lists([protocol], (0,), settings)
    assert len(observed) == 2


def test_a_number_that_one_protocol_lacks_is_refused_before_anything_is_run(observed, tmp_path):
    short = replace(DIGITS, name="short", lists=lambda images: published(images)[:2])
    with pytest.raises(UsageError, match=r"0\.\.1 for short; got 4"):
        run_lists([DIGITS, short], (4,), SuiteSettings(work=tmp_path, rivals=None))
    assert observed == []


def test_every_cell_says_what_it_is_and_how_to_do_it_again(observed, tmp_path):
    lists = run_lists([DIGITS], (0, 1), SuiteSettings(work=tmp_path, rivals=None))
    document = document_of([DIGITS], lists)
    assert {cell["list"] for cell in document["cells"]} == {0, 1}
    for cell in document["cells"]:
        assert cell["protocol"] == "digits" and cell["seed"] == 0
        assert 0 <= cell["auroc"] <= 1 and 0 <= cell["false_accepts_at_5"] <= 1
        suite_line, recipe = cell["command"].split("  # ")
        assert suite_line == f"python -m edgeosr.bench.open_set --only digits --lists {cell['list']}"
        assert recipe.startswith("edgeosr train --data digits --known ")
        assert {"edgeosr", "torch", "onnxruntime", "numpy"} <= set(cell["versions"])


def test_the_program_prints_tables_and_writes_json_and_picture(observed, tmp_path, capsys):
    arguments = ["--only", "digits", "--lists", "0-1", "--work", str(tmp_path), "--without-pytorch-ood"]
    files = ["--json", str(tmp_path / "open.json"), "--picture", str(tmp_path / "open.png")]
    program.main([*arguments, *files, "--markdown", "o"])
    out = capsys.readouterr().out
    document = json.loads((tmp_path / "open.json").read_text("utf-8"))
    assert len(document["cells"]) == 2 * 6
    shipped = document["rows"][0]["shipped"]
    assert f"{shipped['auroc']:.3f}<!--o:rows/0/shipped/auroc-->" in out
    assert "| digits | 2 | " in out
    assert (tmp_path / "open.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "open.json").read_text("utf-8").splitlines()
    assert sum('"score": "shipped"' in line for line in lines if '"protocol"' in line) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "neu-froze"], "did you mean 'neu-frozen'"),
        (["--lists", "1-"], "--lists: expected numbers and ranges such as 0,3 or 0-4; got '1-'"),
        (["--lists", "4-2"], "expected numbers and ranges"),
        (["--pytorch-ood", "nowhere"], "pip install --no-deps --target"),
    ],
)
def test_a_wrong_option_is_told_without_a_traceback(arguments, message, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pytorch_ood", None)
    with pytest.raises(SystemExit):
        program.main(arguments)
    assert message in capsys.readouterr().err


def test_list_numbers_are_numbers_and_ranges():
    assert program.list_numbers(None) is None
    assert program.list_numbers("0,3") == (0, 3)
    assert program.list_numbers("0-2, 7,1") == (0, 1, 2, 7)
