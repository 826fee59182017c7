"""A figure that README or documentation quotes is the one in the file it names.

``<!-- g = bench/results/NAME.json -->`` gives a file a short name on a page.
``0.936<!--g:scores/fused/auroc-->`` says where a figure comes from: keys and list positions, and with
``*100`` a factor. The figure must be that value, rounded to the digits that are shown.
"""

import json
import re
from functools import cache
from typing import Any

import pytest
from document import ROOT, Page, pages

FILE = re.compile(r"<!-- (\w+) = (bench/results/\S+\.json) -->")
TAG = r"<!--(\w+):([^\s*>]+)(?:\*([\d.]+))?-->"
QUOTED = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?)" + TAG)
# Tables in which every decimal must say where it comes from; targets and conditions are not measured.
MEASURED_PAGES = ("README.md", "docs/results.md")
DECIMAL = re.compile(r"\d\.\d")


@cache
def read(path: str) -> Any:
    return json.loads((ROOT / path).read_text("utf-8"))


def files(page: Page) -> dict[str, str]:
    return dict(FILE.findall(page.text))


def value_at(document: Any, place: str) -> float:
    for key in place.split("/"):
        document = document[int(key)] if isinstance(document, list) else document[key]
    return float(document)


def is_rounded(shown: str, value: float) -> bool:
    number = shown.replace(",", "")
    digits = len(number.partition(".")[2])
    return abs(float(number) - value) <= 0.5 * 0.1**digits * (1 + 1e-9)


FIGURES = [
    (page.path, shown, files(page).get(name, ""), place, float(factor or 1))
    for page in pages()
    for shown, name, place, factor in QUOTED.findall(page.text)
    if page.path != "CONTRIBUTING.md"  # it shows how it is written
]


@pytest.mark.parametrize(("page", "shown", "file", "place", "factor"), FIGURES)
def test_a_quoted_figure_is_the_recorded_one(
    page: str, shown: str, file: str, place: str, factor: float
) -> None:
    recorded = value_at(read(file), place) * factor
    assert is_rounded(shown, recorded), f"{page} says {shown}, {file} holds {recorded:g} at {place}"


def test_every_tag_stands_behind_a_figure_and_names_a_file_of_the_page() -> None:
    for page in pages():
        if page.path != "CONTRIBUTING.md":
            tags = re.findall(TAG, page.text)
            assert len(tags) == len(QUOTED.findall(page.text)), page.path
            assert {name for name, _, _ in tags} == set(files(page)), page.path


@pytest.mark.parametrize("name", MEASURED_PAGES)
def test_every_decimal_in_a_table_of_measurements_says_where_it_comes_from(name: str) -> None:
    tables = [line for line in Page(name).prose.splitlines() if line.startswith("|")]
    assert tables
    heads: list[str] = []
    bare = []
    for line in tables:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != len(heads) or DECIMAL.search(line) is None:
            heads = cells if not set(line) <= set("|-: ") else heads
            continue
        for head, cell in list(zip(heads, cells, strict=True))[1:]:
            if head != "target" and DECIMAL.search(QUOTED.sub("", cell)):
                bare.append(cell)
    assert bare == []


def bare_figures(text: str) -> list[str]:
    """Figures in sentences that neither a file holds nor a dagger marks; targets are not measured."""
    paragraphs = [part for part in text.split("\n\n") if not part.startswith(("|", "Target:", "#"))]
    prose = QUOTED.sub("", re.sub(r"`[^`]*`", "", "\n\n".join(paragraphs)))
    return re.findall(r"(?<![\w.])(?:0\.\d+|\d[\d.,]*(?=\s(?:images/s|[GM]B|ms|s|%)(?!\w)))(?![\d†])", prose)


def test_a_figure_in_a_sentence_of_the_results_is_a_file_s_or_marked() -> None:
    assert bare_figures(Page("docs/results.md").prose) == ["5"], "the target false-reject rate"
    assert "A figure with a dagger (†)" in Page("docs/results.md").prose


def test_a_figure_in_a_sentence_without_file_or_mark_is_found() -> None:
    assert bare_figures("It took 77 s, 2.6 GB and scored 0.61.") == ["77", "2.6", "0.61"]
    assert bare_figures("It took 77† s and 2.6<!--g:a/b--> GB, `0.5`.\n\nTarget: 99.8 %") == []


def test_rounding_is_to_the_digits_shown() -> None:
    assert is_rounded("97.4", 97.35294)
    assert not is_rounded("97.3", 97.35294)
    assert is_rounded("3,000", 3000) and not is_rounded("3,001", 3000)
    assert not is_rounded("14.5", 14.445676)
