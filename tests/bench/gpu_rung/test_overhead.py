"""That the timed steps compare what the graphs wrote, and make what is slow only where they are asked to."""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeosr.bench.gpu_rung import kernel_check
from edgeosr.bench.gpu_rung.whole_run import COMPILED, KERNEL, UNFUSED, Ends, labels_that_differ, ways
from edgeosr.errors import UsageError
from edgeosr.kernels.device_verdicts import NUMBER_FROM, VERDICT, WRITTEN

OWN, BATCH = 7, 4


class Buffer:
    def __init__(self, array: np.ndarray):
        self.array = array

    def fill_(self, value: int) -> None:
        self.array[:] = value

    def numpy(self) -> np.ndarray:
        return self.array


class Device:
    """torch with streams: what is replayed runs when the stream is waited for that was current."""

    torch = SimpleNamespace(int64=np.int64, uint8=np.uint8)

    def __init__(self) -> None:
        self.current, self.waiting = 0, []  # type: ignore[var-annotated]  # work of every stream
        self.driver = SimpleNamespace(synchronize=self.synchronize)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        return Buffer(np.zeros(shape, dtype))

    @contextlib.contextmanager
    def on(self, stream: int) -> Iterator[None]:
        self.current, before = stream, self.current
        yield
        self.current = before

    def synchronize(self, stream: int) -> None:
        here = [work for at, work in self.waiting if at == stream]
        self.waiting = [(at, work) for at, work in self.waiting if at != stream]
        for work in here:
            work()

    def graph(self, work: Callable[[], None]) -> Any:
        return SimpleNamespace(replay=lambda: self.waiting.append((self.current, work)))


def found(kernel: Callable[[Any, np.ndarray], None], torch: Callable[[np.ndarray], None]) -> int | None:
    device = Device()
    ends = Ends(device, BATCH)  # type: ignore[arg-type]  # a double
    verdicts, labels = ends.verdicts.numpy().view(VERDICT), ends.labels.numpy()
    verdicts["label"], verdicts["flags"], labels[:] = np.arange(BATCH), WRITTEN, np.arange(BATCH)
    graphs = {
        KERNEL: device.graph(lambda: kernel(verdicts, labels)),
        UNFUSED: device.graph(lambda: torch(labels)),
    }
    return labels_that_differ(device, graphs, UNFUSED, ends, OWN)  # type: ignore[arg-type]  # a double


def writes(verdicts: Any, labels: np.ndarray) -> None:
    number = (verdicts["flags"] >> NUMBER_FROM) + 1
    verdicts["label"], verdicts["flags"] = np.arange(BATCH), number << NUMBER_FROM | WRITTEN


def labels_of_torch(labels: np.ndarray) -> None:
    labels[:] = np.arange(BATCH)


def test_labels_are_compared_as_the_replayed_graphs_have_written_them() -> None:
    assert found(writes, labels_of_torch) == 0

    def another(verdicts: Any, labels: np.ndarray) -> None:
        writes(verdicts, labels)
        verdicts["label"][1] += 1
        verdicts["flags"][2] &= ~np.uint32(WRITTEN)

    assert found(another, labels_of_torch) == 2


def test_graphs_that_write_nothing_differ_in_every_label_whatever_the_buffers_held() -> None:
    assert found(lambda verdicts, labels: None, labels_of_torch) == BATCH

    def brings_old_verdicts(verdicts: Any, labels: np.ndarray) -> None:
        verdicts["label"], verdicts["flags"] = np.arange(BATCH), 7 << NUMBER_FROM | WRITTEN

    assert found(brings_old_verdicts, labels_of_torch) == BATCH
    assert found(writes, lambda labels: None) == BATCH
    assert found(lambda verdicts, labels: None, lambda labels: None) == BATCH


def test_without_one_of_the_two_there_is_nothing_to_compare() -> None:
    device = Device()
    ends = Ends(device, BATCH)  # type: ignore[arg-type]  # a double
    assert labels_that_differ(device, {}, UNFUSED, ends, OWN) is None  # type: ignore[arg-type]  # a double


def test_only_the_step_that_is_asked_to_compiles() -> None:
    assert ways(compiled=False)[-1] == UNFUSED and COMPILED not in ways(compiled=False)
    assert ways(compiled=True)[-1] == COMPILED and UNFUSED not in ways(compiled=True)


def test_a_rival_that_takes_long_to_make_is_not_made_for_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def made(case: Any, driver: Any, stream: int) -> Any:
        now[0] += 9.0
        return "made"

    monkeypatch.setattr(kernel_check.time, "monotonic", lambda: now[0])
    rival = kernel_check.within_budget({"tensorrt": made}, 15.0)["tensorrt"]
    assert [rival(None, None, 0) for _ in range(2)] == ["made", "made"]  # type: ignore[arg-type]  # doubles
    with pytest.raises(UsageError, match="making it has taken 18 s for earlier cases, of 15 s"):
        rival(None, None, 0)  # type: ignore[arg-type]  # doubles


def test_verdicts_are_checked_without_waiting_for_a_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(settings: Any, *, rivals: Any, fixed: Any, keep: Any) -> Any:
        asked.append((settings.runs, set(rivals), len(fixed[0]), len(fixed[1])))
        return {"cases": [], "passed": True}

    monkeypatch.setattr(kernel_check, "run_selftest", run)
    monkeypatch.setattr(kernel_check, "installed_rivals", lambda: {"tensorrt": None, "torch": None})
    report = SimpleNamespace(put=lambda name, value: None, fail=pytest.fail, failures=[])
    for there in (True, False):
        monkeypatch.setattr(kernel_check.importlib.util, "find_spec", lambda name, there=there: there or None)
        for rivals in (False, True):
            options = SimpleNamespace(small=False, seconds=60, rivals=rivals)
            kernel_check.check_kernel(report, options)  # type: ignore[arg-type]  # doubles
    timed, more = len(kernel_check.TIMED_CASES), len(kernel_check.ROW_CASES)
    checked = (0, set(), 0, timed + more)
    beside_torch = (300, {"torch"}, timed, 0)
    assert asked == [checked, beside_torch, (300, {"tensorrt"}, timed, 0), checked, beside_torch]
