"""Every message that the product raises, read from its sources."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeosr import errors

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("edgeosr", "export", "kernels", "bench")
# Stands for what a message fills in.
VALUE = "\0"
# With fewer letters of its own nobody could look a message up, and a row would fit nearly any.
FEWEST_LETTERS = 6


@dataclass(frozen=True)
class Message:
    """One place that makes an error: ``text`` has VALUE for each value that is filled in."""

    place: str
    error: str
    text: str


def error_classes() -> dict[str, type[errors.EdgeosrError]]:
    """The product's error classes by name."""
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EdgeosrError)
    }


def messages() -> list[Message]:
    """Every message whose words stand where the error is made, not where its parts are put together."""
    return [
        Message(f"{path.relative_to(ROOT)}:{line}", name, text)
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, name, text in messages_of(path.read_text("utf-8"))
        if len(re.sub(r"[^A-Za-z]", "", text)) >= FEWEST_LETTERS
    ]


def messages_of(source: str) -> Iterator[tuple[int, str, str]]:
    """The (line, class, words) of a module's errors: of calls, and of what a class tells its base."""
    tree = ast.parse(source)
    names = error_classes()
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in names:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__" and call.args:
                    yield call.lineno, node.name, words_of(call.args[0], constants)
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in names:
                yield node.lineno, name, words_of(node.args[0], constants)


def words_of(node: ast.expr, constants: dict[str, str]) -> str:
    """The constant words of a message; of two alternatives the first."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(words_of(value, constants) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return words_of(node.value, constants) if isinstance(node.value, ast.Name) else VALUE
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return words_of(node.left, constants) + words_of(node.right, constants)
    if isinstance(node, ast.IfExp):
        return words_of(node.body, constants)
    if isinstance(node, ast.Name):
        return constants.get(node.id, VALUE)
    return VALUE
