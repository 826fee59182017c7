"""Every message and every error class has its row in docs/troubleshooting.md, and no row is out of date."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from error_messages import FEWEST_LETTERS, ROOT, VALUE, Message, error_classes, messages, messages_of

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
FIRST_CELL = re.compile(r"^\| (`.*?) \| (.*) \|$", re.MULTILINE)


def shown() -> list[str]:
    """The messages of the page's tables, ``...`` for what is filled in."""
    cells = [cell for cell, _ in FIRST_CELL.findall(PAGE) if cell.strip("`") not in error_classes()]
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]


def pattern(message: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(words.strip()) for words in message.split("...")), re.DOTALL)


FOUND = messages()
SHOWN = [(message, pattern(message)) for message in shown()]


def covered(message: Message) -> bool:
    return any(one.search(message.text) for _, one in SHOWN)


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
