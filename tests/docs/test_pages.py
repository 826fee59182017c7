"""README and documentation: links lead somewhere, names are the code's, the README is short."""

import ast
import importlib.util
import os
import re
import sys

import pytest
import tomllib
from document import ROOT, Page, pages

from edgeosr.bundle.manifest import SCHEMA
from edgeosr.data.named_sets import NAMED_SETS
from edgeosr.export.conformal import groups_needed
from edgeosr.export.graph.image_input import LUMA
from edgeosr.export.graph.opset import NEWEST, OLDEST, OLDEST_READ
from edgeosr.export.precision.gate import GATE_IMAGES, OPEN_IMAGES
from edgeosr.export.tangents.rules import load_rules
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.model.catalogue import ARCHITECTURES
from edgeosr.preprocessing import FITS
from edgeosr.runtime.golden import LEAST_FRAMES
from edgeosr.scoring.parts import part, part_names
from edgeosr.scoring.scorer_file import FORMAT as SCORER_FORMAT
from edgeosr.verdict import MOST_PARTS

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


def test_every_score_part_has_its_line_with_the_words_of_the_code() -> None:
    text = PAGES["docs/how-it-decides.md"].text.partition("\n## Score parts\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \| (.+?) \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted((name, part(name).title, part(name).meaning) for name in part_names())


def test_sets_fits_and_networks_are_the_code_s() -> None:
    text = PAGES["docs/own-images.md"].text
    assert [name for name in (*NAMED_SETS, *FITS, *ARCHITECTURES) if f"`{name}`" not in text] == []


def test_how_many_images_a_rate_needs_is_what_the_code_asks_for() -> None:
    text = PAGES["docs/own-images.md"].text
    rows = re.findall(
        r"^\| (0\.\d+)(?: \(default\))? \| (\d+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE
    )
    assert [row[0] for row in rows] == ["0.05", "0.02", "0.01"]
    for rate, groups, training, pictures in rows:
        assert int(groups) == groups_needed(float(rate))
        # The default fractions: a tenth calibrates, and a fifth of all is held out where there is no test.
        assert int(training.replace(",", "")) == 10 * int(groups)
        assert int(pictures.replace(",", "")) == round(10 * int(groups) / 0.8, -1)
    for page in ("README.md", "docs/own-images.md"):
        (line,) = (one for one in PAGES[page].command_lines() if "--false-reject-rate 0.02" in one)
        assert f"about {10 * groups_needed(0.02)} training images (5 %: {10 * groups_needed(0.05)})" in line


def test_limits_and_numbers_of_rules_are_the_code_s() -> None:
    text = PAGES["docs/kernel.md"].text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!what \|)(.+?) \| (\d.*?) \|$", text, re.MULTILINE)
    # Those of the launch itself; another test holds what Python refuses equal to them.
    source = (ROOT / "kernels" / "src" / "params.cuh").read_text("utf-8")
    most = dict(re.findall(r"^ +kMax(\w+) = (\d+),", source, re.MULTILINE))
    assert dict(rows) == {
        "B, samples of a launch": most["Batch"],
        "K, tangents": most["Probes"],
        "D, length of the embedding": most["Dimension"],
        "Q, positions of the map": most["Positions"],
        "C, classes": most["Classes"],
        "layers of the discriminator": f"{most['Layers']}, each of at most {most['Width']}",
        "taps of the closed form's table": most["Taps"],
        "score parts": most["Parts"],
        "rows of one part": most["PartRows"],
        "numbers of one part": most["PartNumbers"],
    }
    for page in ("docs/models.md", "CHANGELOG.md"):
        assert f"maps of more than {most['Positions']} positions" in " ".join(PAGES[page].text.split())
    assert f"rules for {len(load_rules())} operators" in " ".join(
        PAGES["docs/how-it-decides.md"].text.split()
    )
    of_parts = f"{most['PartRows']} rows and {most['PartNumbers']} numbers a part"
    assert f"Limits: {most['Parts']} parts a bundle; in the kernel {of_parts}" in " ".join(
        PAGES["CONTRIBUTING.md"].text.split()
    )


def test_opsets_and_greys_that_the_page_of_models_names_are_the_code_s() -> None:
    text = " ".join(PAGES["docs/models.md"].text.split())
    opsets = (
        f"Opsets {OLDEST} to {NEWEST} are taken as they are; {OLDEST_READ} to {OLDEST - 1} and newer ones"
    )
    assert opsets in text
    red, green, blue = LUMA
    assert f"`{red} red + {green} green + {blue} blue`" in text


