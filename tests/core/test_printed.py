"""What is printed: names that no terminal should act upon, and JSON that any reader takes."""

import io
import json
import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeosr.cli.output import command_line
from edgeosr.printed import json_text, original, pictured, printable, printable_lines, say
from edgeosr.progress import _start
from edgeosr.user_path import path_from_user

ODD = {
    os.fsdecode(b"Stra\xdfe"): r"Stra\xdfe",
    "new\nline\tand\rmore": r"new\nline\tand\rmore",
    "\x1b[31mred\x07": r"\x1b[31mred\x07",
    "\x85\x9b31m": r"\u0085\u009b31m",
    "gnp.\u202eexe": r"gnp.\u202eexe",
    "a\u2028b\u2066c": r"a\u2028b\u2066c",
}


@pytest.mark.parametrize("name", ODD)
def test_what_a_terminal_would_act_upon_is_an_escape_that_can_be_read_back(name: str) -> None:
    assert printable(name) == ODD[name]
    assert printable(printable(name)) == ODD[name]
    assert original(ODD[name]) == name
    printable(name).encode("ascii")


@pytest.mark.parametrize("name", ["Straße", "犬", "emoji😀👨‍👩‍👧", "[/x] [bold]", "a\\b", "two  spaces"])
def test_text_stays_as_it_is(name: str) -> None:
    assert printable(name) == printable_lines(name) == name


def test_lines_keep_their_ends_and_nothing_else() -> None:
    assert printable_lines("a\nb\x1b\rc") == "a\nb\\x1b\\rc"


def test_json_is_ascii_and_strict_whatever_is_in_it() -> None:
    value = {"source": Path(os.fsdecode(b"a\xff")), "犬\ud800": ["new\nline", float("nan"), np.float64(2.5)]}
    text = json_text(value)
    text.encode("ascii")
    assert json.loads(text) == {"source": r"a\xff", "犬\\ud800": ["new\nline", None, 2.5]}


def test_a_line_on_standard_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("cannot read \x1b[2J\nok.png")
    assert capsys.readouterr().err == "cannot read \\x1b[2J\\nok.png\n"


def test_without_a_standard_error_nothing_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    say("skipped")
    assert capsys.readouterr().out == ""


def test_markup_in_a_name_is_shown_by_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    state: dict[str, object] = {}
    _start(state, "judging [/x]\x1b[2J", 3, background=False)
    state["bar"].update(state["task"], completed=1, note="[bold]cat")
    state["bar"].stop()
    assert "judging [/x]\\x1b[2J" in stream.getvalue() and "[bold]cat" in stream.getvalue()


def test_dollars_in_a_name_are_no_mathematics() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    figure.suptitle(pictured("folder $\\foo$ costs $$"))
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("name", [*ODD, "it's", "a\\b\x07'", "-dash"])
def test_the_next_command_can_be_pasted_whatever_a_path_is_called(name: str) -> None:
    line = command_line("printf", "%s", Path(name))
    said = subprocess.run(["bash", "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert said.stdout.removeprefix(b"./") == os.fsencode(name)
    assert line == printable(line)
    if printable(name) == name:
        assert shlex.split(line)[2].removeprefix("./") == name


def test_a_path_is_what_is_on_disk_first_then_what_a_record_shows_then_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("~1.png", "~", "a\\x41", os.fsdecode(b"Stra\xdfe")):
        Path(name).touch()
    for name in ("~1.png", "~", "a\\x41", "~nobodyatall/x.png", "missing"):
        assert path_from_user(name) == Path(name)
    assert path_from_user(r"Stra\xdfe") == Path(os.fsdecode(b"Stra\xdfe"))
    assert path_from_user("~/photos") == tmp_path / "home" / "photos"
