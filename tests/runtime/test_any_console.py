"""What commands print on any console and of any name: JSON is JSON, text falls back to escapes."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeosr.bundle.digest import manifest_with_digest
from edgeosr.cli import app as application
from edgeosr.errors import DataError, KernelBuildError

NAMES = ("犬.png", "é[bold][red].png", os.fsdecode(b"Stra\xdfe.png"), "new\nline\x1b[31m.png")
ENCODINGS = ("utf-8", "cp1252", "ascii", "latin-1", "utf-16", "cp932")
Run = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in NAMES:
        with (folder / name).open("wb") as file:
            Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(file, "PNG")
    (folder / os.fsdecode(b"broken\xff.png")).write_bytes(b"no picture")
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line on streams of an encoding: exit code, bytes of standard output and error."""

    def called(encoding: str, *arguments: str | Path) -> tuple[int, bytes, bytes]:
        written = io.BytesIO(), io.BytesIO()
        streams = [io.TextIOWrapper(one, encoding=encoding, errors="strict") for one in written]
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["edgeosr", *map(str, arguments)])
            patched.setattr(sys, "stdout", streams[0])
            patched.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as end:
                application.main()
            for stream in streams:
                stream.flush()
        out, err = (one.getvalue() for one in written)
        return int(end.value.code or 0), out, err

    return called


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_ascii_on_any_console(encoding: str, run: Run, bundle_path: Path, photos: Path) -> None:
    code, out, _ = run(encoding, "predict", bundle_path, photos, "--json")
    assert code == 0
    verdicts = json.loads(out.decode("ascii"))["verdicts"]
    sources = sorted(Path(one["source"]).name for one in verdicts)
    assert sources == sorted(["犬.png", "é[bold][red].png", r"Stra\xdfe.png", NAMES[3], r"broken\xff.png"])
    code, out, _ = run(encoding, "predict", bundle_path, photos, "--jsonl")
    assert code == 0 and all(json.loads(line.decode("ascii"))["source"] for line in out.splitlines())
    for command in ("inspect", "verify"):
        code, out, _ = run(encoding, command, bundle_path, "--json")
        assert json.loads(out.decode("ascii"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_falls_back_to_escapes(encoding: str, run: Run, bundle_path: Path, photos: Path) -> None:
    code, out, err = run(encoding, "predict", bundle_path, photos)
    assert code == 0
    text = out.decode(encoding)
    assert r"Stra\xdfe.png" in text and r"new\nline\x1b[31m.png" in text and "[bold][red].png" in text
    assert "\x1b" not in text and len(text.splitlines()) == 4 + 3
    assert "犬.png" in text or r"\u72ac.png" in text
    assert r"broken\xff.png: it is not a PNG" in err.decode(encoding)


def test_a_drawing_is_made_whatever_the_name(
    run: Run, bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    assert run("ascii", "predict", bundle_path, photos, "--out", tmp_path / os.fsdecode(b"\xff"))[0] == 0
    assert {path.name for path in tmp_path.glob("*/*")} == {f"{name}.png" for name in NAMES}


@pytest.mark.parametrize("odd", ["\x1b[31mred", "犬", os.fsdecode(b"\xdf"), "new\nerror: line", "\u202e"])
def test_errors_print_no_name_as_it_is(odd: str, run: Run, bundle_path: Path) -> None:
    for arguments in (
        ("predict", bundle_path, f"{odd}.png"),
        ("inspect", f"{odd}.edgeosr"),
        ("inspect", "a", odd),
        ("train", "--data", odd),
        ("train", f"--{odd}"),
        (odd,),
        ("export", f"{odd}.onnx", "--data", "digits"),
        ("evaluate", bundle_path, "--unknown", odd),
        ("train", "--data", "digits", "--known", f"{odd},1"),
    ):
        code, out, err = run("cp1252", *arguments)
        said = err.decode("cp1252")
        assert code in (1, 2) and not out
        assert "\x1b" not in said and "\u202e" not in said and "\nerror: line" not in said
        assert "Traceback" not in said


def test_only_what_a_compiler_said_has_several_lines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_with(error: Exception) -> Callable[..., Any]:
        def fail(*_: Any) -> None:
            raise error

        return fail

    place = "edgeosr.bundle.directory.newest_bundle"
    monkeypatch.setattr(place, fail_with(KernelBuildError("nvcc:\nline 2\x1b")))
    assert run("utf-8", "inspect")[2] == b"error: nvcc:\nline 2\\x1b\n"
    monkeypatch.setattr(place, fail_with(DataError("a\nb")))
    assert run("utf-8", "inspect")[2] == b"error: a\\nb\n"


CLOSED = b"standard output is closed; send it somewhere, for example > /dev/null\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_take_no_file_s_place_and_verdicts_that_nobody_gets_are_a_failure(
    closed: str, bundle_path: Path, photos: Path, tmp_path: Path
) -> None:
    command = 'exec "$0" -c "from edgeosr.cli.app import main; main()" predict "$1" "$2" --out "$3" --json '
    done = subprocess.run(
        ["bash", "-c", command + closed, sys.executable, bundle_path, photos, tmp_path / "drawn"],
        capture_output=True,
        check=False,
    )
    if closed != "2>&-":
        # At once: hours of training would end with nothing said.
        assert done.returncode == 1 and not (tmp_path / "drawn").exists()
        assert done.stderr == (b"" if "2>&-" in closed else b"error: " + CLOSED)
        return
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "drawn").iterdir())) == 4
    assert json.loads(done.stdout)["judged"] == 4


def test_inspect_reads_every_file_as_the_runtime_does(bundle_path: Path, tmp_path: Path) -> None:
    for name, said in (("scorer.npz", b"scorer.npz"), ("golden.npz", b"golden.npz holds no frames")):
        changed = tmp_path / f"{name}.edgeosr"
        shutil.copytree(bundle_path, changed)
        (changed / name).write_bytes(b"PK\x03\x04 and no more")
        manifest = json.loads((changed / "manifest.json").read_bytes())
        found = (changed / name).read_bytes()
        manifest["files"][name] = {"bytes": len(found), "sha256": hashlib.sha256(found).hexdigest()}
        (changed / "manifest.json").write_bytes(manifest_with_digest(manifest))
        done = subprocess.run(
            [sys.executable, "-c", "from edgeosr.cli.app import main; main()", "inspect", changed],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1 and said in done.stderr and b"Traceback" not in done.stderr


def test_a_threshold_that_json_has_no_number_for_is_refused(
    run: Run, bundle_path: Path, photos: Path
) -> None:
    for value in ("inf", "-inf", "1e999"):
        code, _, err = run("utf-8", "predict", str(bundle_path), str(photos), "--threshold", value)
        assert code == 2 and b"--threshold must be a finite number" in err
