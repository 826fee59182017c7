"""Which lane gives its memory to which call, on a GPU of so many bytes: none where that would not help.

Over the doubles; in a process of its own: see ``test_tensorrt.py``.
"""

import ctypes
import threading
import time

import numpy as np
import pytest
from cuda_double import Result
from failing_on_doubles import OTHER
from handle import MEMORY

LANES, MOST, PATIENCE, SECONDS = 4, 64, 100, 20
FULL = Result.CUDA_ERROR_OUT_OF_MEMORY


def scores(run, count):
    return list((ctypes.c_float * count).from_address(run.score))


class Card:
    """An engine on a GPU, with lanes that judge what they are told to."""

    def __init__(self, machine, frames, *, integrated=False, activations=1000):
        self.made = machine(integrated=integrated)
        self.made.add(most=MOST).device_memory_size_v2 = activations
        self.frames = np.concatenate([frames] * 11)
        self.engine = self.made.table()

    def begin(self, count):
        run = self.engine.begin(count, OTHER)
        assert run is not None, self.engine.words
        return run

    def judge(self, run, count):
        """Judge the first frames in one piece; returns the status."""
        return self.engine.judge(run, self.frames[:count])

    def lanes_with(self, *sizes):
        """Make a lane for each of these lists of sizes, all of them idle, the first used last."""
        runs = [self.begin(2 * MOST) for _ in sizes]  # room for the rows of all sizes of a lane
        for run, counts in zip(runs, sizes, strict=True):
            assert all(self.judge(run, count) == 0 for count in counts)
        for run in reversed(runs):
            self.engine.end(run)
        return [run.lane for run in runs]

    def one(self, count):
        """Judge in a call of its own; returns the status."""
        run = self.begin(count)
        status = self.judge(run, count)
        self.engine.end(run)
        return status

    def fill(self, more=0):
        """Leave so much memory, and no more."""
        self.made.card.limit = self.made.card.used() + more

    def lanes(self):
        return len(self.made.cuda.streams) - 1

    def slots(self):
        return sum("context" in name for name in self.made.trt.alive)

    def contexts_made(self):
        return len(self.made.trt.contexts)


@pytest.fixture
def card(machine, frames):
    made = []

    def make(**settings):
        made.append(Card(machine, frames, **settings))
        return made[-1]

    yield make
    for each in made:
        each.fill(1 << 30)


@pytest.mark.parametrize("integrated", [False, True], ids=["own memory", "shared memory"])
def test_batches_that_fit_nowhere_take_nothing_from_the_other_lanes_nor_from_their_own(card, integrated):
    one = card(integrated=integrated)
    one.lanes_with(*[(1, 2)] * LANES)
    one.fill(2000)
    for _ in range(LANES):
        assert one.one(MOST) == MEMORY
        assert "the GPU's memory is full while frames are judged (cuMem" in one.engine.words
    assert (one.lanes(), one.slots()) == (LANES, 2 * LANES)
    contexts, taken = one.contexts_made(), one.made.cuda.count("cuMemAlloc")
    runs = [one.begin(2) for _ in range(LANES)]
    assert [one.judge(run, count) for run in runs for count in (1, 2)] == [0] * 2 * LANES
    for run in runs:
        one.engine.end(run)
    assert (one.contexts_made(), one.made.cuda.count("cuMemAlloc")) == (contexts, taken)


def test_of_idle_lanes_as_many_give_way_as_it_takes(card):
    one = card(activations=30_000)
    one.lanes_with((), (1,), (1,), (1,))
    one.fill()
    assert one.one(3) == 0
    assert one.lanes() == LANES - 1 and one.slots() == 3  # of one lane the size, too
    assert one.one(1) == 0 and one.slots() == 3


def test_what_the_gpu_has_left_counts_beside_what_is_let_go(card):
    """A byte less, and nothing would help; then nothing is let go."""
    one = card(activations=4096)
    one.lanes_with((1,))
    small = one.made.card.used()
    assert one.one(12) == 0
    size = one.made.card.used() - small  # of a slot for 12 frames
    one.made.close()  # there is one GPU
    other = card(activations=4096)
    other.lanes_with((), ())
    other.fill(size - 4096 - 1)
    assert other.one(12) == MEMORY and other.lanes() == 2
    other.fill(size - 4096)
    assert other.one(12) == 0 and other.lanes() == 1


def test_a_lanes_own_sizes_go_before_other_lanes_those_used_longest_ago_first(card):
    one = card()
    lane, _ = one.lanes_with((3, 2, 1), (4,))
    one.fill()
    run = one.begin(3)
    assert run.lane == lane and one.judge(run, 5) == 0
    one.engine.end(run)
    contexts = one.contexts_made()
    assert one.lanes() == 2 and one.one(4) == 0 and one.one(1) == 0 and one.contexts_made() == contexts
    assert one.slots() < 5


def test_a_call_goes_over_to_an_idle_lane_that_has_its_size_and_nothing_is_let_go(card):
    one = card()
    small, holder = one.lanes_with((1,), (6,))
    one.fill()
    run = one.begin(200)
    assert run.lane == small and one.judge(run, 1) == 0
    first = scores(run, 1)
    assert one.judge(run, 6) == 0 and run.lane == holder
    assert scores(run, 2) == first * 2  # the frame that both pieces begin with
    one.engine.end(run)
    assert (one.lanes(), one.slots()) == (2, 2)