def test_formats_and_sizes_that_pages_name_are_the_code_s() -> None:
    texts = {name: " ".join(page.text.split()) for name, page in PAGES.items()}
    assert f"The manifest says its schema, {SCHEMA}." in texts["docs/embedding.md"]
    assert f"`manifest.json` has schema {SCHEMA}." in texts["CHANGELOG.md"]
    assert f"`scorer.npz` has format {SCORER_FORMAT}." in texts["CHANGELOG.md"]
    assert f"`golden.npz` holds at least {LEAST_FRAMES} expected verdicts" in texts["CHANGELOG.md"]
    verdict = f"{VERDICT.itemsize} bytes, aligned to 16: label, flags"
    assert verdict in texts["CHANGELOG.md"] and verdict in texts["docs/kernel.md"]
    for page in ("CHANGELOG.md", "docs/kernel.md", "docs/design.md"):
        assert f"{MOST_PARTS} values" in texts[page]
    gate = f"up to {GATE_IMAGES:,} validation images on the CPU (at most {OPEN_IMAGES} of"
    assert gate in texts["docs/jetson.md"]
    assert f"up to {GATE_IMAGES:,} validation images" in texts["docs/results.md"]


def listed(path: str, name: str) -> int:
    """How many entries of its own a list of a test file has; it is read, not run."""
    for node in ast.parse((ROOT / path).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            assert isinstance(node.value, ast.List)
            return sum(not isinstance(entry, ast.Starred) for entry in node.value.elts)
    raise AssertionError(f"{path} has no list {name}")


def test_what_the_kernel_page_counts_is_what_the_kernel_s_tests_do() -> None:
    text = " ".join(PAGES["docs/kernel.md"].text.split())
    mutants = listed("tests/kernels/test_fused_score_mutants.py", "MUTANTS")
    mutants += listed("tests/kernels/mutants_of_classes.py", "OF_CLASSES")
    mutants += listed("tests/kernels/mutants_of_classes.py", "OF_OWN_VERDICT")
    mutants += listed("tests/kernels/mutants_of_layers.py", "OF_OWN_LAYERS")
    mutants += listed("tests/kernels/test_cluster_mutants.py", "MUTANTS")
    assert f" {mutants} seeded faults must each be caught" in text
    # Under a name of its own: the kernel's tests import this file too.
    specification = importlib.util.spec_from_file_location(
        "fused_cases_of_the_page", ROOT / "tests" / "kernels" / "fused_cases.py"
    )
    assert specification is not None and specification.loader is not None
    fused_cases = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = fused_cases
    specification.loader.exec_module(fused_cases)
    assert f"pairwise covering set of {len(fused_cases.covering_cases())} shapes" in text
    assert f"in clusters on {len(fused_cases.cluster_cases())} shapes of their own" in text
    names = (path.stem.removeprefix("sm_") for path in (ROOT / "kernels" / "budgets").glob("sm_*.json"))
    *most, last = sorted(int(name) for name in names if name.isdecimal())
    assert f"compiles for sm_{', '.join(map(str, most))} and {last} with all warnings" in text


def test_the_changelog_names_the_extras_and_pythons_that_no_run_of_the_lowest_versions_has() -> None:
    text = " ".join(PAGES["CHANGELOG.md"].text.split())
    sets = ast.parse((ROOT / "tests" / "oldest" / "run.py").read_text("utf-8"))
    keywords = [
        {str(keyword.arg): keyword.value for keyword in node.keywords}
        for node in ast.walk(sets)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "OldestSet"
    ]
    ran = {extra for one in keywords if "extras" in one for extra in ast.literal_eval(one["extras"])}
    pythons = sorted({ast.literal_eval(one["python"]) for one in keywords})
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    *most, last = (f"`{extra}`" for extra in extras if extra not in ran | {"export", "dev"})
    assert f"and those of the extras {', '.join(most)} and {last}." in text
    assert f"on Python {', '.join(pythons[:-1])} and {pythons[-1]}. Not run: numpy's" in text
    assert "3.12" not in pythons


def test_every_path_that_contributing_names_is_there() -> None:
    text = PAGES["CONTRIBUTING.md"].prose
    named = re.findall(r"`((?:edgeosr|export|kernels|bench|tests|docs)/[\w./-]*)`", text)
    examples = {"edgeosr/scoring/parts/NAME.py"}
    assert len(named) > 15
    assert [path for path in named if path not in examples and not (ROOT / path).exists()] == []


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
