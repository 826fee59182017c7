"""The loop for GStreamer, built and run on its test pictures: ``python tests/native/gstreamer_example.py``.

Needs Debian's libgstreamer1.0-dev, libgstreamer-plugins-base1.0-dev and gstreamer1.0-plugins-base; without
them it says so and ends well. Rows of the pictures are longer than what is in them (638 pixels), and the
source ends after a few frames and is opened again.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from sanitizers import LIBRARY, small_bundles  # noqa: E402  # the folder comes first

from edgeosr.runtime.native.build import OBJECTS, SONAME, build  # noqa: E402
from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, onnxruntime_library  # noqa: E402

MODULES = ("gstreamer-app-1.0", "gstreamer-video-1.0")
SOURCE = "videotestsrc num-buffers=3 pattern=ball ! video/x-raw,width=638,height=48"
FRAMES = 5
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror")


def main() -> int:
    """Build it against the installed GStreamer, and count its verdicts."""
    found = subprocess.run(["pkg-config", "--cflags", "--libs", *MODULES], capture_output=True, text=True)
    if found.returncode != 0:
        print(f"not run: the example for GStreamer needs {' and '.join(MODULES)}")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = build(folder / SONAME, objects=HERE.parents[1] / OBJECTS)
        program = folder / "camera_gstreamer"
        example = LIBRARY / "examples" / "camera_gstreamer.c"
        command = ["cc", *STRICT, "-I", str(LIBRARY / "include"), str(example), str(library)]
        command += [*found.stdout.split(), f"-Wl,-rpath,{folder}", "-o", str(program)]
        subprocess.run(command, check=True)
        bundle = small_bundles(folder, hostile=0)[0]
        environment = {**os.environ, ONNXRUNTIME_VARIABLE: onnxruntime_library()}
        done = subprocess.run(
            [program, bundle, SOURCE, str(FRAMES)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
    lines = done.stdout.splitlines()
    good = done.returncode == 0 and len(lines) == FRAMES and "opening the source again" in done.stderr
    print(f"GStreamer: {f'{FRAMES} frames judged' if good else 'FAILED'}")
    if not good:
        print(done.stdout, done.stderr, file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
