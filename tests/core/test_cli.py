"""What every command does alike: help, versions, errors, exit codes, and options that are settings."""

import dataclasses
import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from edgeosr import __version__
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bench.settings import LatencySettings
from edgeosr.cli import app as application
from edgeosr.cli.bench import bench
from edgeosr.cli.evaluate import evaluate
from edgeosr.cli.export import export
from edgeosr.cli.options import names_from, numbers_from, settings_from, size_from
from edgeosr.cli.output import command_line, last_line
from edgeosr.cli.train import train
from edgeosr.errors import DataError, DecisionGateError, UsageError
from edgeosr.export.settings import ExportSettings
from edgeosr.training.settings import TrainSettings

COMMANDS = ("train", "export", "evaluate", "predict", "bench", "inspect", "verify", "selftest", "demo")
Run = Callable[..., tuple[int, str, str]]


def test_the_version_is_the_package_s(edgeosr: Run) -> None:
    assert edgeosr("--version") == (0, f"edgeosr {__version__}\n", "")


def test_help_names_every_command(edgeosr: Run) -> None:
    code, out, _ = edgeosr("--help")
    assert code == 0
    assert all(f"  {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_examples_of_it(command: str, edgeosr: Run) -> None:
    code, out, _ = edgeosr(command, "--help")
    assert code == 0
    assert f"\n      edgeosr {command}" in out


@pytest.mark.parametrize("arguments", [["tran"], ["train", "--dta", "x"], ["inspect", "a", "b"]])
def test_a_wrong_command_or_option_ends_with_2_and_usage(arguments: list[str], edgeosr: Run) -> None:
    code, out, err = edgeosr(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: edgeosr" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["train", "--data", "digits", "--arch", "clasifier32"], "classifier32"),
        (["train", "--data", "digits", "--loss", "movrr"], "movr"),
        (["train", "--data", "digits", "--fit", "letterbx"], "letterbox"),
        (["train", "--data", "digits", "--precision", "bf16-mix"], "bf16-mixed"),
        (["train", "--data", "digts"], "digits"),
        (["export", "--jacobian", "closedform"], "closed-form"),
        (["export", "--engine", "onxn"], "onnx"),
        (["export", "--fit", "strech"], "stretch"),
        (["export", "--color", "bggr"], "bgr"),
        (["export", "--threshold-rule", "per_class"], "per-class"),
    ],
)
def test_an_unknown_value_suggests_the_near_one(arguments: list[str], near: str, edgeosr: Run) -> None:
    code, out, err = edgeosr(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert f"did you mean '{near}'" in err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["train"], "--data FOLDER"),
        (["train", "--data", "digits", "--known", "1,,2"], "write a,b,c"),
        (["train", "--resume", "run", "--epochs", "3"], "leave out --epochs"),
        (["train", "--resume", "run", "--out", "other"], "leave out --out"),
        (["export"], "edgeosr train"),
        (["export", "--frame", "480"], "480x640"),
        (["export", "--out", "mine"], "mine.edgeosr"),
        (["export", "--engine", "fp16", "--threshold-rule", "per-class"], "write --threshold-rule common"),
        (["bench", "--batches", "0"], "write 1,8"),
        (["inspect"], "edgeosr export"),
        (["inspect", "nowhere.edgeosr"], "nowhere.edgeosr"),
        (["evaluate"], "edgeosr export"),
        (["bench"], "edgeosr export"),
        (["predict"], "edgeosr predict"),
        (["predict", "missing.png"], "edgeosr export"),
    ],
)
def test_a_mistake_gets_one_message_that_says_what_to_do(
    arguments: list[str], advice: str, edgeosr: Run, tmp_path: Path
) -> None:
    code, out, err = edgeosr(*arguments)
    assert code in {1, 2}
    assert out == ""
    assert advice in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def fail_with(problem: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise problem

    monkeypatch.setattr("edgeosr.bundle.directory.newest_bundle", fail)


def test_an_error_of_ours_is_a_clean_message_with_its_exit_code(
    edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(DataError("no images in photos/; add some"), monkeypatch)
    assert edgeosr("inspect") == (1, "", "error: no images in photos/; add some\n")


def test_line_ends_of_ours_are_printed_and_those_of_a_name_are_not(
    edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(DecisionGateError("the least alike:\n  made of 3.png"), monkeypatch)
    assert edgeosr("inspect") == (1, "", "error: the least alike:\n  made of 3.png\n")
    fail_with(DataError("cannot read a\nb.png"), monkeypatch)
    assert edgeosr("inspect") == (1, "", "error: cannot read a\\nb.png\n")


@pytest.mark.parametrize(
    ("module", "extra"), [("scipy.fftpack", "export"), ("torch", "train"), ("cv2", "video")]
)
def test_a_package_that_another_one_misses_is_named_with_its_install_line(
    module: str, extra: str, edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ModuleNotFoundError(f"No module named {module!r}", name=module), monkeypatch)
    code, _, err = edgeosr("inspect")
    assert code == 1 and f"pip install 'edgeosr[{extra}]'" in err and "Traceback" not in err
    fail_with(ModuleNotFoundError("No module named 'edgeosr.nothing'", name="edgeosr.nothing"), monkeypatch)
    assert edgeosr("inspect")[0] == 70


def test_bench_misses_what_draws_its_picture_before_it_times_anything(
    edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    hidden = "matplotlib"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == hidden else there(name))
    code, _, err = edgeosr("bench", "no-bundle", "--out", "latency.json")
    assert code == 1 and "--out, which draws the latency, needs the package 'matplotlib'" in err


@pytest.mark.parametrize("name", ["t.json", "t.png"])
def test_bench_refuses_a_pipe_where_its_record_or_picture_goes_before_it_times_anything(
    name: str, edgeosr: Run, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / name)
    code, _, err = edgeosr("bench", "no-bundle", "--out", str(tmp_path / "t.json"))
    assert code == 1 and f"{name}: it is a pipe, a device or a socket; choose another place" in err
    assert (tmp_path / name).is_fifo()


def test_ctrl_c_ends_with_130_and_a_line(edgeosr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    assert edgeosr("inspect") == (130, "", "interrupted\n")


def test_a_defect_of_ours_shows_its_traceback_and_asks_for_a_report(
    edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ZeroDivisionError("planted"), monkeypatch)
    code, out, err = edgeosr("inspect")
    assert (code, out) == (70, "")
    assert "ZeroDivisionError: planted" in err
    assert "please report it" in err


def test_a_reader_that_closes_the_pipe_is_not_answered_with_a_traceback() -> None:
    code = "import sys; from edgeosr.cli.app import main; sys.argv = ['edgeosr', 'train', '--help']; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nosuch"], "no file or folder 'nosuch'"),
        (["--data", "digits", "--known", "1,one"], "one"),
        (["--data", "digits", "--known", "1"], "at least 2 known classes"),
    ],
)
def test_data_that_cannot_be_used_are_refused_before_torch_is_imported(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    code = "\n".join(
        [
            "import sys; from edgeosr.cli.app import main",
            f"sys.argv = ['edgeosr', 'train', *{arguments!r}]",
            "try: main()",
            "except SystemExit as end: print(end.code, 'torch' in sys.modules)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split() in (["1", "False"], ["2", "False"])
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def defaults_of(settings: type[Any]) -> dict[str, Any]:
    """Every field's default; a field without one has no entry."""
    return {
        field.name: field.default
        for field in dataclasses.fields(settings)
        if field.default is not dataclasses.MISSING
    }


# Where the text of an option is parsed further, its default is written as text.
AS_TEXT: dict[str, Any] = {"batches": "1", "resume": None}
# Set by an option of another name: --engine onnx is no precision.
OTHERWISE = {ExportSettings: {"precision": "engine", "openvino": "precision"}}


@pytest.mark.parametrize(
    ("command", "settings", "beside"),
    [
        (train, TrainSettings, {"ctx", "json", "data"}),
        (
            export,
            ExportSettings,
            {"json", "source", "target", "batch", "engine", "precision", "target_library"},
        ),
        (evaluate, QualitySettings, {"json", "bundle"}),
        (bench, LatencySettings, {"ctx", "json", "bundle", "out", "kernel_model"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_options_of_a_command_are_the_fields_of_its_settings_with_the_same_defaults(
    command: Callable[..., None], settings: type[Any], beside: set[str]
) -> None:
    parameters = inspect.signature(command).parameters
    options = {name: given.default for name, given in parameters.items() if name not in beside}
    renamed = OTHERWISE.get(settings, {})
    expected = {name: value for name, value in defaults_of(settings).items() if name not in renamed}
    assert options == {name: AS_TEXT.get(name, value) for name, value in expected.items()}
    assert set(renamed.values()) <= beside <= set(parameters)


def test_a_command_that_leaves_out_a_setting_is_a_defect() -> None:
    with pytest.raises(TypeError, match="threads"):
        settings_from(QualitySettings, unknown=None, known=None, data_root=None, out=None)


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (["train", "--data", "digits"], "edgeosr.training.train_run.train_run"),
        (["export", "run"], "edgeosr.export.export_run.export_run"),
        (["export", "m.onnx"], "edgeosr.export.foreign.export_model.export_model"),
        (["evaluate", "b"], "edgeosr.bench.quality.evaluate_bundle"),
        (["bench", "b"], "edgeosr.bench.latency.measure_latency"),
        (["predict", "b", "x.png"], "edgeosr.runtime.predict.predict_source"),
        (["verify", "b"], "edgeosr.runtime.verify.verify_bundle"),
        (["selftest", "b"], "edgeosr.runtime.selftest.selftest"),
        (["demo"], "edgeosr.bench.demo.run_demo"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_reach_what_runs_as_values_of_their_types(
    command: list[str], target: str, edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text where a Path is expected was a traceback for every ``--out`` with an older typer."""
    seen: dict[str, Any] = {}

    def called(*positional: Any, **named: Any) -> None:
        for value in positional:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                seen.update({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
        seen.update(named)
        raise DataError("called")

    monkeypatch.setattr(target, called)
    takes_out = command[0] in {"train", "export", "evaluate", "predict", "demo"}
    words = ["--out", "o.edgeosr"] if takes_out else []
    code, _, err = edgeosr(*command, "--threads", "3", *words)
    assert (code, err) == (1, "error: called\n")
    assert seen["threads"] == 3
    assert not takes_out or seen["out"] == Path("o.edgeosr")


@pytest.mark.parametrize(
    ("options", "then"),
    [([], "edgeosr evaluate b.edgeosr"), (["--frame", "48x64"], "edgeosr predict b.edgeosr IMAGE")],
)
def test_after_an_export_for_one_frame_size_evaluate_is_not_the_next_command(
    options: list[str], then: str, edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = SimpleNamespace(backbone=None)
    report = SimpleNamespace(
        path=Path("b.edgeosr"), manifest=manifest, as_text=lambda: "done", as_json=lambda: "{}"
    )
    monkeypatch.setattr("edgeosr.export.export_run.export_run", lambda run, settings: report)
    code, out, _ = edgeosr("export", "run", *options)
    assert (code, out) == (0, f"done\nWrote b.edgeosr. Next: {then}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--data", "digits", "--seed", "-1"], "seed must be a whole number from 0"),
        (["export", "--seed", "-1"], "--seed must be a whole number from 0"),
        (["export", "--seed", "4294967296"], "4294967295"),
        (["bench", "b.edgeosr", "--seed", "-1"], "seed must be a whole number from 0"),
        (["demo", "--seed", "-1"], "--seed must be a whole number from 0"),
        (["train", "--data", "digits", "--threads", "0"], "--threads"),
        (["evaluate", "b.edgeosr", "--threads", "-2"], "--threads"),
        (["verify", "b.edgeosr", "--threads", "0"], "--threads"),
        (["selftest", "b.edgeosr", "--threads", "0"], "--threads"),
        (["demo", "--threads", "100000"], "--threads"),
        (["train", "--data", "digits", "--input-size", "100000"], "input_size must be a whole number from 1"),
        (["train", "--data", "digits", "--fractions", "0.5", "0.1", "0.1"], "that sum to 1"),
        (["train", "--data", "digits", "--fractions", "nan", "0.5", "0.5"], "that sum to 1"),
        (["train", "--data", "digits", "--test-fraction", "nan"], "test_fraction must be above 0"),
    ],
)
def test_a_number_out_of_range_is_a_wrong_option_and_no_defect(
    arguments: list[str], said: str, edgeosr: Run, tmp_path: Path
) -> None:
    code, out, err = edgeosr(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [info.callback for info in application.app.registered_commands])
def test_every_option_has_a_help_text(command: Callable[..., None]) -> None:
    for name, parameter in inspect.signature(command).parameters.items():
        if name != "ctx":
            (information,) = (part for part in get_args(parameter.annotation)[1:] if hasattr(part, "help"))
            assert information.help, name


def test_names_numbers_and_sizes_are_read_or_refused() -> None:
    assert names_from(None) is None
    assert names_from(" a, b") == ("a", "b")
    assert size_from(None) is None
    assert size_from("480x640") == (480, 640)
    assert numbers_from("--batches", "1, 8") == (1, 8)
    for written in ("480X640", "(480, 640)", "480*640", "480,640"):
        assert size_from(written) == (480, 640)
    assert numbers_from("--batches", "[1 8]") == (1, 8)
    for wrong in ("a,a", "", "a,"):
        with pytest.raises(UsageError):
            names_from(wrong)
    for wrong in ("480", "x", "480x", "480x640x3", "-1x2"):
        with pytest.raises(UsageError):
            size_from(wrong)


def test_the_last_line_names_what_was_written_and_a_command_that_can_be_pasted() -> None:
    then = command_line("edgeosr", "export", Path("runs/my cats"))
    assert last_line(Path("runs/my cats"), then) == "Wrote runs/my cats. Next: edgeosr export 'runs/my cats'"
    assert last_line(None, then) == "Next: edgeosr export 'runs/my cats'"
