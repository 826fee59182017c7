"""Who waits for whom, what is looked at, and what is freed when: each by the one line that does it.

Over the doubles, some of it by the plug-in's table alone; in a process of its own: see ``test_tensorrt.py``.
"""

import ctypes
import functools
import re
import threading
from dataclasses import replace
from pathlib import Path

import doubles
import numpy as np
import pytest
from cuda_double import Result
from engine_double import ContextDouble, TrtDouble
from failing_on_doubles import OTHER, refused
from handle import BUNDLE, FAILED, NO_BACKEND, frame

from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

LANES, SECONDS = 4, 10


class Waiting(threading.Thread):
    """A call that begins while all lanes are taken."""

    def __init__(self, engine):
        super().__init__(daemon=True)
        self.engine, self.run_of_it, self.status, self.words = engine, None, None, ""
        self.start()

    def run(self):
        self.run_of_it = self.engine.begin(1, OTHER)
        self.status, self.words = self.engine.status, self.engine.words
        if self.run_of_it is not None:
            self.engine.end(self.run_of_it)

    def ended(self, seconds):
        self.join(seconds)
        return not self.is_alive()


@pytest.fixture
def taken(machine):
    """All lanes of an engine, taken; they are given back at the end, so that no call waits for good."""
    made = machine(integrated=False)
    made.add()
    engine = made.table()
    runs = [engine.begin(1, OTHER) for _ in range(LANES)]
    assert None not in runs and len({run.lane for run in runs}) == LANES
    waiting = Waiting(engine)
    yield made, engine, runs, waiting
    for run in runs:
        engine.end(run)
    if not waiting.ended(SECONDS):
        engine.abandon()  # closing it would wait for good
        pytest.fail("a call waits though every lane was given back")


def test_a_call_waits_while_all_lanes_are_taken_and_gets_the_one_that_is_given_back(taken):
    _, engine, runs, waiting = taken
    assert not waiting.ended(0.3)
    engine.end(runs.pop())
    assert waiting.ended(SECONDS) and waiting.status == 0


def test_a_lost_device_wakes_the_calls_that_wait_for_a_lane(taken, frames):
    made, engine, runs, waiting = taken
    assert not waiting.ended(0.3)
    made.cuda.lose_at(("cuStreamSynchronize", 0), Result.CUDA_ERROR_LAUNCH_FAILED)
    assert engine.judge(runs[0], frames[:1]) == FAILED
    assert waiting.ended(SECONDS)  # no lane was given back
    assert waiting.status == FAILED and "the GPU failed while frames are judged" in waiting.words


@pytest.mark.parametrize(
    ("of", "given", "changes"),
    [
        (("closed-form", "fp16", "external"), ("none", "fp16", "external"), {}),
        (("closed-form", "fp16", "external"), ("closed-form", "fp16", "cosine"), {}),
        (("none", "fp32", "cosine"), ("probes", "fp32", "cosine"), {}),
        (("none", "fp32", "cosine"), ("none", "fp32", "cosine"), {"parts": 16}),
    ],
    ids=["no closed form", "a head of its own", "probes", "the number of parts"],
)
def test_a_scorer_that_does_not_take_what_the_backbone_gives_is_refused(
    machine, engine_bundle, of, given, changes
):
    made = machine(*of)
    made.add()
    scorer = engine_bundle(*given).files["scorer.npz"]
    parts = len(read_scorer(scorer).fusion.parts)  # each case differs in one thing alone
    engine = made.table(scorer=scorer, **{"parts": parts, **changes})
    words = f"scorer.npz of {made.path} does not take what its backbone gives; export the bundle again"
    assert (engine.status, engine.words) == (BUNDLE, words)


