"""The library for aarch64 on this machine, with qemu: ``python tests/native/other_machine.py LIBEDGEOSR.so``.

Needs qemu-aarch64-static and the libraries of Debian's libc6-arm64-cross and libstdc++6-arm64-cross; without
them it says so and ends well. The onnxruntime of that machine is downloaded as pip does it.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from sanitizers import LIBRARY, SONAME, small_bundles  # noqa: E402  # the folder comes first

EMULATOR, LIBRARIES = "qemu-aarch64-static", Path("/usr/aarch64-linux-gnu/lib")
TARGET = "aarch64-linux-gnu.2.28"
# Later ones (1.32.0 was tried) end while they start: what the system says of processors is another machine's.
ONNXRUNTIME = "1.26.0"


def onnxruntime(folder: Path) -> Path:
    """Return libonnxruntime.so of ``ONNXRUNTIME`` for aarch64."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    for glibc in (27, 28):
        command += ["--platform", f"manylinux_2_{glibc}_aarch64"]
    subprocess.run([*command, "-d", str(folder), f"onnxruntime=={ONNXRUNTIME}"], check=True)
    (wheel,) = folder.glob("onnxruntime-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if "capi/libonnxruntime.so" in each)
        return Path(archive.extract(name, folder))


def main() -> int:
    """Build the program of the sanitizers for aarch64, without them, and run it."""
    if not shutil.which(EMULATOR) or not LIBRARIES.exists():
        print(f"not run: {EMULATOR} and {LIBRARIES} are needed to run the library for aarch64 here")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(sys.argv[1], folder / SONAME)
        program = folder / "exercise"
        command = [sys.executable, "-m", "ziglang", "c++", "-target", TARGET, "-std=c++17", "-O1", "-pthread"]
        command += [
            "-I",
            str(LIBRARY / "include"),
            str(HERE / "exercise.cpp"),
            str(folder / SONAME),
        ]
        subprocess.run([*command, "-Wl,-rpath,$ORIGIN", "-o", str(program)], check=True)
        environment = {
            **os.environ,
            "EDGEOSR_ONNXRUNTIME": str(onnxruntime(folder)),
            "QEMU_LD_PREFIX": str(LIBRARIES.parent),
            "QEMU_SET_ENV": f"LD_LIBRARY_PATH={LIBRARIES}",
        }
        emulated = [] if platform.machine() == "aarch64" else [EMULATOR]
        done = subprocess.run([*emulated, str(program), *map(str, small_bundles(folder))], env=environment)
    print(f"aarch64: {'ok' if done.returncode == 0 else 'FAILED'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
