"""The pages that people read, and what can be typed, followed or imported in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command

from edgeosr.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A command in a sentence, such as `edgeosr build BUNDLE`.
INLINE = re.compile(r"`((?:edgeosr|make|pip install|python -m) [^`]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Words of a sentence that are no command: a placeholder in a table of messages.
ELLIPSIS = "..."


@dataclass(frozen=True)
class Page:
    """One Markdown file, by its path in the repository."""

    path: str

    @property
    def text(self) -> str:
        return (ROOT / self.path).read_text("utf-8")

    @property
    def prose(self) -> str:
        return BLOCK.sub("", self.text)

    def blocks(self, language: str) -> list[str]:
        return [text for found, text in BLOCK.findall(self.text) if found == language]

    def command_lines(self) -> list[str]:
        """Every line a reader may type: console prompts, lines of sh blocks, commands in sentences."""
        prompts = [
            line[2:] for text in self.blocks("console") for line in text.splitlines() if line[:2] == "$ "
        ]
        lines = [
            line
            for text in self.blocks("sh")
            for line in text.splitlines()
            if line.strip() and not line.startswith("#")
        ]
        return prompts + lines + [line for line in INLINE.findall(self.prose) if ELLIPSIS not in line]

    def links(self) -> list[str]:
        return LINK.findall(self.prose)

    def anchors(self) -> set[str]:
        """The names of its headings, as code hosts and MkDocs spell them."""
        headings = [line.lstrip("# ") for line in self.prose.splitlines() if re.match(r"#+ ", line)]
        return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def pages() -> list[Page]:
    names = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    return [Page(name) for name in names] + [
        Page(path.relative_to(ROOT).as_posix()) for path in sorted((ROOT / "docs").rglob("*.md"))
    ]


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def parse(words: list[str]) -> dict[str, Any]:
    """Parse an edgeosr command line without running it; anything it does not take raises."""
    group: Any = get_command(app)
    if words[1] in {"--help", "--version"}:
        return {}
    command = group.commands[words[1]]
    if "--help" in words:
        return {}
    parameters: dict[str, Any] = command.make_context(words[1], words[2:]).params
    return parameters


def options_of(command: str) -> set[str]:
    """The options of a command, but those that all have."""
    group: Any = get_command(app)
    options = {
        option for one in group.commands[command].params for option in (*one.opts, *one.secondary_opts)
    }
    return {option for option in options if option.startswith("--")} - {"--json", "--threads", "--help"}
