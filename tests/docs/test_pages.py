"""README and documentation: links lead somewhere, names are the code's, the README is short."""

import os
import re

import pytest
import tomllib
from document import ROOT, Page, pages

from edgeosr.data.named_sets import NAMED_SETS
from edgeosr.export.tangents.rules import load_rules
from edgeosr.model.catalogue import ARCHITECTURES
from edgeosr.preprocessing import FITS
from edgeosr.scoring.limits import KERNEL_LIMITS
from edgeosr.scoring.parts import part_names

README = Page("README.md")
PAGES = {page.path: page for page in pages()}
LINKS = sorted({(page.path, link) for page in pages() for link in page.links()})
ROOM_FOLDERS = ("edgeosr/", "kernels/", "edgeosr/runtime/", "export/", "bench/", "edgeosr/cli/")


def resolved(page: str, link: str) -> tuple[str, str]:
    """The repository's path and the anchor that a link means."""
    path, _, anchor = link.partition("#")
    target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    return target, anchor


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_a_link_leads_to_a_file_and_an_anchor_to_a_heading(page: str, link: str) -> None:
    if link.startswith("https://"):
        return
    target, anchor = resolved(page, link)
    assert (ROOT / target).is_file(), "a page links to files, by paths that work on a code host"
    assert not anchor or anchor in PAGES[target].anchors()


def test_the_readme_has_at_most_150_lines_and_one_picture_of_less_than_150_kb() -> None:
    assert len(README.text.splitlines()) <= 150
    (picture,) = re.findall(r"!\[.*?\]\((.*?)\)", README.text)
    assert (ROOT / picture).stat().st_size < 150_000


def test_the_readme_leads_to_every_page_that_a_user_wants() -> None:
    links = {link.partition("#")[0] for link in README.links()}
    assert {path for path in PAGES if path.startswith("docs/") and path != "docs/index.md"} <= links


def test_the_readme_shows_the_five_commands_and_how_to_call_a_bundle() -> None:
    console = "\n".join(README.blocks("console"))
    assert all(f"$ edgeosr {name}" in console for name in ("train", "export", "evaluate", "predict", "bench"))
    assert "edgeosr.Runtime(" in README.blocks("python")[0]


def test_the_table_of_rooms_is_in_contributing() -> None:
    assert all(f"| `{folder}`" in PAGES["CONTRIBUTING.md"].text for folder in ROOM_FOLDERS)


def test_every_score_part_has_its_line() -> None:
    text = PAGES["docs/how-it-decides.md"].text.partition("\n## Score parts\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted(part_names())


def test_sets_fits_and_networks_are_the_code_s() -> None:
    text = PAGES["docs/own-images.md"].text
    assert [name for name in (*NAMED_SETS, *FITS, *ARCHITECTURES) if f"`{name}`" not in text] == []


def test_limits_and_numbers_of_rules_are_the_code_s() -> None:
    rows = dict(re.findall(r"^\| (\w+), .*? \| (\d+) \|$", PAGES["docs/kernel.md"].text, re.MULTILINE))
    assert (int(rows["D"]), int(rows["C"]), int(rows["K"])) == (
        KERNEL_LIMITS.dimension,
        KERNEL_LIMITS.classes,
        KERNEL_LIMITS.probes,
    )
    assert f"rules for {len(load_rules())} operators" in " ".join(
        PAGES["docs/how-it-decides.md"].text.split()
    )
    limits = f"{KERNEL_LIMITS.rows} rows and {KERNEL_LIMITS.numbers} numbers a part"
    assert limits in " ".join(PAGES["CONTRIBUTING.md"].text.split())


def test_every_file_is_named_in_the_navigation_once() -> None:
    lines = (ROOT / "mkdocs.yml").read_text("utf-8").partition("nav:\n")[2].partition("\nvalidation:")[0]
    named = re.findall(r": (\S+\.md)$", lines, re.MULTILINE)
    assert sorted(named) == sorted(path.removeprefix("docs/") for path in PAGES if path.startswith("docs/"))


def test_nothing_waits_to_be_filled_in() -> None:
    for page in PAGES.values():
        assert not re.search(
            r"\b(TODO|FIXME|TBD|XXX)\b|^(OUTPUT-\w+|FIGURES|RESULTS)$", page.text, re.MULTILINE
        )


def test_licence_files_are_named_and_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license-files"] == ["LICENSE", "NOTICE"]
    assert all((ROOT / name).is_file() for name in project["license-files"])
