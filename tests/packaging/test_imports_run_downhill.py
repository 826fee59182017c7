"""The rooms import one way: cli -> bench -> export -> runtime -> kernels -> core."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("export", "kernels", "bench", "runtime", "cli")
# Core is not listed on the right: every room may import it.
MAY_IMPORT = {
    "core": set[str](),
    "kernels": set[str](),
    "runtime": {"kernels"},
    "export": {"kernels", "runtime"},
    "bench": {"kernels", "runtime", "export"},
    "cli": {"kernels", "runtime", "export", "bench"},
}
# The package's face names what each room offers, which it loads on first use.
FACE = Path("edgeosr/__init__.py")
# Base install and the [video], [cuda] and [pycuda] extras: all that a device has.
ON_THE_DEVICE = {"numpy", "onnxruntime", "PIL", "cv2", "rich", "typer", "cuda", "pycuda"}
HEAVY = {"torch", "onnx", "onnx_ir", "onnxscript", "sklearn", "scipy", "matplotlib", "kornia", "lightning"}


def python_files() -> list[Path]:
    folders = ("edgeosr", "export", "kernels", "bench")
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def room_of(path: Path) -> str:
    inside = [part for part in path.parts[:-1] if part != "edgeosr"]
    return inside[0] if inside and inside[0] in ROOMS else "core"


def modules_imported(source: str) -> Iterator[str]:
    """Every module a file imports, wherever in the file: statements, and names passed to an importer."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: relative import; write from edgeosr... import ...")
            # `from edgeosr import bench` imports a room just as `import edgeosr.bench` does.
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in {"import_module", "import_extra", "__import__"} and isinstance(first, ast.Constant):
                yield str(first.value)


def rooms_imported(source: str) -> set[str]:
    rooms = set()
    for module in modules_imported(source):
        words = module.split(".")
        if words[0] in {"export", "kernels", "bench"}:
            raise ValueError(f"import {module}: write edgeosr.{module}")
        if words[0] == "edgeosr":
            rooms.add(words[1] if len(words) > 1 and words[1] in ROOMS else "core")
    return rooms


def violations(path: Path, source: str) -> set[str]:
    room = room_of(path)
    allowed = MAY_IMPORT[room] | {room, "core"} | ({"runtime", "export", "bench"} if path == FACE else set())
    return rooms_imported(source) - allowed


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_a_file_imports_only_rooms_below_its_own(path: Path) -> None:
    above = violations(path, (ROOT / path).read_text("utf-8"))
    assert not above, f"{path} ({room_of(path)}) imports {sorted(above)}"


@pytest.mark.parametrize("path", [p for p in python_files() if room_of(p) in {"runtime", "kernels"}], ids=str)
def test_what_runs_on_the_device_imports_nothing_of_an_extra_but_video_and_cuda(path: Path) -> None:
    tops = {module.split(".")[0] for module in modules_imported((ROOT / path).read_text("utf-8"))}
    assert not tops & HEAVY
    import sys

    assert tops - sys.stdlib_module_names - {"edgeosr"} <= ON_THE_DEVICE


@pytest.mark.parametrize(
    ("path", "planted"),
    [
        ("edgeosr/bundle.py", "import edgeosr.export"),
        ("edgeosr/bundle.py", "from edgeosr import bench"),
        ("edgeosr/bundle.py", "from edgeosr.runtime.runtime import Runtime"),
        ("edgeosr/data/folder.py", "def f():\n    from edgeosr.kernels import scorer"),
        ("edgeosr/data/folder.py", "import importlib\nimportlib.import_module('edgeosr.cli.app')"),
        ("edgeosr/runtime/runtime.py", "from edgeosr import export"),
        ("kernels/scorer.py", "from edgeosr.runtime import predict"),
        ("export/export.py", "from edgeosr.bench.quality import evaluate_bundle"),
        ("bench/latency.py", "from edgeosr.cli.app import main"),
    ],
)
def test_a_planted_upward_import_is_found(path: str, planted: str) -> None:
    assert violations(Path(path), planted)


@pytest.mark.parametrize("planted", ["import kernels", "from export.tail import x", "from . import errors"])
def test_a_planted_import_by_the_folder_name_or_a_relative_one_is_refused(planted: str) -> None:
    with pytest.raises(ValueError, match="write"):
        violations(Path("bench/latency.py"), planted)


def test_downhill_imports_are_allowed() -> None:
    assert not violations(Path("bench/latency.py"), "from edgeosr.export import export\nimport numpy")
    assert not violations(Path("edgeosr/cli/train.py"), "from edgeosr import bench, errors")
