"""A child finds what its parent finds, and nothing of the working directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeosr.child_python import child_command


def said_by(module: str, *words: str) -> str:
    command = child_command(module, *words)
    assert command is not None
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def telling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that tells what it was started with."""
    (tmp_path / "telling.py").write_text("import sys\nprint(sys.argv[1:], sys.path, sys.flags, sep='\\n')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_child_has_its_words_and_the_parents_import_path(telling: Path) -> None:
    words, path, _ = said_by("telling", "a b", "").splitlines()
    assert words == "['a b', '']"
    assert path == str([entry for entry in sys.path if entry])


def test_odd_entries_of_the_import_path_are_left_out(telling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [entry for entry in sys.path if entry]
    odd = [Path("/tmp"), None, b"/tmp", "a\0b", "a\nb", "\ud800", ""]
    monkeypatch.setattr(sys, "path", [*odd, *usual])
    assert said_by("telling").splitlines()[1] == str(usual)


def test_nothing_is_imported_from_a_working_directory_that_the_parent_would_look_in(
    telling: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    download = tmp_path / "download"
    download.mkdir()
    for name in ("json", "runpy", "telling"):
        (download / f"{name}.py").write_text("raise SystemExit('of the working directory')")
    monkeypatch.chdir(download)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert said_by("telling")


@pytest.mark.parametrize("switch", ["-I", "-E", "-s", "-S"])
def test_what_is_kept_out_of_the_parent_is_kept_out_of_the_child(telling: Path, switch: str) -> None:
    code = (
        "import subprocess, sys\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from edgeosr.child_python import child_command\n"
        "print(sys.flags, flush=True)\n"
        "subprocess.run(child_command('telling'), check=True)\n"
    )
    # An editable install of the suite is found by a hook of site, which -S leaves out.
    root = str(Path(__file__).parents[2])
    code = code.replace("from edgeosr", f"sys.path.append({root!r})\nfrom edgeosr")
    told = subprocess.run([sys.executable, switch, "-c", code], capture_output=True, text=True, check=True)
    lines = told.stdout.splitlines()
    assert lines[0] == lines[-1]


def test_a_program_that_holds_python_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("", None, "camera-app", "uwsgi"):
        monkeypatch.setattr(sys, "executable", program)
        assert child_command("telling") is None
    monkeypatch.undo()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert child_command("telling") is None
