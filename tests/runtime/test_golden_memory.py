"""What golden frames take when a bundle is opened, the runtime lets go before the first frame."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# In float32, as the network takes them, a MiB each; 32 of them are of one channel order.
SIZE = (240, 360)
BATCH_MIB = 32 * SIZE[0] * SIZE[1] * 12 / 2**20

PROGRAM = """
import ctypes, json, sys
import numpy as np
import edgeosr

def mib(key):
    ctypes.CDLL(None).malloc_trim(0)
    lines = open("/proc/self/status").read().splitlines()
    return [int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":")][0]

small, large, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
frame = np.zeros((240, 360, 3), np.uint8)
# What the libraries take once.
with edgeosr.Runtime(small, threads=1, **options) as runtime:
    runtime([frame, frame])
before, top = mib("VmRSS"), mib("VmHWM")
runtime = edgeosr.Runtime(large, threads=1, **options)
runtime(frame)
print(mib("VmRSS") - before, mib("VmHWM") - top)
"""


@pytest.mark.parametrize("options", ['{"backend": "openvino"}', '{"providers": ["AzureExecutionProvider"]}'])
def test_opening_keeps_no_memory_of_the_golden_frames(make_bundle: Callable[..., Path], options: str) -> None:
    """The second provider comes with onnxruntime's wheel and leaves everything to the processor."""
    command = [sys.executable, "-c", PROGRAM, str(make_bundle()), str(make_bundle(frame=SIZE)), options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept, peak = map(float, done.stdout.split())
    assert kept < 0.3 * BATCH_MIB
    assert peak < BATCH_MIB
