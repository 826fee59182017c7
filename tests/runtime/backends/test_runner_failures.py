"""Whatever fails, at whatever step: a reason, and a runner that goes on or is closed; never a wedge."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_double import HostArray, Result
from cuda_streams import CaptureResult, QueuedCudaDouble
from test_engine_runner import aligned, assert_like_portable, run_on_device

from edgeosr.errors import (
    CudaError,
    DeviceLostError,
    DeviceMemoryError,
    EdgeosrError,
    EngineRunError,
    UsageError,
)

Make = Callable[..., Any]
FULL = Result.CUDA_ERROR_OUT_OF_MEMORY
# Not reported when they fail: the run itself has succeeded.
CLEARING_UP = {"cuCtxPopCurrent", "cuGraphDestroy"}
LOST = Result.CUDA_ERROR_LAUNCH_FAILED


def calls_of(make: Make, frames: np.ndarray, *, prepared: bool, **settings: Any) -> list[tuple[str, int]]:
    """Every driver call of a run that goes well, as (name, how many of that name came before)."""
    rig = make(**settings)
    if prepared:
        rig.run(frames[:1])
    rig.cuda.calls.clear()
    rig.run(frames[:1], threshold=0.25)
    seen: dict[str, int] = {}
    found = []
    for name, *_ in rig.cuda.calls:
        found.append((name, seen.setdefault(name, 0)))
        seen[name] += 1
    return found


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("prepared", [False, True])
def test_memory_may_run_out_at_any_call(
    rig: Make, frames: np.ndarray, prepared: bool, integrated: bool
) -> None:
    calls = calls_of(rig, frames, prepared=prepared, integrated=integrated)
    assert len(calls) > (3 if prepared else 25)
    for call in calls:
        if call[0] in CLEARING_UP:
            continue
        each = rig(integrated=integrated)
        if prepared:
            each.run(frames[:1])
        each.cuda.fail_at = {call: FULL}
        # Where a captured graph cannot be had, frames run without one; nothing else is passed over.
        with pytest.raises(DeviceMemoryError, match=r"memory is full while frames .* are judged .*can go on"):
            each.run(frames[:1], threshold=0.25)
        assert each.cuda.fail_at == {}, call
        assert not each.cuda.capturing(), call
        assert_like_portable(each, each.run(frames[:1]), frames[:1])
        assert each.run(frames[:1], threshold=-np.inf).accepted.tolist() == [False]
        each.runner.close()
        assert each.cuda.leaks() == [], call


@pytest.mark.parametrize("prepared", [False, True])
def test_a_lost_device_closes_the_runner_with_the_reason(
    rig: Make, frames: np.ndarray, prepared: bool
) -> None:
    for call in calls_of(rig, frames, prepared=prepared):
        each = rig()
        if prepared:
            each.run(frames[:1])
        each.cuda.lose_at(call, LOST)
        if call[0] == "cuCtxPopCurrent":
            each.run(frames[:1], threshold=0.25)  # the verdicts are there; the next call meets the error
        with pytest.raises(DeviceLostError, match=r"CUDA_ERROR_LAUNCH_FAILED.*start a new one"):
            each.run(frames[:1], threshold=0.25)
        made = len(each.cuda.calls)
        for _ in range(2):
            with pytest.raises(DeviceLostError, match=r"LAUNCH_FAILED .*this runtime is closed"):
                each.run(frames[:1])
        assert len(each.cuda.calls) == made, "a lost device is not called again"
        each.runner.close()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("create_execution_context", "made no execution context"),
        ("set_input_shape", r"refused frames of \[1, 20, 30, 3\]"),
        ("set_tensor_address", "refused the address 0x.* for frames"),
        ("execute_async_v3", r"could not run the engine on frames \[1, 20, 30, 3\]"),
    ],
)
def test_a_step_that_tensorrt_refuses_leaves_the_runner_usable(
    rig: Make, frames: np.ndarray, method: str, words: str
) -> None:
    each = rig()
    each.run(frames[:2])
    each.engine.fails = {method}
    with pytest.raises(EngineRunError, match=words):
        each.run(frames[:1])
    assert_like_portable(each, each.run(frames[:2]), frames[:2])  # its graph is captured already
    each.engine.fails.clear()
    assert_like_portable(each, each.run(frames[:1]), frames[:1])


def test_an_engine_with_rows_for_other_frames_than_it_got_is_refused(
    rig: Make, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = rig()
    context = type(each.engine.create_execution_context(_managed()))
    each.engine.contexts.clear()
    shape = context.get_tensor_shape
    monkeypatch.setattr(context, "get_tensor_shape", lambda self, name: (7, *shape(self, name)[1:]))
    with pytest.raises(EngineRunError, match=r"must have a row for each of 3 frame\(s\); got \[7, "):
        each.run(frames[:3])


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_without_a_capture_frames_run_one_by_one(
    rig: Make, frames: np.ndarray, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    each = rig()
    each.cuda.fail_at = {(call, 0): CaptureResult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED}
    for number in range(3):
        assert_like_portable(each, each.run(frames[number : number + 1]), frames[number : number + 1])
    assert "run without a CUDA graph: " + call in caplog.text
    assert each.cuda.graphs == {} and each.cuda.count("cuGraphLaunch") == 0
    assert sum(not captured for _, _, captured in each.engine.log) == 4  # the first run and three more


def test_an_engine_that_cannot_be_captured_runs_without(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    enqueue = type(each.engine.create_execution_context(_managed())).execute_async_v3

    class Uncapturable(type(each.engine.contexts[0])):  # type: ignore[misc]
        def execute_async_v3(self, stream_handle: int) -> bool:
            return not self.engine.cuda.capturing() and enqueue(self, stream_handle)

    each.engine.contexts.clear()
    make = each.engine.create_execution_context

    def made(how: Any) -> Any:
        context = make(how)
        context.__class__ = Uncapturable
        return context

    each.engine.create_execution_context = made
    for _ in range(3):
        assert_like_portable(each, each.run(frames[:2]), frames[:2])
    assert each.cuda.graphs == {} and not each.cuda.capturing()


def test_prepared_shapes_make_room_for_a_new_one_when_memory_is_full(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    for batch in (1, 2, 3):
        each.run(frames[:batch])
    each.cuda.fail_at = {("cuMemHostAlloc", 0): FULL}
    assert_like_portable(each, each.run(frames[:4]), frames[:4])
    assert len(each.cuda.graphs) == 1
    assert_like_portable(each, each.run(frames[:1]), frames[:1])


@pytest.mark.parametrize("batch", [1, 2])
def test_after_an_interrupted_wait_the_next_call_waits_first(
    rig: Make, frames: np.ndarray, batch: int
) -> None:
    # The work of the interrupted call still uses its buffers: another shape must not free them under it.
    each = rig(most_slots=1)
    each.run(frames[:1])

    def interrupted(stream: int) -> None:
        del each.cuda._StreamSynchronize  # the class's own again
        raise KeyboardInterrupt

    each.cuda._StreamSynchronize = interrupted
    with pytest.raises(KeyboardInterrupt):
        each.run(frames[1:2], threshold=-np.inf)
    assert not each.cuda.idle()
    assert_like_portable(each, each.run(frames[2 : 2 + batch]), frames[2 : 2 + batch])


def test_a_verdict_that_was_not_written_is_an_error_not_a_decision(rig: Make, frames: np.ndarray) -> None:
    for integrated in (False, True):
        each = rig(integrated=integrated)
        each.run(frames[:2])
        each.cuda.executes = False
        with pytest.raises(EdgeosrError, match="2 of 2 verdicts were not written"):
            each.run(frames[:2])
        each.cuda.executes = True
        assert_like_portable(each, each.run(frames[:2]), frames[:2])


def test_nothing_is_left_behind_when_opening_fails(rig: Make) -> None:
    # The scorer's weights, and waiting for them, come before the runner's own calls.
    first = {"cuMemAlloc": 1, "cuStreamSynchronize": 1}
    for name, count in (("cuStreamCreate", 1), ("cuMemAlloc", 3), ("cuStreamSynchronize", 1)):
        for number in range(count):
            cuda = QueuedCudaDouble()
            cuda.fail_at = {(name, first.get(name, 0) + number): FULL}
            with pytest.raises(DeviceMemoryError, match="memory is full while the engine is prepared"):
                rig(cuda=cuda)
            gc.collect()  # the runner that could not be made
            assert cuda.leaks() == [], (name, number)


def test_frames_on_the_device_survive_failures_too(rig: Make, frames: np.ndarray) -> None:
    batch = aligned(frames[:2])
    for name in ("cuMemAlloc", "cuMemHostAlloc", "cuStreamBeginCapture"):
        each = rig()
        each.cuda.fail_at = {(name, 0): FULL}
        with pytest.raises(DeviceMemoryError):
            for _ in range(3):
                run_on_device(each, HostArray(batch))
        assert_like_portable(each, run_on_device(each, HostArray(batch)), batch)


def test_a_closed_runner_says_so_and_closing_twice_is_fine(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    each.run(frames[:1])
    for _ in range(2):
        each.runner.close()
    assert each.cuda.leaks() == []
    with pytest.raises(UsageError, match=r"closed.*make a new edgeosr\.Runtime"):
        each.run(frames[:1])


def test_threads_take_turns_and_each_gets_its_own_verdicts(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    expected = [each.run(frames[number : number + 1]).score[0] for number in range(6)]
    problems: list[object] = []

    def call(number: int) -> None:
        try:
            for _ in range(15):
                rows = each.run(frames[number : number + 1], threshold=float(number) - 3)
                if rows.score[0] != expected[number] or rows.accepted[0] != (expected[number] <= number - 3):
                    problems.append((number, rows))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_failure_that_cuda_recovers_from_is_passed_on_as_it_is(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    each.run(frames[:1])
    each.cuda.fail_at = {("cuGraphLaunch", 0): Result.CUDA_ERROR_INVALID_VALUE}
    with pytest.raises(CudaError, match="cuGraphLaunch failed: CUDA_ERROR_INVALID_VALUE"):
        each.run(frames[:1])
    assert_like_portable(each, each.run(frames[:1]), frames[:1])


def _managed() -> Any:
    from engine_double import TrtDouble

    return TrtDouble.ExecutionContextAllocationStrategy.USER_MANAGED


def test_a_threshold_that_did_not_reach_the_device_is_sent_again(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    assert each.run(frames[:3], threshold=np.inf).accepted.all()
    each.cuda.fail_at = {("cuMemcpyHtoDAsync", 0): FULL}
    with pytest.raises(DeviceMemoryError):
        each.run(frames[:3], threshold=-np.inf)
    assert not each.run(frames[:3], threshold=-np.inf).accepted.any()
    each.cuda.fail_at = {("cuMemcpyHtoDAsync", 0): FULL}
    with pytest.raises(DeviceMemoryError):
        each.run(frames[:3], threshold=np.inf)
    assert not each.run(frames[:3], threshold=-np.inf).accepted.any()
