"""The library on TensorRT, by its plug-in: see the folder ``tensorrt`` beside this.

NVIDIA's headers are not needed: the plug-in is compiled against ``tensorrt/stand_in``, which has the part of
them that it uses. ``make native-tensorrt TENSORRT_INCLUDE=FOLDER`` does the same with the genuine ones.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sanitizers_tensorrt

from edgeosr.kernels.build.toolchain import find_nvcc
from edgeosr.runtime.native.build import HERE as LIBRARY
from edgeosr.runtime.native.build import OBJECTS, PLAIN, SONAME, build
from edgeosr.runtime.native.tensorrt_build import main

HERE = Path(__file__).parent / "tensorrt"
# Each in a process of its own, where a plug-in and a driver that were opened stay; and how many pass.
RUNS = {
    ("table_in_c.py", "swaps_past_engines.py"): 26,
    ("on_doubles.py", "failing_on_doubles.py", "packing_as_python.py"): 80,
    ("lanes_and_sizes.py", "full_memory.py", "giving_way.py", "swaps.py"): 72,
}


@pytest.mark.parametrize("files", RUNS, ids=lambda files: files[0])
def test_it_passes_in_a_process_of_its_own(built, files):
    assert built.exists()  # made here, with two compilers at once, and taken there
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment.pop("EDGEOSR_TENSORRT_INCLUDE", None)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(HERE / name for name in files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parents[2])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= RUNS[files], done.stdout[-500:]


@pytest.mark.parametrize("memory", ["own memory", "shared memory"])
def test_whatever_fails_under_load_is_told_and_leaves_nothing_behind(exercise, memory):
    """The program of ``make native-sanitizers``, without a sanitizer."""
    command, environment = exercise
    command = [*command, "integrated"] if memory == "shared memory" else command
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    told = re.fullmatch(r"(\d+) failures told, nothing left behind\n", done.stdout)
    assert told is not None and int(told[1]) > 400


@pytest.fixture(scope="module")
def exercise(tmp_path_factory):
    """The program's command, and its environment."""
    folder, objects = tmp_path_factory.mktemp("exercise"), HERE.parents[2] / OBJECTS
    paths = sanitizers_tensorrt.bundles(folder / "engines")
    sanitizers_tensorrt.lay_cubins(folder)
    library = build(folder / SONAME, objects=objects, flags=PLAIN)
    program, variables = sanitizers_tensorrt.exercise(folder, PLAIN, library)
    variables["EDGEOSR_CUBINS"] = str(folder / sanitizers_tensorrt.CUBINS)
    return [program, folder / sanitizers_tensorrt.NVINFER, *paths], {**os.environ, **variables}


def test_without_headers_the_build_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["tensorrt_build", str(tmp_path), "--out", str(tmp_path / "out.so")])
    assert main() != 0
    assert f"{tmp_path} has no NvInferRuntime.h; name the folder that has it" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.so"))


def test_headers_that_are_too_old_are_refused_by_the_compiler(tmp_path):
    """TensorRT 10.3 is the oldest whose calls the plug-in makes."""
    for header in (HERE / "stand_in").glob("*.h"):
        text = header.read_text("utf-8").replace("NV_TENSORRT_MINOR 3", "NV_TENSORRT_MINOR 2")
        (tmp_path / header.name).write_text(text, "utf-8")
    folders = [tmp_path, find_nvcc().include, LIBRARY / "src", LIBRARY / "include"]
    command = ["g++", "-std=c++17", "-fsyntax-only", *(f"-I{folder}" for folder in folders)]
    done = subprocess.run([*command, LIBRARY / "tensorrt" / "nvinfer.cpp"], capture_output=True, text=True)
    assert done.returncode != 0 and "the headers of TensorRT must be of 10.3 or later" in done.stderr
