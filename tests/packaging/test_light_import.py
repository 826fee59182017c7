"""Importing costs little; a package that is not installed is missed on use, with the line that fixes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = (
    "torch", "kornia", "lightning_fabric", "lightning_utilities", "onnx", "onnx_ir", "onnxscript", "sklearn",
    "scipy", "matplotlib", "cv2", "timm", "efficientnet_lite_pytorch", "tensorrt", "cuda", "openvino",
)  # fmt: skip
# A meta-path finder that makes an environment without the extras out of one that has them.
BLOCK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {set(EXTRAS)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def python(code: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)


def edgeosr_without_extras(arguments: list[str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    code = f"{BLOCK}\nfrom edgeosr.cli.app import main\nsys.argv = {['edgeosr', *arguments]!r}\nmain()"
    return python(code, cwd)


def test_importing_edgeosr_loads_nothing_heavy(tmp_path: Path) -> None:
    done = python("import edgeosr, sys, json; print(json.dumps(sorted(sys.modules)))", tmp_path)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {*EXTRAS, "onnxruntime", "numpy", "PIL", "rich", "typer", "pycuda", "cupy"}


def test_asking_for_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, json\nfrom edgeosr.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit: pass\n"
        "print('MODULES' + json.dumps(sorted(sys.modules)))"
    )
    done = python(code, tmp_path)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout.split("MODULES")[1])}
    assert not loaded & {*EXTRAS, "onnxruntime", "numpy", "PIL"}


def test_the_base_install_can_import_core_runtime_kernels_and_the_command_line(tmp_path: Path) -> None:
    # model/ and training/ are torch code; every other module of these rooms must do without any extra.
    files = [*(ROOT / "edgeosr").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]
    inside = [path.relative_to(ROOT) for path in sorted(files)]
    modules = [
        ".".join(("" if path.parts[0] == "edgeosr" else "edgeosr.") + part for part in [path.parts[0]])
        + "".join(f".{part}" for part in path.with_suffix("").parts[1:] if part != "__init__")
        for path in inside
        if not {"model", "training"} & set(path.parts)
    ]
    assert "edgeosr.scoring.scorer" in modules
    assert "edgeosr.runtime.runtime" in modules
    done = python(
        BLOCK + f"import importlib\nfor name in {modules!r}: importlib.import_module(name)", tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "install_line"),
    [
        (["train", "--data", "digits"], "pip install 'edgeosr[train]'"),
        (["train", "--resume", "photos"], "pip install 'edgeosr[train]'"),
        (["demo"], "pip install 'edgeosr[train]'"),
        (["export", "model.onnx", "--data", "photos"], "pip install 'edgeosr[export]'"),
        (["evaluate", "photos"], "pip install 'edgeosr[export]'"),
    ],
)
def test_a_missing_extra_names_its_install_line(
    arguments: list[str], install_line: str, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    done = edgeosr_without_extras(arguments, tmp_path)
    assert done.returncode == 1
    assert install_line in done.stderr
    assert "Traceback" not in done.stderr


def test_every_public_name_can_be_had_without_the_extras_and_is_missed_when_called(tmp_path: Path) -> None:
    code = f"""{BLOCK}
import edgeosr
for name in edgeosr.__all__:
    getattr(edgeosr, name)
assert not {set(EXTRAS)!r} & set(sys.modules)
for folder in ("photos/a", "photos/b"):
    __import__("pathlib").Path(folder).mkdir(parents=True)
    for i in range(8):
        __import__("PIL.Image").Image.new("RGB", (20, 20), (i, 0, 0)).save(f"{{folder}}/{{i}}.png")
for call in (
    lambda: edgeosr.train_run(edgeosr.TrainSettings(data="photos")),
    lambda: edgeosr.resumed_settings("photos"),
    lambda: edgeosr.export_run("photos"),
    lambda: edgeosr.export_model("m.onnx", edgeosr.ExportSettings(data="photos")),
    lambda: edgeosr.evaluate_bundle("photos"),
):
    try:
        call()
    except edgeosr.EdgeosrError as error:
        print(type(error).__name__, "pip install" in str(error))
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["MissingDependencyError True"] * 5


def test_importing_edgeosr_takes_no_processor_time_worth_naming(tmp_path: Path) -> None:
    # User time of the process less that of an empty one; the target (0.15 s of wall time on an idle
    # machine) is measured by hand, this bound only catches a heavy import that no list above names.
    def seconds(code: str) -> float:
        before = os.times()
        python(code, tmp_path)
        after = os.times()
        return after.children_user - before.children_user

    empty = min(seconds("pass") for _ in range(3))
    assert min(seconds("import edgeosr") for _ in range(3)) - empty < 0.15
