"""Programs of the bench refuse a bad option in one line and with exit code 2, before anything is measured."""

import ast
import importlib
import os
import sys
from pathlib import Path

import pytest

from edgeosr.bench.option_values import frame_size, random_seed, some_seconds, whole_number

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("native", "native_opening", "x86")
BAD = (
    ("--frame", "480", "expected HxW in pixels, each from 1 to 16384; got '480'"),
    ("--frame", "axb", "expected HxW"),
    ("--frame", "0x0", "expected HxW"),
    ("--frame", "1x2x3", "expected HxW"),
    ("--frame", "99999x9", "expected HxW"),
    ("--turns", "0", "expected a whole number from 1 to 1000000; got '0'"),
    ("--turns", "-3", "expected a whole number"),
    ("--seconds", "nan", "expected seconds above 0, at most 86400; got 'nan'"),
    ("--seconds", "0", "expected seconds"),
    ("--out", "{file}/x.json", "is no folder; choose another place"),
    ("--out", "{folder}", "it is a folder; choose another place"),
    ("--out", "{pipe}", "it is a pipe, a device or a socket; choose another place"),
    ("--out", "{link}", "it is a pipe, a device or a socket; choose another place"),
)


def refused(module, arguments, monkeypatch, capsys):
    """What ``python -m edgeosr.bench.MODULE`` says on standard error, if it leaves with 2 at once."""
    program = importlib.import_module(f"edgeosr.bench.{module}")
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as left:
        program.main()
    said = capsys.readouterr()
    assert left.value.code == 2 and said.out == ""
    return said.err


def filled(text, tmp_path):
    (tmp_path / "file").touch()
    if not (tmp_path / "pipe").exists():
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("pipe")
    names = {name: tmp_path / name for name in ("file", "pipe", "link")}
    return text.format(folder=tmp_path, **names)


@pytest.mark.parametrize("module", TABLES)
@pytest.mark.parametrize(("option", "value", "words"), BAD)
def test_a_table_refuses_a_bad_option_before_it_reads_a_bundle(
    module, option, value, words, tmp_path, monkeypatch, capsys
):
    # There is no such bundle: nobody came to look.
    given = ["nowhere.edgeosr", f"{option}={filled(value, tmp_path)}"]
    said = refused(module, given, monkeypatch, capsys)
    assert f"error: argument {option}: " in said and words in said and "nowhere" not in said


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("native_decisions", ["B", "--frames=0"]),
        ("native_decisions", ["B", "--seed=-1"]),
        ("native_decisions", ["B", "--out={file}/x.json"]),
        ("engine_builds", ["--json={file}/x.json"]),
        ("figures", ["--json={file}/x.json"]),
        ("tangent_costs", ["--json={file}/x.json"]),
        ("jacobian_curves", ["RUN", "--out={file}/x.png"]),
        ("jacobian_curves", ["RUN", "--out=x.png", "--json={file}/x.json"]),
        ("open_set.__main__", ["--json={file}/x.json"]),
        ("open_set.__main__", ["--picture={file}/x.png"]),
        ("open_set.estimates", ["--json={file}/x.json"]),
        ("reliability.__main__", ["frames", "B", "--json={file}/x.json"]),
        ("reliability.__main__", ["frames", "B", "--count=0"]),
        ("reliability.__main__", ["frames", "B", "--seed=x"]),
    ],
)
def test_the_other_programs_do_so_too(module, arguments, tmp_path, monkeypatch, capsys):
    said = refused(module, [filled(one, tmp_path) for one in arguments], monkeypatch, capsys)
    assert "error: argument --" in said and ("expected" in said or "cannot write" in said)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("native", "the first 10 turns are taken even so"),
        ("x86", "the first 10 turns are taken even so"),
        ("native_opening", "the first 5 turns are taken even so"),
    ],
)
def test_the_help_says_how_many_turns_are_taken_at_least(module, words, monkeypatch, capsys):
    program = importlib.import_module(f"edgeosr.bench.{module}")
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit):
        program.main()
    assert words in " ".join(capsys.readouterr().out.split())


def test_good_values_are_read():
    assert (frame_size("480x640"), frame_size("1X16384")) == ((480, 640), (1, 16384))
    assert (whole_number("7"), random_seed("0"), some_seconds("0.5")) == (7, 0, 0.5)


@pytest.mark.parametrize(
    ("module", "given", "meant"),
    [
        ("native_decisions", ["B", "--frame", "480"], "--frame 480"),
        ("native_opening", ["B", "--turn", "5"], "--turn 5"),
        ("open_set.__main__", ["--pict", "x.png"], "--pict x.png"),
    ],
)
def test_an_option_is_never_taken_for_another_whose_beginning_it_is(
    module, given, meant, monkeypatch, capsys
):
    assert f"unrecognized arguments: {meant}" in refused(module, given, monkeypatch, capsys)


def test_no_parser_of_a_program_takes_abbreviations():
    found = []
    for room in ("bench", "edgeosr"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ArgumentParser"):
                    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                    found.append((given.get("allow_abbrev"), str(path)))
    assert len(found) > 15 and [path for abbreviates, path in found if abbreviates != "False"] == []
