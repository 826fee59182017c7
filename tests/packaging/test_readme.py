"""What the README says can be typed can be typed, and where it points there is something."""

import ast
import importlib.util
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tomllib
from typer.main import get_command

from edgeosr.cli.app import app
from edgeosr.data.named_sets import NAMED_SETS
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.model.catalogue import ARCHITECTURES
from edgeosr.preprocessing import FITS
from edgeosr.verdict import PART_NAMES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOM_FOLDERS = ("edgeosr/", "kernels/", "edgeosr/runtime/", "export/", "bench/", "edgeosr/cli/")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:edgeosr|make|pip install) [^`]*)`")


def command_lines() -> list[str]:
    """Every line a reader may type: prompts in console blocks, lines of sh blocks, commands in sentences."""
    lines = []
    for language, text in BLOCK.findall(README):
        if language == "console":
            lines += [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        elif language == "sh":
            lines += [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lines + INLINE.findall(BLOCK.sub("", README))


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def parse(words: list[str]) -> dict[str, Any]:
    """Parse an edgeosr command line without running it; anything it does not take raises."""
    group: Any = get_command(app)
    if words[1] in {"--help", "--version"}:
        return {}
    command = group.commands[words[1]]
    parameters: dict[str, Any] = command.make_context(words[1], words[2:]).params
    return parameters


def python_blocks() -> list[str]:
    return [text for language, text in BLOCK.findall(README) if language == "python"]


@pytest.mark.parametrize("block", python_blocks())
def test_what_a_python_block_imports_is_there(block: str) -> None:
    imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    exec(compile(ast.Module(imports, []), "README.md", "exec"), {})


def test_the_kernel_s_lines_fit_its_signatures() -> None:
    """They need a GPU to run (the first block runs in tests/core); here each call binds to what it calls."""
    (kernel,) = (block for block in python_blocks() if "FusedScorer" in block)
    outer = next(node for node in ast.walk(ast.parse(kernel)) if isinstance(node, ast.Call))
    assert isinstance(outer.func, ast.Attribute) and isinstance(outer.func.value, ast.Call)
    for call, target, bound in (
        (outer, FusedScorer.score_map, 1),
        (outer.func.value, FusedScorer.__init__, 1),
    ):
        keywords = {str(keyword.arg): None for keyword in call.keywords}
        inspect.signature(target).bind(*[None] * (bound + len(call.args)), **keywords)


@pytest.mark.parametrize("line", [line for line in command_lines() if line.startswith("edgeosr ")])
def test_an_edgeosr_line_parses_against_the_command_line(line: str) -> None:
    assert parse(words_of(line)) is not None


def test_a_line_with_an_option_that_is_not_there_is_refused() -> None:
    with pytest.raises(Exception, match="--false-rejects"):
        parse(["edgeosr", "export", "--false-rejects", "0.05"])


def test_every_command_is_in_the_table() -> None:
    table = {line.split("`")[1] for line in README.splitlines() if re.match(r"\| `\w+` \| ", line)}
    group: Any = get_command(app)
    assert set(group.commands) <= table


@pytest.mark.parametrize("line", [line for line in command_lines() if not line.startswith("edgeosr ")])
def test_any_other_line_is_make_pip_a_module_or_ci_and_names_what_is_there(line: str) -> None:
    words = words_of(line)
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert words[1] in targets
    elif words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        extras = [
            extra for word in words for found in re.findall(r"\[(.*)\]", word) for extra in found.split(",")
        ]
        assert set(extras) <= set(project["optional-dependencies"])
    elif words[0] in {"python", "python3"} and words[1] == "-m":
        assert importlib.util.find_spec(words[2])
    else:
        assert (ROOT / words[0]).is_file()


def test_every_link_resolves() -> None:
    links = re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", README))
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in README.splitlines() if line.startswith("#")}  # fmt: skip
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings
        elif not link.startswith("https://"):
            assert (ROOT / link).exists(), link


def test_the_python_blocks_compile_and_use_what_edgeosr_offers() -> None:
    import edgeosr

    blocks = [text for language, text in BLOCK.findall(README) if language == "python"]
    assert blocks
    for text in blocks:
        used = {
            node.attr
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "edgeosr"
        }
        assert used <= set(edgeosr.__all__)


def test_the_first_sixty_lines_hold_sentence_commands_python_rooms_and_extras() -> None:
    first = "\n".join(README.splitlines()[:60])
    for command in ("$ edgeosr train", "$ edgeosr export", "$ edgeosr bench"):
        assert command in first
    assert "edgeosr.Runtime(" in first
    assert all(f"| `{folder}`" in first for folder in ROOM_FOLDERS)
    for extra in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]:
        assert f"edgeosr[{extra}]" in first or extra == "dev"
    assert README.count("![") <= 2


def test_names_of_parts_fits_sets_and_architectures_are_the_code_s() -> None:
    for name in (*PART_NAMES, *FITS, *NAMED_SETS):
        assert f"`{name}`" in README, name
    help_of_arch = next(p for p in get_command(app).commands["train"].params if p.name == "arch").help  # type: ignore[attr-defined]
    assert all(name in help_of_arch for name in ARCHITECTURES)


def test_nothing_waits_to_be_filled_in() -> None:
    assert not re.search(r"^(OUTPUT-\w+|FIGURES|RESULTS)$", README, re.MULTILINE)
