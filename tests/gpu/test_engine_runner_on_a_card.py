"""The product's EngineRunner on a card, torch in the engine's place: verdicts, graphs, threads, errors."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.errors import DeviceMemoryError, FrameError
from edgeosr.runtime.backends.cuda_frames import as_cuda_frames
from edgeosr.runtime.backends.engine_io import EngineIo
from edgeosr.runtime.backends.engine_runner import EngineRunner

pytestmark = pytest.mark.gpu
# Standard deviations of known samples: fp16 weights, and a network whose batches may round apart.
BAND = 0.02


def random_frames(engine: Any, batch: int, seed: int) -> np.ndarray:
    side = engine.network.side
    return np.random.default_rng(seed).integers(0, 256, (batch, side, side, 3), np.uint8)


def test_every_verdict_is_the_references_whatever_batch_colour_order_and_threshold(
    stand_in_engine: Any, small: bool, record_property: Any
) -> None:
    each, frames, wrong = stand_in_engine, 0, 0
    middle = each.scorer.scorer.threshold
    for number, batch in enumerate((1, 2, 1, 3) if small else (1, 3, 8, 16, 1, 8, 40)):
        for bgr in (False, True):
            for threshold in (middle,) if small else (middle, middle + 0.7, middle - 0.5):
                batch_of = random_frames(each, batch, 100 * number + bgr)
                rows = each.runner.run(batch_of, bgr=bgr, threshold=threshold)
                wrong += each.wrong(batch_of, rows, bgr=bgr, threshold=threshold, band=BAND)
                frames += batch
    record_property("frames", frames)
    record_property("wrong", wrong)
    assert wrong == 0
    slots = each.runner._slots.values()
    record_property("shapes", len(slots))
    assert all(slot._captured and slot._graph is not None for slot in slots)


def test_a_threshold_reaches_graphs_that_were_captured_before(stand_in_engine: Any) -> None:
    each = stand_in_engine
    frames = random_frames(each, 3, 7)
    scores = each.runner.run(frames, bgr=False, threshold=0.0).score
    for threshold in (*map(float, scores), float("inf"), float("-inf")):
        rows = each.runner.run(frames, bgr=False, threshold=threshold)
        assert rows.score.tolist() == scores.tolist(), "the bits change from run to run"
        assert rows.accepted.tolist() == [bool(score <= threshold) for score in scores.tolist()]


def test_frames_on_the_device_give_the_bits_of_frames_on_the_host(stand_in_engine: Any) -> None:
    each = stand_in_engine
    frames, threshold = random_frames(each, 3, 8), each.scorer.scorer.threshold
    expected = each.runner.run(frames, bgr=True, threshold=threshold)
    there = each.device.torch.from_numpy(frames).to(each.device.name)
    for _ in range(4):  # as it comes, captured at its second time, replayed
        found = as_cuda_frames(each.device.for_kernel(there), None)
        rows = each.runner.run(found, bgr=True, threshold=threshold)
        assert (
            rows.score.tolist() == expected.score.tolist() and rows.label.tolist() == expected.label.tolist()
        )


def test_calls_from_eight_threads_with_thresholds_of_their_own_do_not_mix(
    stand_in_engine: Any, small: bool, record_property: Any
) -> None:
    each = stand_in_engine
    calls = 3 if small else 150
    middle = each.scorer.scorer.threshold
    frames = [random_frames(each, 1, 20 + thread) for thread in range(8)]
    expected = [float(each.runner.run(one, bgr=False, threshold=middle).score[0]) for one in frames]
    wrong: list[Any] = []

    def work(thread: int) -> None:
        try:
            for call in range(calls):
                threshold = middle if call % 2 else expected[thread] + (-1) ** thread * 1e-3
                rows = each.runner.run(frames[thread], bgr=False, threshold=threshold)
                score = float(rows.score[0])
                if score != expected[thread] or bool(rows.accepted[0]) != (score <= threshold):
                    wrong.append((thread, call, score))
        except Exception as error:  # a thread's own is nobody's otherwise
            wrong.append((thread, repr(error)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record_property("calls", 8 * calls)
    assert wrong == []


def test_a_call_s_wall_time_is_recorded(stand_in_engine: Any, small: bool, record_property: Any) -> None:
    each, calls = stand_in_engine, 3 if small else 300
    frames, threshold = random_frames(each, 1, 9), each.scorer.scorer.threshold
    each.runner.run(frames, bgr=False, threshold=threshold)
    samples = []
    for _ in range(calls):
        started = time.perf_counter()
        each.runner.run(frames, bgr=False, threshold=threshold)
        samples.append(1000 * (time.perf_counter() - started))
    record_property("network", each.network.name)
    record_property("median_ms", round(float(np.median(samples)), 4))
    record_property("p99_ms", round(float(np.quantile(samples, 0.99)), 4))


def test_a_device_without_the_memory_says_so_and_works_on(driver: Any, stand_in_engine: Any) -> None:
    each, side = stand_in_engine, stand_in_engine.network.side
    with pytest.raises(DeviceMemoryError, match="memory is full while the engine is prepared"):
        EngineRunner(
            "too large",
            driver=driver,
            scorer=type(each.scorer)(each.scorer.scorer, half=True, driver=driver),
            engine=None,
            activation_bytes=1 << 50,
            contexts=None,  # type: ignore[arg-type]  # it never gets so far
            io=EngineIo({"map": "<f2"}, (1, side, side, 3), (1, side, side, 3)),
            label="too large",
        )
    with pytest.raises(FrameError, match="this engine takes frames of"):
        each.runner.run(np.zeros((1, side, side + 1, 3), np.uint8), bgr=False, threshold=0.0)
    frames, threshold = random_frames(each, 1, 10), each.scorer.scorer.threshold
    rows = each.runner.run(frames, bgr=False, threshold=threshold)
    assert each.wrong(frames, rows, bgr=False, threshold=threshold, band=BAND) == 0


def test_a_lost_device_closes_the_runner_for_good_and_says_what_to_do(driver: Any, small: bool) -> None:
    # In a process of its own: CUDA allows none of this one's work after it. Its Python is this one's.
    launcher = [sys.executable, *(str(Path(__file__).parent / "dry_machine.py") for _ in range(small))]
    script = str(Path(__file__).parent / "lose_the_device.py")
    done = subprocess.run([*launcher, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:2] == ["lost: DeviceLostError", "again: DeviceLostError"]
    assert "this runtime is closed" in done.stdout and "start a new one" in done.stdout
