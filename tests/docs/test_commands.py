"""What README and documentation say can be typed can be typed."""

import importlib.util
import re
from typing import Any

import pytest
import tomllib
from document import ROOT, Page, options_of, pages, parse, words_of
from typer.main import get_command

from edgeosr.cli.app import app

COMMANDS = Page("docs/commands.md")
LINES = sorted({(line, page.path) for page in pages() for line in page.command_lines()})
# What a shell does around a command, not a command of ours.
SHELL = {"source"}


def parsed_parts(line: str) -> list[list[str]]:
    """The commands of a line, split at ``&&``."""
    return [words_of(part) for part in re.split(r"\s&&\s", line)]


@pytest.mark.parametrize(("line", "page"), [entry for entry in LINES if entry[0].startswith("edgeosr ")])
def test_an_edgeosr_line_parses_against_the_command_line(line: str, page: str) -> None:
    assert parse(words_of(line)) is not None


def test_a_line_with_an_option_that_is_not_there_is_refused() -> None:
    with pytest.raises(Exception, match="--false-rejects"):
        parse(["edgeosr", "export", "--false-rejects", "0.05"])


@pytest.mark.parametrize(("line", "page"), [entry for entry in LINES if not entry[0].startswith("edgeosr ")])
def test_any_other_line_names_what_is_there(line: str, page: str) -> None:
    for words in parsed_parts(line):
        require_there(words)


def require_there(words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert words[1] in targets
    elif words[0] == "pip":
        assert words[1] in {"install", "uninstall"}
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        ours = [word for word in words if re.match(r"(\.|edgeosr.*)\[", word)]
        extras = {extra for word in ours for extra in word.partition("[")[2].rstrip("]").split(",")}
        assert extras <= set(project["optional-dependencies"])
    elif words[0] in {"python", "python3"} and words[1] == "-m":
        assert importlib.util.find_spec(words[2])
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    elif words[0] == "cmake":
        assert (ROOT / "CMakeLists.txt").is_file()
    else:
        assert words[0] in SHELL or (ROOT / words[0]).is_file(), words


@pytest.mark.parametrize(
    "line",
    ["make magic", "python -m no_such_module", "python tests/no.py", "pip install 'edgeosr[gold]'", "magic"],
)
def test_a_line_that_names_what_is_not_there_is_refused(line: str) -> None:
    with pytest.raises(AssertionError):
        require_there(words_of(line))


def test_every_command_is_in_the_table_of_commands() -> None:
    group: Any = get_command(app)
    assert set(re.findall(r"^\| \[`(\w+)`\]\(#\1\) \| ", COMMANDS.text, re.MULTILINE)) == set(group.commands)


def section(command: str) -> str:
    return COMMANDS.text.partition(f"\n## {command}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("command", sorted(get_command(app).commands))  # type: ignore[attr-defined]  # it is a group
def test_the_page_lists_exactly_the_options_of_a_command(command: str) -> None:
    first_cells = re.findall(r"^\| (`--.*?) \|", section(command), re.MULTILINE)
    listed = {option for cell in first_cells for option in re.findall(r"`(--[\w-]+)`", cell)}
    assert listed == options_of(command)


@pytest.mark.parametrize("command", sorted(get_command(app).commands))  # type: ignore[attr-defined]  # it is a group
def test_a_number_given_as_default_is_the_default(command: str) -> None:
    rows = re.findall(r"^\| `(--[\w-]+)`.*? \| `?([^|]*?)`? \| ", section(command), re.MULTILINE)
    parameters: Any = get_command(app).commands[command].params  # type: ignore[attr-defined]  # it is a group
    defaults = {option: one.default for one in parameters for option in one.opts}
    for option, shown in rows:
        default = defaults[option]
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(shown) == default, option
        elif isinstance(default, tuple):
            assert tuple(map(float, shown.split())) == default, option
        elif isinstance(default, str):
            assert shown == default, option


def test_the_page_says_how_many_threads_each_command_takes_by_default() -> None:
    shared = COMMANDS.text.partition("\n## What all commands share\n")[2].partition("\n## ")[0]
    table = shared.partition("| without `--threads` | ")[2].partition("\n\n")[0]
    said = {
        command: words
        for commands, words in re.findall(r"^\| (`.*?) \| (.+) \|$", table, re.MULTILINE)
        for command in re.findall(r"`(\w+)`", commands)
    }
    group: Any = get_command(app)
    helps = {
        name: one.help
        for name, command in group.commands.items()
        for one in command.params
        if "--threads" in one.opts
    }
    assert {name: f"CPU threads. Default: {words}." for name, words in said.items()} == helps
    # Those that open a Runtime, which leaves the number to onnxruntime.
    assert {name for name, words in said.items() if words == "one a physical core"} == {
        *("predict", "bench", "verify", "selftest"),
    }


def test_every_extra_is_in_the_install_lines() -> None:
    install = "\n".join(Page("docs/index.md").blocks("sh"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert [extra for extra in extras if f"-e '.[{extra}]'" not in install and extra != "dev"] == []


def test_no_page_installs_from_an_index_what_is_not_released() -> None:
    # A wheel's file name and an upgrade (a message's own words) are no install from nothing.
    released = re.compile(r"^pip install '?edgeosr(\[[\w,]+\])?'?(\s|$)")
    assert [line for line, _ in LINES if released.match(line)] == []
    assert released.match("pip install edgeosr   # run") and released.match("pip install 'edgeosr[cuda,rtx]'")
    assert not released.match("pip install 'edgeosr-0.1.0-py3-none-any.whl[cuda]'")
    for page in ("README.md", "docs/index.md"):
        assert "edgeosr is on no package index yet" in " ".join(Page(page).text.split())
