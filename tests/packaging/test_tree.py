"""Promises about the files of the repository themselves."""

import ast
import importlib.util
import re
import statistics
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("edgeosr", "export", "kernels", "bench")
TEXT = {".py", ".toml", ".md", ".txt", ".yaml", ".json", ".h", ".cu", ".cuh", ".cpp", ""}
PRUNED = {".git", ".venv", ".hypothesis", "__pycache__"}
MADE = {"build", "dist", "runs"}  # at the top alone: kernels/build is a package
# Written in two halves, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~$}*-])/(?:wo" r"rk|ro" r"ot|ho" r"me|Us" r"ers|o" r"pt)/")
INDEX_HOST = re.compile(
    r"pypi\.o" r"rg|pythonho" r"sted|download\.py" r"torch|ngc\.nvi" r"dia|index" r"-url|hugging" r"face\.co"
)


def text_files() -> list[Path]:
    found = []
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT)
        hidden_cache = any(part.endswith(("_cache", ".egg-info", ".edgeosr")) for part in inside.parts)
        pruned = PRUNED & set(inside.parts) or inside.parts[0] in MADE
        if path.is_file() and path.suffix in TEXT and not hidden_cache and not pruned:
            found.append(inside)
    return found


def modules() -> list[Path]:
    return [path for path in text_files() if path.suffix == ".py" and path.parts[0] in ROOMS]


def test_no_file_names_a_path_of_one_machine_or_a_package_index() -> None:
    named = {
        str(path): match.group()
        for path in text_files()
        for pattern in (MACHINE_PATH, INDEX_HOST)
        if path.name != "LICENSE" and (match := pattern.search((ROOT / path).read_text(encoding="utf-8")))
    }
    assert named == {}


def test_the_patterns_above_find_what_they_are_for() -> None:
    assert MACHINE_PATH.search('open("/ho' + 'me/me/model.onnx")')
    assert not MACHINE_PATH.search("data/ho" + "me/picture.png")
    assert INDEX_HOST.search("pip install --extra-index" + "-url x")


def lines_of(path: Path) -> int:
    return len((ROOT / path).read_text("utf-8").splitlines())


def test_no_product_file_is_longer_than_320_lines_and_no_test_than_400() -> None:
    code = [path for path in text_files() if path.suffix in {".py", ".cu", ".cuh", ".h", ".cpp"}]
    most = {True: 400, False: 320}
    assert {
        str(path): lines_of(path) for path in code if lines_of(path) > most[path.parts[0] == "tests"]
    } == {}


def test_the_rooms_keep_their_files_short() -> None:
    lengths = sorted(lines_of(path) for path in modules() if path.name != "__init__.py")
    assert statistics.median(lengths) <= 150
    assert lengths[int(0.9 * len(lengths))] <= 250


# What runs on a device with Python 3.10. The standard library's additions of 3.11 that one reaches for.
TOO_NEW = re.compile(
    r"\b(tomllib|StrEnum|ExceptionGroup|TaskGroup|file_digest|contextlib\.chdir|datetime\.UTC|"
    r"from datetime import .*\bUTC\b|typing import .*\b(Self|Never|assert_never|LiteralString|override)\b)"
)


@pytest.mark.parametrize("path", [path for path in modules() if path.parts[0] != "bench"], ids=str)
def test_a_module_parses_on_python_3_10_and_uses_nothing_newer(path: Path) -> None:
    source = (ROOT / path).read_text("utf-8")
    ast.parse(source, feature_version=(3, 10))
    assert not TOO_NEW.search(source)


def test_a_command_has_at_most_15_lines() -> None:
    lengths = {}
    for path in sorted((ROOT / "edgeosr" / "cli").glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == path.stem:
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lengths[node.name] = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
    known = {
        "train",
        "export",
        "build",
        "evaluate",
        "predict",
        "bench",
        "inspect",
        "verify",
        "selftest",
        "demo",
    }
    assert set(lengths) == known
    assert {name: lines for name, lines in lengths.items() if lines > 15} == {}


@pytest.mark.parametrize(
    "planted", ["import kernels\n", "from export.measure import Measured\n", "import bench.latency\n"]
)
def test_the_linter_bans_rooms_by_their_folder_names(planted: str) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "export/planted.py", "-"]
    done = subprocess.run(ruff, input=planted, capture_output=True, text=True, cwd=ROOT)
    assert "TID251" in done.stdout


def test_the_pins_hold_torch_without_a_local_suffix_and_every_package_we_name() -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(n for names in project["optional-dependencies"].values() for n in names),
    ]
    names = {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in wanted} - {"edgeosr"}
    # pycuda builds against a driver: it is named for the apps that have it and never installed here.
    assert names - {"pycuda"} <= set(pins)
    assert not [pin for pin in pins.values() if "+" in pin]


def test_what_is_made_here_is_ignored_and_a_package_of_the_same_name_is_not() -> None:
    ignored = set((ROOT / ".gitignore").read_text("utf-8").split())
    assert {".venv/", "*.so", *(f"/{folder}/" for folder in MADE)} <= ignored
    assert not ignored & {f"{folder}/" for folder in MADE}


def test_pytest_does_not_leave_out_folders_named_build() -> None:
    # By its own list it leaves such folders out, without a word.
    options = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]
    folders = {part for path in text_files() if path.parts[0] == "tests" for part in path.parts[:-1]}
    assert "build" in folders
    left_out = {name for name in folders for pattern in options["norecursedirs"] if fnmatch(name, pattern)}
    assert left_out == set()


def test_every_command_of_ours_that_a_file_names_can_be_run() -> None:
    named = {
        (name, str(path))
        for path in text_files()
        for name in re.findall(r"-m\W{1,5}(edgeosr[\w.]*\w)", (ROOT / path).read_text("utf-8"))
    }
    assert {"edgeosr.kernels.selftest", "edgeosr.kernels.build_cubins"} <= {name for name, _ in named}
    # edgeosr.bench.NAME stands for several.
    assert {(name, path) for name, path in named if name.islower() and not is_command(name)} == set()


def is_command(name: str) -> bool:
    """Say whether ``python -m name`` runs something."""
    found = importlib.util.find_spec(name)
    if found is not None and found.submodule_search_locations:
        found = importlib.util.find_spec(f"{name}.__main__")
    return bool(found and found.origin and '__name__ == "__main__"' in Path(found.origin).read_text("utf-8"))
