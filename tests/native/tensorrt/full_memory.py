"""A GPU that is full after some lanes were made, over the doubles: calls go on in those that have memory."""

import ctypes
import faulthandler
import os
import sys
import threading
import time

import numpy as np
import pytest
from cuda_double import Result
from failing_on_doubles import OTHER
from handle import MEMORY, frame

FULL = Result.CUDA_ERROR_OUT_OF_MEMORY
SECONDS = 60  # of what takes a few


def scores(run, count):
    return list((ctypes.c_float * count).from_address(run.score))


@pytest.fixture
def two_lanes(machine):
    """An engine with a run in each of two lanes, which have judged nothing yet."""
    made = machine(integrated=False)
    made.add()
    engine = made.table()
    first = engine.begin(2, OTHER)
    second = engine.begin(6, OTHER)
    assert first.lane != second.lane
    return made, engine, first, second


def test_a_lane_without_memory_for_its_buffers_gives_way_to_one_that_has_them(two_lanes, frames):
    made, engine, first, second = two_lanes
    assert engine.judge(first, frames[:1]) == 0
    (expected,) = scores(first, 1)
    engine.end(first)
    made.cuda.failures["cuMemAlloc"] = FULL
    assert engine.judge(second, frames[:1]) == 0 and second.lane == first.lane
    assert scores(second, 1) == [expected]
    engine.end(second)
    for _ in range(3):  # nor does any later call
        run = engine.begin(1, OTHER)
        assert engine.judge(run, frames[:1]) == 0
        engine.end(run)
    made.cuda.failures.clear()


def test_the_rows_of_a_call_that_goes_on_in_another_lane_come_along(two_lanes, frames):
    made, engine, first, second = two_lanes
    assert engine.judge(first, frames[4:6]) == 0
    last = scores(first, 2)
    engine.end(first)
    assert engine.judge(second, frames[:4]) == 0
    begun = scores(second, 4)
    made.cuda.failures["cuMemAlloc"] = FULL
    assert engine.judge(second, frames[4:6]) == 0 and second.lane == first.lane
    assert scores(second, 6) == begun + last
    engine.end(second)
    made.cuda.failures.clear()


def test_a_lane_that_has_had_the_size_is_taken_before_one_that_has_not(two_lanes, frames):
    made, engine, first, second = two_lanes
    assert engine.judge(first, frames[:1]) == 0 and engine.judge(second, frames[:2]) == 0
    engine.end(second)
    engine.end(first)
    made.cuda.failures["cuMemAlloc"] = FULL
    for count, lane in ((2, second.lane), (1, first.lane)):
        run = engine.begin(count, OTHER)
        assert run.lane == lane and engine.judge(run, frames[:count]) == 0
        engine.end(run)
    made.cuda.failures.clear()


def test_the_last_lanes_want_of_memory_is_told(two_lanes, frames):
    made, engine, first, second = two_lanes
    engine.end(first)
    made.cuda.failures["cuMemAlloc"] = FULL
    assert engine.judge(second, frames[:1]) == MEMORY
    assert "the GPU's memory is full while frames are judged" in engine.words
    engine.end(second)
    made.cuda.failures.clear()
    run = engine.begin(1, OTHER)
    assert engine.judge(run, frames[:1]) == 0
    engine.end(run)


def judged_at_once(handle, batch, times):
    """What two threads are told."""
    said, gate = [], threading.Barrier(2)

    def work():
        gate.wait(SECONDS)
        said.extend(handle.status_of(batch)[0] for _ in range(times))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(until - time.monotonic())
    if any(thread.is_alive() for thread in threads):
        # Closing the handle would wait for good, and the process would never end.
        print(f"a call waits for a lane for {SECONDS} s; judged until then: {said}", file=sys.__stderr__)
        faulthandler.dump_traceback(file=sys.__stderr__)
        os._exit(3)
    return said


def test_threads_share_what_fits_and_a_further_lane_is_not_tried_at_each_call(machine, frames):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    one, two = frame(frames[0]), np.concatenate([frame(frames[0]), frame(frames[1])])
    until = time.monotonic() + SECONDS
    while len(made.cuda.streams) - 1 < 2:
        assert time.monotonic() < until, f"two threads took turns in one lane for {SECONDS} s"
        judged_at_once(handle, one, 3)
    assert handle.status_of(two)[0] == 0
    made.card.limit = made.card.used()
    tried = made.cuda.count("cuStreamCreate")
    for batch in (two, one, two):
        assert judged_at_once(handle, batch, 15) == [0] * 30
    assert made.cuda.count("cuStreamCreate") <= tried + 2
    made.card.limit = 8 << 30
