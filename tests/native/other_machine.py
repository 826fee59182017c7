"""The library of a wheel, run: ``python tests/native/other_machine.py LIBEDGEOSR.so``, for x86-64 or aarch64.

One for another machine runs in qemu: it needs qemu-aarch64-static and the libraries of Debian's
libc6-arm64-cross and libstdc++6-arm64-cross; without them it says so and ends well. The onnxruntime of that
machine is downloaded as pip does it.
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

from sanitizers import LIBRARY, SONAME, onnxruntime_library, small_bundles  # noqa: E402  # the folder comes first

EMULATOR, LIBRARIES = "qemu-aarch64-static", Path("/usr/aarch64-linux-gnu/lib")
# By the number in an ELF file.
MACHINES = {0x3E: "x86_64", 0xB7: "aarch64"}
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
    """Build the program of the sanitizers for that machine, without them, and run it."""
    data = Path(sys.argv[1]).read_bytes()
    machine = MACHINES[int.from_bytes(data[18:20], "little")]
    own = machine == platform.machine()
    if not own and (machine != "aarch64" or not shutil.which(EMULATOR) or not LIBRARIES.exists()):
        print(
            f"not run: {EMULATOR} and {LIBRARIES} are needed to run a library for aarch64 on another machine"
        )
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library, program = folder / SONAME, folder / "exercise"
        library.write_bytes(data)
        command = [sys.executable, "-m", "ziglang", "c++", "-target", f"{machine}-linux-gnu.2.28"]
        command += ["-std=c++17", "-O1", "-pthread", "-I", str(LIBRARY / "include")]
        command += [str(HERE / "exercise.cpp"), str(library), "-Wl,-rpath,$ORIGIN", "-o", str(program)]
        subprocess.run(command, check=True)
        environment = {
            **os.environ,
            "EDGEOSR_ONNXRUNTIME": onnxruntime_library() if own else str(onnxruntime(folder)),
        }
        if not own:
            environment |= {
                "QEMU_LD_PREFIX": str(LIBRARIES.parent),
                "QEMU_SET_ENV": f"LD_LIBRARY_PATH={LIBRARIES}",
            }
        paths = map(str, small_bundles(folder))
        done = subprocess.run([*([] if own else [EMULATOR]), str(program), *paths], env=environment)
    print(f"{machine}: {'ok' if done.returncode == 0 else 'FAILED'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
