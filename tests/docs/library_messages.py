"""Every message of libedgeosr, read from its sources in C++."""

import ast
import re
from collections.abc import Iterator

from error_messages import FEWEST_LETTERS, ROOT, VALUE, Message

SOURCES = ROOT / "edgeosr" / "runtime" / "native" / "src"
LITERAL = r'"(?:[^"\\]|\\.)*"'
LITERALS = re.compile(rf"{LITERAL}(?:\s*{LITERAL})*")
CONSTANT = re.compile(rf"constexpr char (k\w+)\[\] =\s*({LITERALS.pattern});")
PIECE = re.compile(rf"{LITERAL}|//[^\n]*|.", re.DOTALL)


def messages_of_the_library() -> list[Message]:
    """What the sources give to ``fail``: whole messages, as a program in C reads them."""
    texts = {
        path: path.read_text("utf-8") for path in sorted((*SOURCES.rglob("*.cpp"), *SOURCES.rglob("*.h")))
    }
    shared = {name: text_of(value) for text in texts.values() for name, value in CONSTANT.findall(text)}
    return [
        Message(f"{path.relative_to(ROOT)}:{line}", status, words)
        for path, text in texts.items()
        for line, status, words in messages_of(text, shared)
        if len(re.sub(r"[^A-Za-z]", "", words)) >= FEWEST_LETTERS
    ]


def messages_of(source: str, shared: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """The (line, status, words) of a file's calls of ``fail``; ``shared``: words by their constant's name."""
    for call in re.finditer(r"\bfail\(", source):
        status, *rest = arguments_from(source, call.end())
        if not rest or "const " in f"{status}{rest[-1]}" or "..." in rest[-1]:
            continue  # how it is declared
        words = "".join(shared.get(one, text_of(one)) for one in rest)
        yield source[: call.start()].count("\n") + 1, status, words


def arguments_from(source: str, start: int) -> list[str]:
    """The arguments of a call whose bracket opens before ``start``, comments left out."""
    found, depth = [""], 1
    for piece in PIECE.findall(source, start):
        if piece.startswith("//"):
            continue
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(piece, 0)
        if depth == 0:
            break
        if piece == "," and depth == 1:
            found.append("")
        else:
            found[-1] += piece
    return [" ".join(one.split()) for one in found]


def text_of(argument: str) -> str:
    """The words of an argument: neighbouring literals in one, of alternatives the first, else VALUE."""
    chosen = argument
    if "?" in re.sub(LITERAL, "", argument):
        chosen = argument.partition("?")[2]
    first = LITERALS.search(chosen)
    if first is None or (first[0] != chosen and chosen == argument):
        return VALUE
    return "".join(ast.literal_eval(one) for one in re.findall(LITERAL, first[0]))
