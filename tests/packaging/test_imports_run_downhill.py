"""The rooms import one way: cli -> bench -> export -> runtime -> kernels -> core; and nowhere in a circle."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("export", "kernels", "bench", "runtime", "cli")
# Rooms of the core with walls of their own: bundle -> scoring -> what a device needs of the core's own files.
INNER_ROOMS = {
    "scoring": {"errors", "verdict"},
    "bundle": {"scoring", "errors", "verdict", "files", "replace_directory", "preprocessing", "__init__"},
}
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
# Base install and the [video], [cuda], [pycuda] and [openvino] extras: all that a device has.
ON_THE_DEVICE = {"numpy", "onnxruntime", "PIL", "cv2", "rich", "typer", "cuda", "pycuda", "openvino"}
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


def inner_room_of(path: Path) -> str | None:
    return path.parts[1] if path.parts[0] == "edgeosr" and path.parts[1] in INNER_ROOMS else None


def violations_inside(path: Path, source: str) -> set[str]:
    """What a file of the scoring or bundle room imports of edgeosr beyond its walls."""
    room = inner_room_of(path)
    assert room is not None
    found = set()
    for module in modules_imported(source):
        words = module.split(".")
        # `from edgeosr import __version__` counts as the package itself and as a module of that name.
        if words[0] == "edgeosr" and words[1:] != ["__version__"]:
            found.add(words[1] if len(words) > 1 else "__init__")
    return found - INNER_ROOMS[room] - {room}


@pytest.mark.parametrize("path", [path for path in python_files() if inner_room_of(path)], ids=str)
def test_scoring_and_bundle_import_only_what_a_device_needs(path: Path) -> None:
    assert violations_inside(path, (ROOT / path).read_text("utf-8")) == set()


def heavy_inside(path: Path, source: str) -> set[str]:
    """What a file of the scoring or bundle room imports beyond numpy, the standard library and edgeosr.

    A score part may fit its constants with scikit-learn, through ``import_extra``, which loads it on use.
    """
    times = Counter(module.split(".")[0] for module in modules_imported(source))
    if path.parts[:3] == ("edgeosr", "scoring", "parts"):
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
        on_use = [ast.unparse(node.args[0]) for node in calls if ast.unparse(node.func) == "import_extra"]
        times.subtract("sklearn" for name in on_use if name.strip("'").split(".")[0] == "sklearn")
    return {name for name, many in times.items() if many > 0} - sys.stdlib_module_names - {"edgeosr", "numpy"}


@pytest.mark.parametrize("path", [path for path in python_files() if inner_room_of(path)], ids=str)
def test_scoring_and_bundle_need_numpy_only(path: Path) -> None:
    assert heavy_inside(path, (ROOT / path).read_text("utf-8")) == set()


LAZY = (
    'from edgeosr.errors import import_extra\ndef f():\n    import_extra("sklearn.cluster", extra="export")'
)


def test_a_score_part_may_fit_with_scikit_learn_on_use_and_nobody_else_may() -> None:
    assert heavy_inside(Path("edgeosr/scoring/parts/bank.py"), LAZY) == set()
    assert heavy_inside(Path("edgeosr/scoring/thresholds.py"), LAZY) == {"sklearn"}
    assert heavy_inside(Path("edgeosr/bundle/data.py"), LAZY) == {"sklearn"}


@pytest.mark.parametrize(
    ("path", "planted"),
    [
        ("edgeosr/scoring/parts/bank.py", "def f():\n    import sklearn.cluster"),
        ("edgeosr/scoring/parts/bank.py", f"{LAZY}\n    from sklearn import cluster"),
        ("edgeosr/scoring/parts/bank.py", LAZY.replace("sklearn.cluster", "scipy.stats")),
        ("edgeosr/scoring/thresholds.py", LAZY.replace("sklearn.cluster", "scipy.stats")),
        ("edgeosr/scoring/fusion.py", "import torch"),
        ("edgeosr/bundle/directory.py", "import yaml"),
    ],
)
def test_a_planted_heavy_import_in_an_inner_room_is_found(path: str, planted: str) -> None:
    assert heavy_inside(Path(path), planted)


@pytest.mark.parametrize(
    ("path", "planted"),
    [
        ("edgeosr/scoring/fusion.py", "from edgeosr.bundle.checked_json import JsonNode"),
        ("edgeosr/scoring/fusion.py", "from edgeosr.metrics import auroc"),
        ("edgeosr/bundle/data.py", "from edgeosr.data.parts import Parts"),
        ("edgeosr/bundle/data.py", "import edgeosr.run"),
    ],
)
def test_a_planted_import_out_of_an_inner_room_is_found(path: str, planted: str) -> None:
    assert violations_inside(Path(path), planted)


def module_name(path: Path) -> str:
    words = path.with_suffix("").parts
    words = words if words[0] == "edgeosr" else ("edgeosr", *words)
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def imports_between(sources: dict[str, str]) -> dict[str, set[str]]:
    """Each module's imports among the given ones, those inside functions and of TYPE_CHECKING included."""
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        named = set(modules_imported(source))
        graph[name] = {module for module in named if module in sources and module != name}
        # A package's own __init__ is loaded before its modules, which is no arrow of theirs.
        graph[name] -= {name.rsplit(".", 1)[0]} if name != "edgeosr" else set()
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return each set of modules that reach one another, largest first (Tarjan's strong components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            component = [stack.pop()]
            while component[-1] != name:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return sorted(found, key=len, reverse=True)


def test_no_module_imports_itself_by_way_of_others() -> None:
    sources = {module_name(path): (ROOT / path).read_text("utf-8") for path in python_files()}
    graph = imports_between(sources)
    # The face names what it loads on first use; a module that asks it for the version makes no circle.
    graph["edgeosr"] = set()
    assert circles(graph) == []


def test_a_planted_circle_is_found() -> None:
    sources = {
        "edgeosr.a": "from edgeosr.b import B",
        "edgeosr.b": "def f():\n    from edgeosr import c",
        "edgeosr.c": "import edgeosr.a\nimport edgeosr.d",
        "edgeosr.d": "",
    }
    assert circles(imports_between(sources)) == [["edgeosr.a", "edgeosr.b", "edgeosr.c"]]


@pytest.mark.parametrize("path", [p for p in python_files() if room_of(p) in {"runtime", "kernels"}], ids=str)
def test_what_runs_on_the_device_imports_nothing_of_an_extra_but_video_and_cuda(path: Path) -> None:
    tops = {module.split(".")[0] for module in modules_imported((ROOT / path).read_text("utf-8"))}
    assert not tops & HEAVY
    assert tops - sys.stdlib_module_names - {"edgeosr"} <= ON_THE_DEVICE


@pytest.mark.parametrize(
    ("path", "planted"),
    [
        ("edgeosr/bundle/data.py", "import edgeosr.export"),
        ("edgeosr/bundle/data.py", "from edgeosr import bench"),
        ("edgeosr/bundle/data.py", "from edgeosr.runtime.runtime import Runtime"),
        ("edgeosr/data/folder.py", "def f():\n    from edgeosr.kernels import packing"),
        ("edgeosr/data/folder.py", "import importlib\nimportlib.import_module('edgeosr.cli.app')"),
        ("edgeosr/runtime/runtime.py", "from edgeosr import export"),
        ("kernels/packing.py", "from edgeosr.runtime import predict"),
        ("export/export_run.py", "from edgeosr.bench.quality import evaluate_bundle"),
        ("bench/latency.py", "from edgeosr.cli.app import main"),
    ],
)
def test_a_planted_upward_import_is_found(path: str, planted: str) -> None:
    assert violations(Path(path), planted)


@pytest.mark.parametrize(
    "planted", ["import kernels", "from export.measure import x", "from . import errors"]
)
def test_a_planted_import_by_the_folder_name_or_a_relative_one_is_refused(planted: str) -> None:
    with pytest.raises(ValueError, match="write"):
        violations(Path("bench/latency.py"), planted)


def test_downhill_imports_are_allowed() -> None:
    assert not violations(Path("bench/latency.py"), "from edgeosr.export import export\nimport numpy")
    assert not violations(Path("edgeosr/cli/train.py"), "from edgeosr import bench, errors")
