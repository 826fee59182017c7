"""The library as a program in C gets it: built and installed by CMake as the page says, then found and run.

``python tests/native/cmake_build.py``. Any warning of the compiler fails it.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from sanitizers import SONAME, small_bundles  # noqa: E402  # the folder comes first

from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, onnxruntime_library  # noqa: E402

PAGE = ROOT / "docs" / "embed-c.md"
APPLICATION = """
cmake_minimum_required(VERSION 3.22)
project(application CXX)
find_package(libedgeosr REQUIRED)
add_executable(exercise {exercise})
target_compile_features(exercise PRIVATE cxx_std_17)
target_link_libraries(exercise PRIVATE edgeosr::edgeosr)
"""


def main() -> int:
    """Run the page's commands in a folder of their own, and the program of the sanitizers on the outcome."""
    (commands,) = re.findall(r"^(cmake -S .*\ncmake --install .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    environment = {
        **os.environ,
        ONNXRUNTIME_VARIABLE: onnxruntime_library(),
        "CXXFLAGS": "-Werror",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # CMake of the extra "dev"
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for word, place in (("build/libedgeosr", folder / "build"), ("PLACE", folder / "place")):
            assert word in commands
            commands = commands.replace(word, str(place))
        subprocess.run(commands, shell=True, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        (library,) = (folder / "place").rglob(SONAME)
        (folder / "application").mkdir()
        text = APPLICATION.format(exercise=HERE / "exercise.cpp")
        (folder / "application" / "CMakeLists.txt").write_text(text, "utf-8")
        build = ["cmake", "-S", "application", "-B", "made", f"-DCMAKE_PREFIX_PATH={folder / 'place'}"]
        for command in (build, ["cmake", "--build", "made"]):
            subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        environment["LD_LIBRARY_PATH"] = str(library.parent)
        program = [folder / "made" / "exercise", *small_bundles(folder, hostile=0)]
        done = subprocess.run(program, env=environment, capture_output=True, text=True)
    print(f"CMake: {'ok' if done.returncode == 0 else f'FAILED: {done.stderr}'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
