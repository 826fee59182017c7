"""Every path that a command is given is looked at before it works, whatever the options beside it are."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.cli import app as application
from edgeosr.errors import StorageError
from edgeosr.files import require_place

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def edgeosr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line beside the folder ``pics`` of two classes: exit code, standard error."""
    for name in ("pics/a/1.png", "pics/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["edgeosr", *command.split()])
        with pytest.raises(SystemExit) as end:
            application.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("train --data pics --no-discriminator --outliers typo", 2, "outliers are for the discriminator"),
        ("train --data pics --outliers typo", 2, "no file or folder 'typo'"),
        ("train --data pics --watch-jacobian --watch-unknown typo", 2, "no file or folder 'typo'"),
        ("evaluate b.edgeosr --unknown typo", 2, "no file or folder 'typo'"),
        ("evaluate b.edgeosr --known typo", 2, "no file or folder 'typo'"),
        ("train --data pics --data-root typo", 1, "the data folder typo of --data-root does not exist"),
        ("train --data pics --watch-unknown typo", 2, "watch_unknown names the images of watch_jacobian"),
        ("train --data pics --groups typo.csv", 2, "--groups: there is no file 'typo.csv'"),
        ("train --resume typo", 2, "typo"),
        ("export m.onnx --data pics --outliers typo", 2, "no file or folder 'typo'"),
        ("export m.onnx --data pics --out pics/x.edgeosr/y.edgeosr --data-root typo", 1, "--data-root"),
        ("export m.onnx --data pics --out file/x.edgeosr", 1, "cannot write file/x.edgeosr: "),
        ("evaluate b.edgeosr --unknown pics --out file", 1, "cannot write file: it is no folder"),
        ("bench b.edgeosr --out pics.json/../pics/a/1.png", 2, "must end in .json"),
        ("bench b.edgeosr --out file/x.json", 1, "cannot write file/x.json: "),
        ("bench b.edgeosr --run typo", 1, "typo is not a run"),
        ("bench b.edgeosr --run typo --no-torch", 2, "--run is for the torch baseline"),
        ("bench b.edgeosr --kernel-model", 2, "--kernel-model times nothing"),
        ("bench --kernel-model --out x.json", 2, "--kernel-model times nothing"),
        ("predict b.edgeosr pics --no-video --out typo", 2, "--no-video draws nothing"),
    ],
)
def test_a_path_that_cannot_be_used_is_told_at_once(
    command: str, code: int, message: str, edgeosr: Run
) -> None:
    found, said = edgeosr(command)
    assert (found, said.startswith("error: ")) == (code, True) and message in said, said


@pytest.mark.parametrize(
    "command", ["train --resume", "export", "evaluate", "bench", "inspect", "predict pics"]
)
def test_a_path_that_is_too_long_is_a_path_for_every_command(command: str, edgeosr: Run) -> None:
    code, said = edgeosr(f"{command} {'a' * 300}")
    assert code == 1 and "must be a path" not in said and "aaa" in said


@pytest.mark.parametrize(
    "command",
    ["evaluate loop", "export loop", "bench loop", "train --resume loop", "evaluate b.edgeosr --out loop"],
)
def test_a_link_to_itself_is_told(command: str, edgeosr: Run, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    code, said = edgeosr(command)
    assert code in (1, 2) and said.startswith("error: ") and "defect" not in said


def test_other_images_are_looked_for_before_all_pictures_are_read(
    edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeosr.training.train_run.open_parts", lambda _: pytest.fail("pictures were read"))
    for options in ("--outliers typo", "--watch-jacobian --watch-unknown typo"):
        assert edgeosr(f"train --data pics {options}")[0] == 2


def test_a_bundle_is_not_exported_over_what_is_none(edgeosr: Run, tmp_path: Path) -> None:
    (tmp_path / "x.edgeosr").mkdir()
    (tmp_path / "x.edgeosr" / "mine").touch()
    code, said = edgeosr("export m.onnx --data pics --out x.edgeosr")
    assert code == 2 and "exists and is no bundle" in said


def test_a_place_is_one_of_its_kind_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, folder in (("new", True), ("new/er", True), ("folder", True), ("file", False), ("a/b", False)):
        require_place(tmp_path / path, folder=folder)
    for path, folder in (("file", True), ("file/x", True), ("folder", False), ("file/a/b", False)):
        with pytest.raises(StorageError, match="choose another place"):
            require_place(tmp_path / path, folder=folder)


def test_a_folder_that_takes_nothing_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(StorageError, match="may not be written into"):
        require_place(tmp_path / "new", folder=True)