class Call(threading.Thread):
    """A call on a thread of its own; ``status`` once it ended."""

    def __init__(self, card, count):
        super().__init__(daemon=True)
        self.card, self.count = card, count
        self.status = self.score = self.run_in = None
        self.start()

    def run(self):
        run = self.card.engine.begin(self.count, OTHER)
        status = self.card.judge(run, self.count)
        self.score, self.run_in = scores(run, self.count), run.lane
        self.card.engine.end(run)
        self.status = status

    def ended(self, seconds=SECONDS):
        self.join(seconds)
        return not self.is_alive()


def test_a_size_that_fits_in_one_lane_alone_is_waited_for_there_and_the_others_stay(card):
    one = card()
    holder, small = one.lanes_with((6,), (1,))
    one.fill()
    busy = one.begin(6)
    assert busy.lane == holder and one.judge(busy, 6) == 0
    expected = scores(busy, 6)
    waiting = Call(one, 6)
    waits, tried = not waiting.ended(0.5), one.contexts_made()
    again = Call(one, 6)  # is not tried once more
    waits = waits and not again.ended(0.3) and one.contexts_made() == tried
    other = Call(one, 1)  # while they wait another size goes on
    goes_on = other.ended()
    one.engine.end(busy)  # before anything is asserted, so that nobody waits for good
    assert waits and goes_on and other.run_in == small
    assert waiting.ended() and again.ended()
    assert (waiting.status, again.status) == (0, 0) and waiting.score == again.score == expected
    assert (one.lanes(), one.slots()) == (2, 2)


def held_back(one, sizes, *, by):
    """Start calls of these sizes while calls of the sizes ``by`` have the lanes that they fit in.

    Returns the contexts that were made in vain.
    """
    busy, before = [one.begin(count) for count in by], one.contexts_made()
    said = [one.judge(run, count) for run, count in zip(busy, by, strict=True)]
    waiting, made = [Call(one, count) for count in sizes], -1
    while made != one.contexts_made() - before:
        made = one.contexts_made() - before
        time.sleep(0.3)  # for all to come
    waits = [call.is_alive() for call in waiting]
    for run in busy:
        one.engine.end(run)
    assert said == [0] * len(by) and waits == [True] * len(waiting)
    assert all(call.ended() and call.status == 0 for call in waiting)
    return made


@pytest.mark.parametrize("most", [7, 12])
def test_of_several_sizes_that_fit_in_one_lane_alone_each_is_waited_for_there(card, most):
    one, sizes = card(), range(6, most + 1)
    one.lanes_with((5, *sizes), (1,))
    one.fill()
    assert [held_back(one, sizes, by=[5]) for _ in range(2)] == [len(sizes), 0]


def test_each_size_is_tried_once_more_after_a_hundred_calls_of_its_own(card):
    one = card()
    one.lanes_with((5, 6, 7), (1,))
    one.fill()
    assert held_back(one, [6, 7], by=[5]) == 2
    assert [one.one(count) for count in [7] * 50 + [6] * (PATIENCE - 1)] == [0] * (49 + PATIENCE)
    assert [held_back(one, [6], by=[5]) for _ in range(3)] == [0, 1, 0]
    assert held_back(one, [7], by=[5]) == 0


def test_of_more_than_eight_such_sizes_the_one_is_forgotten_that_is_tried_again_soonest(card):
    one, both = card(), [5, 2]
    one.lanes_with(range(5, 13), (2, 20, 21), (1,))
    one.fill()
    assert held_back(one, [*range(6, 13), 20], by=both) == 8
    assert held_back(one, [8], by=both) == 0
    assert held_back(one, [21], by=both) == 1
    assert held_back(one, [6, 7, 9, 10, 11, 12, 20, 21], by=both) == 0
    assert held_back(one, [8], by=both) == 1


def test_what_waits_for_a_size_is_told_where_that_is_let_go_meanwhile(card):
    one = card()
    holder, _ = one.lanes_with((6,), (1,))
    one.fill()
    busy = one.begin(200)
    waiting = Call(one, 6)
    waits = not waiting.ended(0.5)
    # Eight further sizes take its place; then there is no memory for it where it was.
    one.fill(1 << 20)
    said = [one.judge(busy, count) for count in range(7, 16)]
    one.made.cuda.failures["cuMemAlloc"] = FULL
    one.engine.end(busy)
    assert busy.lane == holder and waits and said == [0] * 9
    assert waiting.ended() and waiting.status == MEMORY
    one.made.cuda.failures.clear()
    assert one.one(6) == 0


def test_a_context_that_tensorrt_does_not_make_takes_the_place_of_one_other_alone(card):
    one = card()
    one.lanes_with((1, 2, 3), (4,))
    engine = one.made.trt.loaded[-1]
    engine.fails.add("create_execution_context")
    assert [one.one(5) for _ in range(PATIENCE + 1)] == [MEMORY] * (PATIENCE + 1)
    assert "TensorRT made no execution context" in one.engine.words
    assert (one.lanes(), one.slots()) == (2, 3)
    assert one.one(5) == MEMORY and one.slots() == 2  # it may help by now
    engine.fails.clear()
    assert one.one(5) == 0


def test_page_locked_memory_is_not_had_of_lanes_that_have_none(card):
    one = card(activations=1 << 20)
    one.lanes_with((1,), (4,), ())
    one.made.cuda.failures["cuMemHostAlloc"] = FULL
    assert one.one(6) == MEMORY and (one.lanes(), one.slots()) == (3, 2)
    assert "the GPU's memory is full while frames are judged (cuMemHostAlloc)" in one.engine.words
    assert one.one(3) == MEMORY and (one.lanes(), one.slots()) == (2, 0)  # all of it seemed to be enough
    one.made.cuda.failures.clear()
    assert one.one(3) == 0
