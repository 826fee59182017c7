"""The loop for GStreamer, built and run on its test pictures: ``python tests/native/gstreamer_example.py``.

Needs Debian's libgstreamer1.0-dev, libgstreamer-plugins-base1.0-dev and gstreamer1.0-plugins-base; without
them it says so and ends well. Rows of the pictures are longer than what is in them (638 pixels).
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from sanitizers import LIBRARY, small_bundles  # noqa: E402  # the folder comes first

from edgeosr.runtime.native.build import OBJECTS, SONAME, build  # noqa: E402
from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, onnxruntime_library  # noqa: E402

MODULES = ("gstreamer-app-1.0", "gstreamer-video-1.0")
SIZE = "video/x-raw,width=638,height=48"
THREE, LIVE = "videotestsrc num-buffers=3 pattern=ball", "videotestsrc num-buffers=3 is-live=true"
# More pixels than any bundle takes, 33 554 432.
TOO_MANY = "videotestsrc num-buffers=2 pattern=black ! video/x-raw,format=NV12,width=32766,height=1026"
BOTH = f"concat name=both {THREE} ! {SIZE} ! both. {TOO_MANY} ! both. both."
# Not live by what it says of itself, as cameras by HTTP or RTMP are not.
CAMERA = "tcpclientsrc host=127.0.0.1 port={port} ! rawvideoparse format=gray8 width=64 height=48"
BURST, AWAY_S = 150, 2
AGAIN, BROKEN = "opening the source again", "identity error-after=3"
# Of its length in bytes alone it is known to be a file.
RAW = "filesrc location={folder}/raw blocksize=3072 ! video/x-raw,format=GRAY8,width=64,height=48"
# What is asked for, the exit code, the verdicts, and whether standard error has words, and how often.
CASES = {
    "a file that ends": ([f"{THREE} ! {SIZE}"], 0, 3, {AGAIN: 0}),
    "a file and fewer frames": ([f"{THREE} ! {SIZE}", "2"], 0, 2, {AGAIN: 0}),
    "a file in a loop": (["--loop", f"{THREE} ! {SIZE}", "5"], 0, 5, {AGAIN: 1, "five seconds": 0}),
    "a live source that ends": ([f"{LIVE} ! {SIZE}", "5"], 0, 5, {AGAIN: 1, "five seconds": 0}),
    "a file that fails": ([f"{THREE} ! {SIZE} ! {BROKEN}"], 1, 2, {"identity0: ": 1, AGAIN: 0}),
    "a live source that fails": (
        [f"{LIVE} ! {SIZE} ! {BROKEN}", "5"],
        0,
        5,
        {"Failed after iterations": 2, AGAIN: 2},
    ),
    "a file without times": ([f"{RAW},framerate=25/1"], 0, 4, {AGAIN: 0}),
    "a file that cannot be judged": ([TOO_MANY], 1, 0, {"got 1026x32766": 2, AGAIN: 0}),
    "a file of which some frames cannot be judged": ([BOTH], 1, 3, {"got 1026x32766": 2, AGAIN: 0}),
    "a file without a frame": (["videotestsrc num-buffers=0"], 1, 0, {"before its first frame": 1, AGAIN: 0}),
    "no server": ([CAMERA.format(port=1)], 1, 0, {"tcpclientsrc0: ": 1, AGAIN: 0}),
    "no file": (["filesrc location=/nowhere ! decodebin"], 1, 0, {"filesrc0: ": 1, AGAIN: 0}),
    "no element": (["nothingsrc"], 1, 0, {"nothingsrc": 1, AGAIN: 0}),
    "no number of frames": ([f"{THREE} ! {SIZE}", "x"], 2, 0, {"[--loop] BUNDLE.edgeosr SOURCE [FRAMES]": 1}),
}
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
        (folder / "raw").write_bytes(bytes(4 * 64 * 48))
        environment = {**os.environ, ONNXRUNTIME_VARIABLE: onnxruntime_library(), "GST_DEBUG": "0"}
        failed = [name for name, case in CASES.items() if not passes(program, bundle, case, environment)]
        if not judges_a_network_camera(program, bundle, environment):
            failed.append("a camera on the network that restarts")
    print(f"GStreamer: {f'FAILED: {failed}' if failed else f'{len(CASES) + 1} sources judged'}")
    return len(failed)


def passes(program, bundle, case, environment):
    """Run it on a source, and tell whether it did what the case says."""
    given, code, verdicts, words = case
    given = [one.format(folder=bundle.parent) for one in given]
    done = ran(program, bundle, given, environment)
    good = (done.returncode, len(done.stdout.splitlines())) == (code, verdicts)
    good &= all(done.stderr.count(said) == count for said, count in words.items())
    if not good:
        print(case, done.returncode, done.stdout, done.stderr, file=sys.stderr)
    return good


def judges_a_network_camera(program, bundle, environment):
    """Run it on a server that is away between two bursts of frames: some are dropped, and it comes again."""
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        threading.Thread(target=serve, args=(first.dup(), port), daemon=True).start()
    done = ran(program, bundle, [CAMERA.format(port=port), str(BURST)], environment)
    # Without a frame dropped the first burst would be enough.
    good = (done.returncode, len(done.stdout.splitlines())) == (0, BURST)
    good &= AGAIN in done.stderr and "five seconds" not in done.stderr
    if not good:
        print(done.returncode, len(done.stdout.splitlines()), done.stderr, file=sys.stderr)
    return good


def serve(listening, port):
    """Give whoever connects frames: a burst at first; after a while without a server, one after another."""
    away_s, sent = AWAY_S, [bytes(64 * 48 * BURST)]
    while True:
        with listening:
            connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):  # the program has enough
            for frames in sent:
                connection.sendall(frames)
                time.sleep(0.02)
        time.sleep(away_s)
        away_s, sent = 0, [bytes(64 * 48)] * BURST
        listening = socket.create_server(("127.0.0.1", port))


def ran(program, bundle, given, environment):
    """Run it to its end."""
    loop = given[:1] if given[0] == "--loop" else []
    return subprocess.run(
        [program, *loop, bundle, *given[len(loop) :]],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )


if __name__ == "__main__":
    sys.exit(main())
