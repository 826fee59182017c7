"""Too little time, memory or threads is a status with a way out, and the runtime goes on."""

import subprocess

import pytest
from handle import ARGUMENT, FAILED, MEMORY, frame, in_child, opened, options, said_on_opening

from edgeosr.runtime.native.library import openvino_library


@pytest.fixture(scope="module")
def handle(native, bundle_path):
    with opened(native, bundle_path) as made:
        yield made


def test_a_warm_up_that_takes_too_long_is_ended(native, handle, bundle_path):
    status, said = said_on_opening(native, bundle_path, options(warmup_limit_s=1e-9))
    assert status == FAILED and "did not judge a frame within 1e-09 s" in said
    assert native.edgeosr_warm_up(handle.pointer, 1, 1e-9) == FAILED
    assert "allow it more time" in handle.last_error()
    assert native.edgeosr_warm_up(handle.pointer, 2, 60.0) == 0
    assert native.edgeosr_warm_up(handle.pointer, -1, 60.0) == ARGUMENT


def test_golden_frames_are_judged_within_the_limit_of_a_warm_up(native, bundle_path, tiny):
    given = {"warmup_frames": -1, "warmup_limit_s": 1e-9}
    status, said = said_on_opening(native, bundle_path, options(**given, verify=1))
    assert status == FAILED and "did not judge a frame within 1e-09 s" in said
    with opened(native, bundle_path, **given) as handle:
        assert handle.verify()[0] == FAILED
        assert handle.judge(frame(tiny.sample_frames(1)[0]))["part_count"] == 5


NO_THREAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
int pthread_create(pthread_t *made, pthread_attr_t const *how, void *(*work)(void *), void *with) {
    int (*genuine)(pthread_t *, pthread_attr_t const *, void *(*)(void *), void *);
    *(void **)&genuine = dlsym(RTLD_NEXT, "pthread_create");
    return getenv("NO_THREAD") ? EAGAIN : genuine(made, how, work, with);
}
"""
WITHOUT_THREADS = """
import os, sys
import numpy as np
from handle import frame, opened
from edgeosr.runtime.native.library import load_library

native = load_library(sys.argv[1])
with opened(native, sys.argv[2]) as handle:
    os.environ["NO_THREAD"] = "1"
    print(native.edgeosr_warm_up(handle.pointer, 1, 5.0), handle.last_error())
    print(native.edgeosr_warm_up(handle.pointer, 1, 0.0))
    print(handle.judge(frame(np.zeros((8, 8, 3), np.uint8)))["part_count"])
"""


def no_thread_shim(folder):
    shim = folder / "nothread.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(shim), "-ldl"]
    subprocess.run(command, input=NO_THREAD, text=True, check=True)
    return shim


def test_no_thread_for_a_time_limit_is_told_with_a_way_out(built, bundle_path, tmp_path):
    shim = no_thread_shim(tmp_path)
    first, *others = in_child(WITHOUT_THREADS, built, bundle_path, LD_PRELOAD=str(shim))
    assert first.startswith(f"{MEMORY} no thread can be started") and "warmup_limit_s -1" in first
    assert others == ["0", "[5]"]


WITHOUT_THREADS_ON_OPENVINO = """
import os, sys
import numpy as np
from handle import frame, opened
from edgeosr.runtime.native.library import load_library

native, path = load_library(sys.argv[1]), sys.argv[2]
with opened(native, path, backend=b"openvino", backend_library=os.fsencode(sys.argv[3])) as handle:
    before = handle.judge(frame(np.zeros((8, 8, 3), np.uint8)))["score"]
    os.environ["NO_THREAD"] = "1"
    print(native.edgeosr_swap(handle.pointer, os.fsencode(path)), handle.last_error())
    print(handle.judge(frame(np.zeros((8, 8, 3), np.uint8)))["score"] == before)
"""


def test_an_openvino_that_can_start_no_thread_has_too_little_memory(built, body_bundle, tmp_path):
    """As where memory for the thread's stack is short: the same limit a little lower is told as memory."""
    shim = no_thread_shim(tmp_path)
    path, library = body_bundle().path, openvino_library()
    first, second = in_child(WITHOUT_THREADS_ON_OPENVINO, built, path, library, LD_PRELOAD=str(shim))
    assert first.startswith(f"{MEMORY} OpenVINO ") and "Resource temporarily unavailable" in first
    assert second == "[ True]"


CHILD = """
import resource, sys
import numpy as np
from handle import frame, opened
from edgeosr.runtime.native.library import load_library

with opened(load_library(sys.argv[1]), sys.argv[2]) as handle:
    one = np.zeros((2000, 2000, 3), np.uint8)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
    status, _ = handle.status_of(np.concatenate([frame(one)] * 200))
    print(status, handle.last_error())
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    print(handle.judge(frame(one))["part_count"])
"""


def test_out_of_memory_is_a_status_and_the_runtime_goes_on(built, bundle_path):
    first, second = in_child(CHILD, built, bundle_path)
    assert first.startswith(f"{MEMORY} there is not enough memory") and second == "[5]"


FREE_HEAP = """
import ctypes, resource, sys
from handle import opened
from edgeosr.runtime.native.library import load_library

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
native = load_library(sys.argv[1])
with opened(native, sys.argv[2]):
    blocks = [libc.malloc(100_000) for _ in range(600)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
        libc.free(block)
    before = resident_mib()
    with opened(native, sys.argv[2]):
        print(before - resident_mib())
"""


def test_what_opening_leaves_free_in_the_heap_goes_back_to_the_system(built, bundle_path):
    (given_back,) = in_child(FREE_HEAP, built, bundle_path)
    assert float(given_back) > 40
