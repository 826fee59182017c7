"""Python in README and documentation: it compiles, its imports are there, and so are the names it uses."""

import ast
import importlib
import inspect
import re

import pytest
from document import Page, pages

import edgeosr
from edgeosr.kernels.fused_score import FusedScorer

BLOCKS = [(page.path, number, text) for page in pages() for number, text in enumerate(page.blocks("python"))]
# A page may show what is coming, if it says so in a sentence that begins like this.
NOT_YET = re.compile(r"^Not yet in this version: (.*?)\.(?=\s)", re.MULTILINE | re.DOTALL)


def promised(page: Page) -> set[str]:
    """Names of ``edgeosr`` that a page says are not there yet."""
    return {name for text in NOT_YET.findall(page.text) for name in re.findall(r"`edgeosr\.(\w+)`", text)}


@pytest.mark.parametrize(("page", "number", "block"), BLOCKS)
def test_what_a_block_imports_is_there(page: str, number: int, block: str) -> None:
    imports: list[ast.stmt] = [
        node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert imports
    exec(compile(ast.Module(imports, []), page, "exec"), {})


@pytest.mark.parametrize(("page", "number", "block"), BLOCKS)
def test_a_block_uses_what_edgeosr_offers(page: str, number: int, block: str) -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "edgeosr"
    }
    assert used - promised(Page(page)) <= set(edgeosr.__all__)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.path)
def test_what_a_page_says_is_not_there_is_not_there(page: Page) -> None:
    arrived = promised(page) & set(edgeosr.__all__)
    assert not arrived, f"take the mark off {page.path}"


@pytest.mark.parametrize(("page", "number", "block"), BLOCKS)
def test_keywords_of_a_block_are_those_of_what_it_calls(page: str, number: int, block: str) -> None:
    tree = ast.parse(block)
    known: dict[str, object] = {
        alias.asname or alias.name: getattr(importlib.import_module(str(node.module)), alias.name, None)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    known |= {f"edgeosr.{name}": getattr(edgeosr, name) for name in edgeosr.__all__}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        target = known.get(ast.unparse(call.func))
        if callable(target):
            keywords = {str(keyword.arg): None for keyword in call.keywords}
            inspect.signature(target).bind(*[None] * len(call.args), **keywords)


def test_the_kernel_s_lines_fit_its_signatures() -> None:
    """They need a GPU to run (README's block runs in tests/core); here each call binds to what it calls."""
    (kernel,) = (text for path, _, text in BLOCKS if path == "docs/embedding.md" and "FusedScorer" in text)
    outer = next(node for node in ast.walk(ast.parse(kernel)) if isinstance(node, ast.Call))
    assert isinstance(outer.func, ast.Attribute) and isinstance(outer.func.value, ast.Call)
    for call, target, bound in (
        (outer, FusedScorer.score_map, 1),
        (outer.func.value, FusedScorer.__init__, 1),
    ):
        keywords = {str(keyword.arg): None for keyword in call.keywords}
        inspect.signature(target).bind(*[None] * (bound + len(call.args)), **keywords)
