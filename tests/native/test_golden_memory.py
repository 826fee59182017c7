"""What golden frames take is let go with them: a service keeps its memory through verifications and swaps."""

import threading

import numpy as np
import pytest
from handle import MEMORY, frame, in_child, opened

# Large enough to tell 32 frames from four: in float32, as the network takes them, a MiB each.
SIZE = (240, 360)
FRAME_MIB = SIZE[0] * SIZE[1] * 12 / 2**20
# Of 32 frames of a channel order, had they been one batch.
BATCH_MIB = 32 * FRAME_MIB


@pytest.fixture(scope="module")
def large(make_bundle):
    return make_bundle(frame=SIZE)


BEGINNING = """
import os, resource, sys
import numpy as np
from handle import frame, opened
from edgeosr.runtime.native.library import load_library

def mib(key):
    lines = open("/proc/self/status").read().splitlines()
    return [int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":")][0]

native, path = load_library(sys.argv[1]), sys.argv[2]
one = frame(np.zeros((240, 360, 3), np.uint8))
"""

THROUGH = """
with opened(native, path) as handle:
    handle.judge(one)
    before, top = mib("VmRSS"), mib("VmHWM")
    for change in (lambda: handle.verify()[0], lambda: handle.swap(path), lambda: handle.swap(path)):
        assert not change(), handle.last_error()
        handle.judge(one)
        print(mib("VmRSS") - before, mib("VmHWM") - top)
with opened(native, path, verify=1) as handle:
    handle.judge(one)
    print(mib("VmRSS") - before, 0)
"""


def test_a_verification_and_swaps_leave_no_memory_of_golden_frames(built, large):
    for line in in_child(BEGINNING + THROUGH, built, large):
        kept, peak = map(float, line.split())
        # The network is of some KiB: what may stay is one frame's in each of two bundles.
        assert kept < 0.2 * BATCH_MIB
        assert peak < 0.6 * BATCH_MIB


WITHIN = """
def within(mib_more, change):
    limit = int(mib("VmSize") + mib_more) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    said = change()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    return said
"""
SHORT_OF_MEMORY = """
with opened(native, path) as handle:
    first = handle.judge(one)[0]["score"]
    swap = lambda: native.edgeosr_swap(handle.pointer, os.fsencode(path))
    print(within(float(sys.argv[3]), swap))
    print(handle.judge(one)[0]["generation"], handle.judge(one)[0]["score"] == first)
"""


def test_a_swap_needs_room_for_few_frames_beside_the_bundle_that_runs(built, large):
    # One heap, so that none has room that was set aside. In batches of 32 it takes twice as much as is here.
    found = in_child(BEGINNING + WITHIN + SHORT_OF_MEMORY, built, large, BATCH_MIB, MALLOC_ARENA_MAX="1")
    assert found == ["0", "2 True"]


WORDS = """
import ctypes
from handle import options

def open_and_close():
    pointer, given = ctypes.c_void_p(), options(verify=1, warmup_limit_s=-1)
    status = native.edgeosr_open(os.fsencode(path), ctypes.byref(given), ctypes.byref(pointer))
    native.edgeosr_close(pointer)
    return status

with opened(native, path, warmup_limit_s=-1) as handle:
    handle.judge(one)
    many = np.concatenate([one] * 64)
    calls = {  # what leaves room in the heap comes last
        "verify": lambda: handle.verify()[0],
        "open": open_and_close,
        "swap": lambda: native.edgeosr_swap(handle.pointer, os.fsencode(path)),
        "judge": lambda: handle.status_of(many)[0],
    }
    for name, call in calls.items():
        for more in range(0, 12, 2):
            status = within(more, call)
            if status:
                print(name, status, handle.last_error(), sep="|")
"""
WAYS_OUT = {
    "open": ", or close what it does not need first",
    "swap": ", or close this runtime and open the other bundle, for a swap has both open; this one goes on",
    "verify": "",
    "judge": ", or judge fewer or smaller frames in one call",
}


def test_too_little_memory_is_told_with_what_helps_in_this_call(built, large):
    told = [
        line.split("|") for line in in_child(BEGINNING + WITHIN + WORDS, built, large, MALLOC_ARENA_MAX="1")
    ]
    assert {name for name, _, _ in told} == set(WAYS_OUT)
    # Of onnxruntime's nodes and of the library's own room.
    for source in ("onnxruntime could not ", "there is not enough memory; "):
        assert any(words.startswith(source) for _, _, words in told)
    for name, status, words in told:
        assert int(status) == MEMORY
        assert words.endswith(f"; give the process more memory{WAYS_OUT[name]}")


def test_frames_are_judged_as_before_while_others_verify(native, large):
    pictures = [frame(np.full((*SIZE, 3), 40 + 20 * index, np.uint8)) for index in range(3)]
    with opened(native, large) as handle:
        expected = [handle.judge(one)[0]["score"] for one in pictures]
        said = [[] for _ in pictures]

        def judge(index):
            said[index].extend(handle.judge(pictures[index])[0]["score"] for _ in range(60))

        threads = [threading.Thread(target=judge, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        verified = [handle.verify()[0] for _ in range(3)]
        for thread in threads:
            thread.join()
    assert verified == [0] * 3 and said == [[score] * 60 for score in expected]


FREE_HEAP = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def left_free():
    blocks = [libc.malloc(100_000) for _ in range(600)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
        libc.free(block)
    return mib("VmRSS")

closed = opened(native, path)
closed.__enter__()
with opened(native, path) as handle:
    changes = {
        "swap": lambda: native.edgeosr_swap(handle.pointer, os.fsencode(path)),
        "swap that fails": lambda: native.edgeosr_swap(handle.pointer, b"/no such bundle"),
        "verification": lambda: handle.verify()[0],
        "close": lambda: closed.__exit__(None, None, None),
    }
    for name, change in changes.items():
        before = left_free()
        assert bool(change()) == (name == "swap that fails")
        print(name, before - mib("VmRSS"), sep=":")
"""


def test_free_memory_goes_back_to_the_system_whether_a_change_succeeds_or_not(built, bundle_path):
    given_back = dict(line.split(":") for line in in_child(BEGINNING + FREE_HEAP, built, bundle_path))
    assert list(given_back) == ["swap", "swap that fails", "verification", "close"]
    assert [name for name, given in given_back.items() if float(given) < 40] == []
