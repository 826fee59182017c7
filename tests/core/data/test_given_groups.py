"""``--groups`` is read as the documentation says, and what is wrong with it is told before any work."""

from pathlib import Path

import pytest

from edgeosr.data.given_groups import GivenGroups, group_numbers
from edgeosr.errors import DataError, UsageError

NAMES = ["cat/clip1_1.jpg", "cat/clip1_2.jpg", "cat/clip2_1.jpg", "dog/clip1_1.jpg", "dog/other.jpg"]


def numbers(asked: str) -> list[int]:
    return group_numbers(GivenGroups(asked).of(NAMES)).tolist()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"(clip\d+)_", [0, 0, 2, 0, 4]),
        (r"([^/]+/clip\d+)_", [0, 0, 2, 3, 4]),
        (r"^cat/(?:clip)(\d)", [0, 0, 2, 3, 4]),
        ("(*)_*.jpg", [0, 0, 2, 0, 4]),
        ("cat/(*)_?.jpg", [0, 0, 2, 3, 4]),
        ("(*)/*.jpg", [0, 0, 0, 3, 3]),
    ],
)
def test_a_pattern_names_the_group(pattern: str, expected: list[int]) -> None:
    assert numbers(pattern) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cat/clip1_1.jpg,x\ncat/clip1_2.jpg,x\nother.jpg,y\n",
        "\ufeffname,group\r\ncat/clip1_1.jpg, x\r\n\r\n./cat/clip1_2.jpg,x\r\n",
        "file;group\ncat\\clip1_1.jpg;x\ncat/clip1_2.jpg;x\n",
        'cat/clip1_1.jpg\t"x"\ncat/clip1_2.jpg\tx\n',
    ],
)
def test_a_file_names_the_groups(text: str, tmp_path: Path) -> None:
    path = tmp_path / "groups"
    path.write_text(text, "utf-8")
    assert numbers(str(path)) == [0, 0, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,group\n", "is empty"),
        ("cat/clip1_1.jpg\n", "line 1 of .* expected NAME,GROUP"),
        ("cat/clip1_1.jpg,a,b\n", "line 1 of"),
        ("cat/clip1_1.jpg,a\ncat/clip1_2.jpg,\n", "line 2 of"),
        ("cat/clip1_1.jpg,a\ncat/clip1_1.jpg,b\n", "into two groups"),
        ("other.jpg,a\ndog/other.jpg,b\n", "puts dog/other.jpg into two groups, once by its bare name"),
        ("dog/other.jpg,a\nother.jpg,b\n", "puts dog/other.jpg into two groups, once by its bare name"),
        (
            "cat/clip9_1.jpg,a\ncat/clip1_2.jpg,a\n",
            r"1 image\(s\) that are not there.*cat/clip9_1.jpg.*'cat/clip1_1.jpg'",
        ),
        ("clip1_1.jpg,a\n", "not only once: clip1_1.jpg; images are called as 'cat/clip1_1.jpg' is"),
    ],
)
def test_a_wrong_file_is_refused_by_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        numbers(str(path))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(b"caf\xe9,a\n")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        numbers(str(path))


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ("gone.csv", UsageError, "there is no file 'gone.csv'"),
        ("clip", UsageError, "has 0 groups in brackets"),
        (r"(clip)(\d)", UsageError, "has 2 groups in brackets"),
        ("(clip", UsageError, "no regular expression"),
        ("(bird)", DataError, "says nothing of any image; images are called as 'cat/clip1_1.jpg' is"),
        ("x" * 5000, UsageError, "has 0 groups"),
    ],
)
def test_a_wrong_pattern_is_refused(asked: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        numbers(asked)
