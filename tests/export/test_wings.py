"""The wings of the exporter import one way: what a graph is, then what is made of it, then the story."""

from pathlib import Path

import pytest

from edgeosr.export import graph

EXPORT = Path(graph.__file__).parents[1]
# precision/ types what the top has scored, and foreign/ begins the story: they may see the top too.
MAY_IMPORT = {
    "graph": {"graph"},
    "closed_form": {"closed_form", "graph"},
    "tangents": {"tangents", "graph"},
    "front_end": {"front_end", "graph"},
}


def files():
    return sorted(path.relative_to(EXPORT) for wing in MAY_IMPORT for path in (EXPORT / wing).glob("*.py"))


def imported(source):
    """The first word behind ``edgeosr.export.`` of every import, TYPE_CHECKING's and functions' included."""
    lines = [line.split() for line in source.splitlines()]
    modules = [words[1] for words in lines if len(words) > 1 and words[0] in ("from", "import")]
    return {module.split(".")[2] for module in modules if module.startswith("edgeosr.export.")}


@pytest.mark.parametrize("path", files(), ids=str)
def test_a_wing_imports_only_wings_below_it(path):
    assert imported((EXPORT / path).read_text("utf-8")) <= MAY_IMPORT[path.parts[0]]


def test_a_planted_import_is_found():
    assert imported("    from edgeosr.export.scored_graph import scored_graph\n") == {"scored_graph"}


def test_every_folder_of_the_exporter_is_a_wing_that_is_listed():
    folders = {path.parent.name for path in EXPORT.glob("*/__init__.py")}
    assert folders == {*MAY_IMPORT, "precision", "foreign"}