def test_a_scorer_that_is_not_the_manifests_is_told_before_an_engine_is_looked_at(machine):
    made = machine()
    bundle = read_bundle(made.path)
    scorer = read_scorer(bundle.files["scorer.npz"])
    other = write_scorer(replace(scorer, threshold=scorer.threshold + 1))
    write_bundle(made.path, bundle.manifest, {**bundle.files, "scorer.npz": other})
    made.add()
    status, said = refused(made)
    assert status == BUNDLE and "scorer.npz is not the scorer of its manifest: the threshold" in said
    assert made.trt.asked == [] and made.cuda.count("cuInit") == 0


@pytest.mark.parametrize("which", ["least", "most"])
@pytest.mark.parametrize("shape", [(4, *OTHER), (4, *OTHER, 3, 1), (4, *OTHER, 1)], ids=len)
def test_a_profile_of_other_axes_is_refused(machine, which, shape):
    made = machine()
    vars(made.add()).update({which: shape})
    status, said = refused(made)
    assert status == FAILED and "the engine's frames must be [batch, height, width, 3]" in said


@pytest.mark.parametrize("tensor", ["frames", "channel_order", "map", "logits"])
@pytest.mark.parametrize(
    ("method", "other", "words"),
    [
        ("location", TrtDouble.TensorLocation.HOST, "must have the location 0 of"),
        ("mode", TrtDouble.TensorIOMode.NONE, "must have the mode "),
        ("format", TrtDouble.TensorFormat.CHW2, "must have the format 0 of"),
    ],
    ids=["on the host", "no mode", "another format"],
)
def test_each_tensor_is_looked_at_the_inputs_too(machine, tensor, method, other, words):
    made = machine()
    engine = made.add()
    plain = getattr(engine, f"get_tensor_{method}")
    setattr(engine, f"get_tensor_{method}", lambda name: other if name == tensor else plain(name))
    status, said = refused(made)
    assert status == FAILED and f"the engine's {tensor} {words}" in said


def longer(axis):
    return lambda shape: (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :])


@pytest.mark.parametrize(
    ("method", "tensor", "change"),
    [
        ("closed-form", "map", longer(0)), ("closed-form", "map", longer(1)),
        ("closed-form", "map", lambda shape: shape[:3]), ("closed-form", "map", lambda shape: (*shape, 1)),
        ("closed-form", "map", lambda shape: (*shape[:2], 0, shape[3])),
        ("closed-form", "map", lambda shape: (*shape[:3], -1)),
        ("closed-form", "logits", longer(0)), ("closed-form", "logits", longer(1)),
        ("closed-form", "logits", lambda shape: (*shape, 1)),
        ("probes", "embedding", longer(0)), ("probes", "embedding", longer(1)),
        ("probes", "tangents", longer(0)), ("probes", "tangents", longer(1)),
        ("probes", "tangents", longer(2)), ("probes", "tangents", lambda shape: shape[1:]),
    ],
)  # fmt: skip
def test_what_an_engine_gives_has_the_scorers_sizes(machine, frames, monkeypatch, method, tensor, change):
    made = machine(method)
    made.add()
    handle = made.open()
    plain = ContextDouble.get_tensor_shape

    def changed(self, name):
        shape = plain(self, name)
        return change(shape) if name == tensor else shape

    monkeypatch.setattr(ContextDouble, "get_tensor_shape", changed)
    assert handle.status_of(frame(frames[0]))[0] == FAILED
    said = handle.last_error()
    assert f"the engine's {tensor} must have a row for each of 1 frame(s), of the scorer's length" in said
    assert "build it again: edgeosr build BUNDLE" in said


