"""Every message and every error class has its row in docs/troubleshooting.md, and no row is out of date."""

import re
import subprocess
import sys
from pathlib import Path

import library_messages
import pytest
from error_messages import FEWEST_LETTERS, ROOT, VALUE, Message, error_classes, messages, messages_of

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
FIRST_CELL = re.compile(r"^\| (`.*?) \| (.*) \|$", re.MULTILINE)


def rows_shown() -> list[str]:
    """The messages of the page's tables, ``...`` for what is filled in."""
    cells = [cell for cell, _ in FIRST_CELL.findall(PAGE) if cell.strip("`") not in error_classes()]
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]


def pattern(message: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(words.strip()) for words in message.split("...")), re.DOTALL)


OF_THE_LIBRARY = library_messages.messages_of_the_library()
FOUND = [*messages(), *OF_THE_LIBRARY]
# How a next step begins, in a clause of its own: what to do, as one says it to somebody.
NEXT_STEP = re.compile(
    r"(?:[;:,] |, or |\bor |\band )(?:allow|ask|build|call|check|clear|copy|export|give|install|judge|leave|"
    r"make|name|open|pass|please report|roll back|set|take|try|write) "
)
A_RANGE = re.compile(r"\bmust be .*; got ")
SHOWN = [(message, pattern(message)) for message in rows_shown()]


KINDS = PAGE.partition("## The kinds of messages")[2].partition("\n## ")[0]
# Fewer fit nearly any message, and so does a way out alone; kinds of messages are shown as such.
FEWEST_WORDS = 3
A_WAY_OUT = re.compile(r"(?:\.\.\.|\W)*[,;:] ")


def own_words(text: str) -> int:
    return len(re.findall(r"[A-Za-z]{2,}", text))


def covered(message: Message) -> bool:
    words = min(FEWEST_WORDS, own_words(message.text))
    return any(
        f"`{shown}`" in KINDS
        or (own_words(shown) >= words and (A_WAY_OUT.match(message.text) or not A_WAY_OUT.match(shown)))
        for shown, one in SHOWN
        if one.search(message.text)
    )


def test_every_message_has_a_row() -> None:
    missing = [message for message in FOUND if not covered(message)]
    lines = [f"{one.place} {one.error}: {one.text.replace(VALUE, '...')}" for one in missing]
    assert not missing, "add rows to docs/troubleshooting.md for:\n" + "\n".join(lines)


def test_no_row_shows_a_message_that_nothing_says() -> None:
    assert len(SHOWN) > 100
    stale = [words for words, one in SHOWN if not any(one.search(message.text) for message in FOUND)]
    assert stale == []


def test_a_row_shows_enough_words_to_be_found() -> None:
    short = [words for words, _ in SHOWN if len(re.sub(r"[^A-Za-z]", "", words)) < FEWEST_LETTERS]
    assert short == []


def test_every_row_says_what_to_do() -> None:
    assert [cell for cell, advice in FIRST_CELL.findall(PAGE) if len(advice) < 15] == []


@pytest.mark.parametrize("name", error_classes())
def test_an_error_class_is_listed_with_its_exit_code(name: str) -> None:
    row = re.search(rf"^\| `{name}` \| (\d+) \| .+ \|$", PAGE, re.MULTILINE)
    assert row and int(row[1]) == error_classes()[name].exit_code


def test_a_message_of_the_library_says_what_to_do_or_what_may_be_given() -> None:
    assert len(OF_THE_LIBRARY) > 60
    # What they fill in says it: all places and a way out; a whole reason; what "auto" found, one by one.
    filled_in = ("; looked for ", " cannot be verified: ", "; before that, ", "; of the other engines: ")
    silent = [
        f"{one.place}: {one.text.replace(VALUE, '...')}"
        for one in OF_THE_LIBRARY
        if not NEXT_STEP.search(one.text) and not A_RANGE.search(one.text)
        if not any(words in one.text for words in filled_in)
    ]
    assert silent == []


def test_a_message_in_c_is_read_with_its_constants_and_of_alternatives_the_first() -> None:
    source = (
        'constexpr char kAgain[] = "; do it"\n    " again";\n'
        'void f() { fail(BAD, path, " is ", old ? "old" : "new", // why\n "; so", " be, it", kAgain); }\n'
        "[[noreturn]] void fail(edgeosr_status status, Parts const&... parts);\n"
    )
    found = library_messages.messages_of(source, {"kAgain": "; do it again"})
    assert list(found) == [(3, "BAD", f"{VALUE} is old; so be, it; do it again")]


def test_words_that_are_put_together_in_c_are_read_from_helpers_macros_and_within_another_call() -> None:
    source = (
        '#define LOOK(name) \\\n    fail(BAD, kName, \\\n  " has no ", #name)\n'
        'if (x) failed(api, status, joined("it is ", n, none ? joined("old", kAgain) : why), kAgain);\n'
    )
    assert list(library_messages.messages_of(source, {"kAgain": "; do it again", "kName": "that"})) == [
        (2, "BAD", f"that has no {VALUE}"),
        (4, "api", f"{VALUE}it is {VALUE}old; do it again; do it again"),
    ]


def test_a_constant_of_a_source_goes_before_one_of_a_header_and_is_of_that_source_alone() -> None:
    own = [one.text for one in OF_THE_LIBRARY if "tensorrt/engine_io.cpp" in one.place]
    assert own and all("it is no engine of this bundle" in text or "build one for" in text for text in own)


def test_the_class_of_an_error_is_read_from_a_call_and_from_a_base() -> None:
    source = (
        "WHERE = 'the attic'\n"
        "def f(n):\n    raise DataError(f'{n} boxes are in {WHERE}; ' + ('open them' if n else ''))\n"
        "class NoClosedFormError(X):\n    def __init__(self):\n        super().__init__('it ends early')\n"
    )
    assert {(name, text) for _, name, text in messages_of(source)} == {
        ("DataError", f"{VALUE} boxes are in the attic; open them"),
        ("NoClosedFormError", "it ends early"),
    }


def test_a_message_without_a_row_is_noticed() -> None:
    assert not covered(Message("nowhere", "DataError", f"the moon is in the way of {VALUE}"))


@pytest.mark.parametrize("generic", ["...; looked for ...; ...", "..., or take the back end onnxruntime"])
def test_a_row_of_few_words_or_of_a_way_out_covers_no_message_of_its_own(generic: str) -> None:
    assert pattern(generic) in [one for _, one in SHOWN]
    said = generic.replace("...", "the moon is in the way")
    assert not covered(Message("nowhere", "NO_BACKEND", said))


def test_what_python_says_beside_a_folder_named_like_the_package_is_what_the_page_says(
    tmp_path: Path,
) -> None:
    (tmp_path / "edgeosr").mkdir()
    for code in ("import edgeosr; edgeosr.Runtime", "from edgeosr import Runtime"):
        beside, inside = (
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
            for folder in (tmp_path, ROOT)
        )
        said = beside.stderr.splitlines()[-1]
        assert any(
            pattern(words).search(said)
            for words in re.findall(r"Python itself says `(.*?)`, or `(.*?)`", PAGE)[0]
        )
        assert inside.returncode == 0, inside.stderr
