"""The plug-in against NVIDIA's own headers: ``python tests/native/tensorrt_plugin.py INCLUDE [LIBRARY]``.

INCLUDE is the folder of ``NvInferRuntime.h``, 10.3 or later (of a checkout of github.com/NVIDIA/TensorRT,
``include``). The plug-in is compiled with every warning an error, for this machine and, with the package
ziglang, for aarch64; then the tests of the folder ``tensorrt`` run on it, over a double of libnvinfer behind
NVIDIA's classes. LIBRARY is a genuine one of the headers' major version, such as ``libnvinfer_lean.so.10`` of
the wheel tensorrt-lean-cu13-libs: it must say its version, and where it does not start, that must be told in
words. Prints a line for each, and exits with 1 if one failed.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = (
    "on_doubles.py",
    "failing_on_doubles.py",
    "packing_as_python.py",
    "lanes_and_sizes.py",
    "full_memory.py",
    "giving_way.py",
    "swaps.py",
)
sys.path.insert(0, str(HERE / "tensorrt"))

from edgeosr.errors import EdgeosrError  # noqa: E402  # the folder comes first
from edgeosr.runtime.native.build import OBJECTS  # noqa: E402
from edgeosr.runtime.native.tensorrt_build import build_plugin  # noqa: E402

ZIG = (sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-gnu.2.28")


def compiled(include: Path) -> bool:
    """Compile it for this machine and for aarch64."""
    machines = {"this machine": None, "aarch64": ZIG}
    if importlib.util.find_spec("ziglang") is None:
        del machines["aarch64"]
        print("not compiled for aarch64: the package ziglang is not installed")
    good = True
    with tempfile.TemporaryDirectory() as name:
        for machine, compiler in machines.items():
            out = Path(name) / "libedgeosr_tensorrt.so"
            try:
                build_plugin(out, include, objects=OBJECTS, compiler=compiler)
                print(f"compiled for {machine}: ok, {out.stat().st_size} bytes")
            except EdgeosrError as error:
                print(f"compiled for {machine}: FAILED: {error}")
                good = False
    return good


def run_on_doubles(include: Path) -> bool:
    """Run the tests with the plug-in and the double compiled against these headers."""
    environment = {**os.environ, "EDGEOSR_TENSORRT_INCLUDE": str(include)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *(HERE / "tensorrt" / name for name in FILES)], env=environment)
    print(f"over doubles: {'ok' if done.returncode == 0 else 'FAILED'}")
    return done.returncode == 0


def main() -> int:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("include", type=Path, help="the folder of NvInferRuntime.h")
    parser.add_argument("library", type=Path, nargs="?", help="a genuine libnvinfer or libnvinfer_lean")
    arguments = parser.parse_args()
    good = compiled(arguments.include) and run_on_doubles(arguments.include)
    if good and arguments.library is not None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        places = {
            "EDGEOSR_TENSORRT_INCLUDE": str(arguments.include),
            "EDGEOSR_TENSORRT_GENUINE": str(arguments.library.resolve()),
        }
        done = subprocess.run(
            [*command, HERE / "tensorrt" / "on_the_genuine_library.py"], env={**os.environ, **places}
        )
        print(f"{arguments.library}: {'ok' if done.returncode == 0 else 'FAILED'}")
        good = done.returncode == 0
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
