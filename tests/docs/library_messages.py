"""Every message of libedgeosr and of its plug-in for TensorRT, read from their sources in C++."""

import ast
import re
from collections.abc import Iterator

from error_messages import FEWEST_LETTERS, ROOT, VALUE, Message

NATIVE = ROOT / "edgeosr" / "runtime" / "native"
SOURCES = (NATIVE / "src", NATIVE / "tensorrt")
LITERAL = r'"(?:[^"\\]|\\.)*"'
LITERALS = re.compile(rf"{LITERAL}(?:\s*{LITERAL})*")
CONSTANT = re.compile(rf"constexpr char (k\w+)\[\] =\s*({LITERALS.pattern});")
PIECE = re.compile(rf"{LITERAL}|//[^\n]*|.", re.DOTALL)


def messages_of_the_library() -> list[Message]:
    """What the sources give to ``fail``: whole messages, as a program in C reads them."""
    texts = {
        path: path.read_text("utf-8")
        for folder in SOURCES
        for path in sorted((*folder.rglob("*.cpp"), *folder.rglob("*.h")))
    }
    # A source's own go first: kAgain is another in each.
    of_headers = constants_of("".join(text for path, text in texts.items() if path.suffix == ".h"))
    return [
        Message(f"{path.relative_to(ROOT)}:{line}", status, words)
        for path, text in texts.items()
        for line, status, words in messages_of(text, {**of_headers, **constants_of(text)})
        if len(re.sub(r"[^A-Za-z]", "", words)) >= FEWEST_LETTERS
    ]


def constants_of(source: str) -> dict[str, str]:
    """The words of a source's constants, by name."""
    return {name: text_of(value) for name, value in CONSTANT.findall(source)}


def messages_of(source: str, shared: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """The (line, first argument, words) of a file's calls of ``fail`` and ``failed``.

    ``shared``: words by their constant's name.
    """
    source = source.replace("\\\n", " \n")  # a macro's lines
    for call in re.finditer(r"\bfail(?:ed)?\(", source):
        status, *rest = arguments_from(source, call.end())
        if not rest or "const " in f"{status}{rest[-1]}" or "..." in rest[-1]:
            continue  # how it is declared
        words = "".join(words_of(one, shared) for one in rest)
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


def words_of(argument: str, shared: dict[str, str]) -> str:
    """The words of an argument, those of constants and of ``joined(...)`` among them."""
    if argument.startswith("joined("):
        return "".join(words_of(one, shared) for one in arguments_from(argument, len("joined(")))
    _, choice, first = re.sub(LITERAL, lambda found: "x" * len(found[0]), argument).partition("?")
    if not choice:
        return shared.get(argument, text_of(argument))
    chosen = argument[-len(first) :].strip()
    if chosen.startswith("joined("):
        return words_of(chosen, shared)
    return shared.get(chosen.partition(" : ")[0], text_of(argument))


def text_of(argument: str) -> str:
    """The words of an argument: neighbouring literals in one, of alternatives the first, else VALUE."""
    chosen = argument
    if "?" in re.sub(LITERAL, "", argument):
        chosen = argument.partition("?")[2]
    first = LITERALS.search(chosen)
    if first is None or (first[0] != chosen and chosen == argument):
        return VALUE
    return "".join(ast.literal_eval(one) for one in re.findall(LITERAL, first[0]))
