"""The documentation as a site: strict, so that what leads nowhere fails; and nothing comes from elsewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from document import ROOT

# What loads by itself when a page is opened; a link that a reader follows may lead anywhere.
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data|srcset)=[\"']?(?P<a>[^\"'\s>]+)"
    r"|<link\b[^>]*?\bhref=[\"']?(?P<b>[^\"'\s>]+)"
    r"|url\([\"']?(?P<c>[^\"')]+)"
    r"|@import\s+[\"'](?P<d>[^\"']+)"
)
ELSEWHERE = re.compile(r"^(?:https?:)?//")


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build as ``make docs`` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "-f", str(root / "mkdocs.yml"), "-d", str(out)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository with its own docs/, everything else linked."""
    root = tmp_path / "repository"
    root.mkdir()
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.name not in {"docs", "build", ".git", ".venv"}:
            (root / path.name).symlink_to(path)
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The site, and what building it said."""
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert done.returncode == 0, done.stderr
    return out, done.stderr


@pytest.fixture(scope="module")
def site(built: tuple[Path, str]) -> Path:
    return built[0]


def test_a_build_says_nothing_but_that_it_builds(built: tuple[Path, str]) -> None:
    assert "WARNING" not in built[1]
    assert "contains" not in built[1], "an INFO about a link that leads nowhere"


def plant(copy: Path, *lines: str) -> None:
    page = copy / "docs" / "jetson.md"
    page.write_text(page.read_text("utf-8") + "".join(f"\n{line}\n" for line in lines), "utf-8")


@pytest.mark.parametrize("planted", ["[gone](nowhere.md)", "[gone](commands.md#nowhere)"])
def test_a_planted_link_or_anchor_that_leads_nowhere_fails_the_build(
    copy: Path, tmp_path: Path, planted: str
) -> None:
    plant(copy, planted)
    done = build(copy, tmp_path / "out")
    assert done.returncode != 0
    assert "nowhere" in done.stderr and "Aborted with 1 warnings in strict mode" in done.stdout + done.stderr


def test_each_kind_of_link_that_leads_nowhere_counts(copy: Path, tmp_path: Path) -> None:
    places = (
        "nowhere.md",
        "../NOWHERE.md",
        "commands.md#nowhere",
        "#no-such-heading",
        "../CONTRIBUTING.md#nowhere-there",
        "images/nothing.png",
        "/absolute.md",
    )
    plant(copy, *(f"[gone]({place})" for place in places))
    (copy / "docs" / "forgotten.md").write_text("# Not in the navigation\n", "utf-8")
    done = build(copy, tmp_path / "out")
    assert done.returncode != 0
    named = [place.removeprefix("../CONTRIBUTING.md") for place in places]
    assert [name for name in (*named, "forgotten.md") if name not in done.stderr] == []
    assert f"Aborted with {len(places) + 1} warnings in strict mode" in done.stdout + done.stderr


def loaded_from_elsewhere(text: str) -> list[str]:
    found = [next(filter(None, match.groups())) for match in LOADED.finditer(text)]
    return [place for place in found if ELSEWHERE.match(place)]


def test_the_pages_load_nothing_from_another_host(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css", ".svg"}]
    assert len([path for path in files if path.suffix == ".html"]) > 10
    loaded = {path.name: loaded_from_elsewhere(path.read_text("utf-8", "replace")) for path in files}
    assert {name: places for name, places in loaded.items() if places} == {}


@pytest.mark.parametrize(
    "planted",
    [
        '<script async src="https://cdn.example/x.js"></script>',
        "<script src=//cdn.example/x.js></script>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        "@font-face { src: url('https://fonts.example/a.woff2') }",
        '@import "https://fonts.example/css";',
        '<img alt="" src="http://counter.example/1.gif">',
    ],
)
def test_a_planted_load_from_another_host_is_found(planted: str) -> None:
    assert loaded_from_elsewhere(planted)
    assert not loaded_from_elsewhere('<a href="https://example.org">a link</a><script src="js/theme.js">')


def test_make_check_builds_the_site_and_does_not_hide_what_it_says() -> None:
    rules = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^check:.*\bdocs\b", rules, re.MULTILINE)
    (recipe,) = re.findall(r"^docs:.*\n((?:\t.*\n)+)", rules, re.MULTILINE)
    assert "mkdocs build" in recipe and "-q" not in recipe


def test_pages_of_the_repository_are_part_of_the_site(site: Path) -> None:
    for name in ("CONTRIBUTING.html", "CHANGELOG.html"):
        assert (site / "repository" / name).is_file()
    contributing = (site / "repository" / "CONTRIBUTING.html").read_text("utf-8")
    assert 'href="../design.html"' in contributing
    assert (site / "repository" / "bench" / "results" / "figures.json").is_file()
