"""The library as a program in C gets it: built and installed by CMake as the page says, then found and run.

``python tests/native/cmake_build.py``. Any warning of the compiler fails it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from sanitizers import SONAME, small_bundles  # noqa: E402  # the folder comes first

from edgeosr.kernels.build.sources import FOLDER, device_source  # noqa: E402
from edgeosr.kernels.build.toolchain import find_nvcc  # noqa: E402
from edgeosr.runtime.native.build import HERE as NATIVE  # noqa: E402
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


def digest_is_kept_up(environment: dict[str, str]) -> bool:
    """Build the plug-in against the stand-in headers, edit the kernel's source, and build again.

    What it holds must be the digest of the source as it is each time: it refuses the builds of any other.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(FOLDER.parent, folder / "kernels", ignore=shutil.ignore_patterns("cubins"))
        source = folder / "kernels" / FOLDER.name
        configure = [
            *(
                "cmake",
                "-S",
                NATIVE,
                "-B",
                folder / "made",
                "-DEDGEOSR_EXAMPLES=OFF",
                "-DEDGEOSR_TENSORRT=ON",
            ),
            f"-DEDGEOSR_TENSORRT_INCLUDE={HERE / 'tensorrt' / 'stand_in'}",
            f"-DEDGEOSR_CUDA_INCLUDE={find_nvcc().include}",
            f"-DEDGEOSR_KERNELS={folder / 'kernels'}",
            "-DCMAKE_BUILD_TYPE=Debug",  # nothing of it is run
        ]
        build = ["cmake", "--build", folder / "made", "--target", "edgeosr_tensorrt"]
        subprocess.run(configure, check=True, env=environment, stdout=subprocess.DEVNULL)

        def holds_its_digest() -> bool:
            subprocess.run(build, check=True, env=environment, stdout=subprocess.DEVNULL)
            plugin = (folder / "made" / "libedgeosr_tensorrt.so").read_bytes()
            return device_source(source).digest.encode() in plugin

        good = holds_its_digest()
        for header in (source / "params.cuh", source / "a_new_one.cuh"):
            with header.open("a") as text:
                text.write("// edited\n")
            good = holds_its_digest() and good
        return good


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
        for word, place in (("build/libedgeosr", folder / "build"), ("PREFIX", folder / "place")):
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
    kept_up = digest_is_kept_up(environment)
    print(f"CMake, the kernel's digest: {'ok' if kept_up else 'FAILED: it is that of an earlier source'}")
    print(f"CMake: {'ok' if done.returncode == 0 else f'FAILED: {done.stderr}'}")
    return 0 if done.returncode == 0 and kept_up else 1


if __name__ == "__main__":
    sys.exit(main())
