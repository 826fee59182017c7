"""Class names: from a file, one a line, or from the model's own notes, if they are those of the folders."""

import json

import pytest

from edgeosr.errors import ExportError, StorageError, UsageError
from edgeosr.export.foreign.class_names import known_classes, names_in, whence
from edgeosr.export.settings import ExportSettings

FOLDERS = ("ant", "bee", "cat, black", "dog")
OWN = ("dog", "cat, black", "bee", "ant")


def written(tmp_path, data):
    path = tmp_path / "names.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    "data",
    [
        "dog\ncat, black\nbee\nant\n",
        "dog\r\ncat, black\r\nbee\r\nant",
        b"\xef\xbb\xbfdog\ncat, black\nbee\nant\n",
        "\n dog \n\ncat, black\n\t\nbee\nant\n\n",
        "dog\rcat, black\rbee\rant\r",
    ],
)
def test_names_are_read_one_a_line(data, tmp_path):
    assert names_in(written(tmp_path, data)) == OWN


def test_a_name_may_hold_any_letter(tmp_path):
    names = ("größe, 2", "東京", "a\u2028b", "x\x0by")
    assert names_in(written(tmp_path, "\n".join(names))) == names


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("\n\n", "at least 2 class names, one a line.*has 0"),
        ("dog\n\n", "has 1"),
        ("dog\nant\ndog\n", "'dog' is named twice"),
        ("dog\nant".encode("utf-16"), "UTF-8"),
        ("größe\nant".encode("latin-1"), "must be UTF-8 text.*save it as UTF-8"),
        (b"a\n" * 1_500_000, "has 3000000 bytes"),
        ("a\0b\nc", "one a line"),
    ],
)
def test_a_file_that_is_no_list_of_names_is_refused(data, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        names_in(written(tmp_path, data))


def test_a_file_of_names_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"nowhere\.txt"):
        names_in(tmp_path / "nowhere.txt")


def named(foreign_model, saved, notes, **settings):
    return known_classes(saved(foreign_model(notes=notes)), ExportSettings(**settings), FOLDERS)


NOTES = [
    {"names": "{0: 'dog', 1: 'cat, black', 2: 'bee', 3: 'ant'}"},
    {"names": json.dumps(OWN)},
    {"classes": json.dumps(OWN), "stride": "32"},
    {"class_names": "['dog', 'cat, black', 'bee', 'ant']"},
    {"id2label": json.dumps({str(i): name for i, name in enumerate(OWN)})},
    {"label2id": json.dumps({name: i for i, name in enumerate(OWN)})},
    {"labels": "dog\ncat, black\nbee\nant"},
    {"names": "42", "labels": json.dumps(OWN)},
]


@pytest.mark.parametrize("notes", NOTES)
def test_names_in_the_model_are_taken_and_said_if_they_are_the_folders(notes, foreign_model, saved):
    names, told = named(foreign_model, saved, notes)
    assert names == OWN
    assert len(told) == 1 and "the model's own note" in told[0]


def test_where_the_names_came_from_is_said_to_whoever_typed_none(foreign_model, saved):
    path = saved(foreign_model(notes={"id2label": json.dumps({str(i): name for i, name in enumerate(OWN)})}))
    assert whence(path, ExportSettings(), OWN) == "as the model's own note 'id2label' gives them"
    assert whence(path, ExportSettings(), FOLDERS) == "the folder names as they are sorted"
    assert whence(path, ExportSettings(known=OWN), OWN) == "as --known gives them"


@pytest.mark.parametrize(
    "note",
    [
        "{0: 'dog', 1: 'wolf', 2: 'bee', 3: 'ant'}",
        "{0: 'dog', 1: 'dog', 2: 'bee', 3: 'ant'}",
        "{1: 'dog', 2: 'cat, black', 3: 'bee', 4: 'ant'}",
        "{0: 'dog', 1: 2, 2: 'bee', 3: 'ant'}",
        "__import__('os').getcwd()",
        "[" * 5000,
        "{",
        "",
        "1, 2",
        json.dumps({"a": {"b": "c"}}),
    ],
)
def test_other_notes_are_left_alone(note, foreign_model, saved):
    assert named(foreign_model, saved, {"names": note}) == (FOLDERS, [])


def test_folders_of_classes_that_the_model_does_not_name_are_unknown(foreign_model, saved):
    assert named(foreign_model, saved, {"names": "['dog', 'bee']"})[0] == ("dog", "bee")


def test_the_users_own_order_wins_and_what_contradicts_it_is_told(foreign_model, saved, tmp_path):
    notes = {"names": json.dumps(OWN)}
    names, told = named(foreign_model, saved, notes, known=FOLDERS)
    assert names == FOLDERS
    assert len(told) == 1 and "--known gives the classes in another order" in told[0]
    assert named(foreign_model, saved, notes, known=OWN) == (OWN, [])
    assert named(foreign_model, saved, notes, known=("ant", "bee")) == (("ant", "bee"), [])
    path = written(tmp_path, "ant\nbee\ncat, black\ndog\n")
    names, told = named(foreign_model, saved, notes, known_file=path)
    assert names == FOLDERS and "--known-file gives" in told[0]


def test_names_are_given_in_one_way(tmp_path):
    with pytest.raises(UsageError, match="--known and --known-file both name the classes"):
        ExportSettings(known=("a", "b"), known_file=tmp_path / "names.txt")


def test_a_file_that_is_no_model_is_an_export_error(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ExportError, match="must be an ONNX file"):
        known_classes(path, ExportSettings(), FOLDERS)