def available():
    found = re.search(r"^MemAvailable: *(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) << 10


def test_of_a_gpu_that_shares_the_systems_memory_a_plan_may_hope_for_what_linux_has_left(machine):
    made = machine(integrated=True)
    hoped_for = made.plugin.edgeosr_tensorrt_test_memory
    hoped_for.restype = ctypes.c_uint64
    made.card.memory = 1 << 50
    before, found, after = available(), hoped_for(), available()
    slack = 64 << 20  # of what others do meanwhile
    assert min(before, after) - slack <= found <= max(before, after) + slack
    made.card.memory = 100 << 20  # less than there is: it has no more
    assert hoped_for() == 100 << 20
    own = machine(integrated=False)
    own.card.memory = 1 << 50
    assert hoped_for() == 1 << 50


def test_what_a_failed_run_left_in_the_stream_ends_before_a_handle_is_closed(machine, frames):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    made.cuda.fail_at = {("cuMemcpyDtoHAsync", 0): Result.CUDA_ERROR_INVALID_VALUE}
    assert handle.status_of(frame(frames[0]))[0] == FAILED
    assert not made.cuda.idle()
    handle.close()  # the double notes what is freed under a stream
    made.handles.remove(handle)
    assert made.cuda.idle() and made.faults == []


def test_where_tensorrt_only_says_no_a_lost_device_is_told_as_what_it_is(machine, frames):
    made = machine(integrated=False)
    engine = made.add()
    handle = made.open()
    engine.fails.add("execute_async_v3")
    made.cuda.lose_at(("cuStreamSynchronize", 0), Result.CUDA_ERROR_LAUNCH_FAILED)
    assert handle.status_of(frame(frames[0]))[0] == FAILED
    assert handle.last_error().startswith("the GPU failed while frames are judged: cuStreamSynchronize:")


def test_what_another_thread_makes_tensorrt_say_fails_no_start_of_it(machine, frames, monkeypatch):
    plain, failing = doubles.TensorRT.started, []

    def started(self, version):
        if failing:
            self.lock.release()  # for the other thread
            thread = threading.Thread(target=lambda: failing.append(handle.status_of(frame(frames[0]))[0]))
            thread.start()
            thread.join()
            self.lock.acquire()
        return plain(self, version)

    monkeypatch.setattr(doubles.TensorRT, "started", functools.wraps(plain)(started))
    made = machine()
    engine = made.add()
    handle = made.open()
    engine.fails.add("execute_async_v3")
    made.trt.words = b"it does not want to"
    failing.append(None)
    another = made.open()
    assert failing == [None, FAILED]
    engine.fails.clear()
    assert another.judge(frame(frames[0]))["finite"] == 1


def test_contexts_are_made_and_let_go_one_by_one(machine, frames):
    """Lanes that have more sizes than they keep let contexts go while others make theirs."""
    made = machine()
    made.add(most=12)
    handle = made.open()
    batches = [
        np.concatenate([frame(frames[i % len(frames)]) for i in range(count)]) for count in range(1, 13)
    ]
    said = []

    def judge():
        said.extend(handle.status_of(batch)[0] for batch in batches)

    threads = [threading.Thread(target=judge) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [0] * 36 and made.faults == []
    assert len(made.trt.contexts) > sum("context" in name for name in made.trt.alive)


def test_without_tensorrt_the_other_engines_reasons_are_told_too(machine):
    made = machine()
    made.add(b"elsewhere", device="Thor")
    nowhere = b"/nowhere/libnvinfer.so"
    status, said = refused(made, backend_library=nowhere)
    assert status == NO_BACKEND and "TensorRT was not found" not in said  # none of them needs it
    made.add(b"own", created="2026-01-01T00:00:00Z")
    made.add(b"newest", created="2026-04-01T00:00:00Z", targets=("sm_90",))
    status, said = refused(made, backend_library=nowhere)
    assert status == NO_BACKEND and said.startswith("TensorRT was not found; looked for /nowhere/libnvinfer")
    assert "; of the other engines: " in said and "elsewhere.plan: it was built on Thor" in said
    assert "newest.plan: it is for sm_90" in said


def test_a_bundle_with_engines_of_tensorrt_rtx_alone_says_so(machine):
    made = machine()
    made.add(builder="tensorrt_rtx")
    status, said = refused(made)
    assert status == NO_BACKEND
    assert said == (
        f"{made.path} has no engine of TensorRT (those of TensorRT-RTX run in Python alone); build one here: "
        "edgeosr build BUNDLE, or take the back end onnxruntime"
    )
