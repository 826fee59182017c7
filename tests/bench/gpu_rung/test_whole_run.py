"""That what goes wrong with one case or way of the whole run costs that one alone."""

import contextlib
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeosr.bench.gpu_rung import overhead, whole_run
from edgeosr.bench.gpu_rung.child import GRACE_S
from edgeosr.bench.gpu_rung.overhead import measure_overhead
from edgeosr.bench.gpu_rung.step_report import StepReport
from edgeosr.bench.gpu_rung.steps import STEPS
from edgeosr.bench.gpu_rung.torch_device import CaptureFailedError, TorchDevice
from edgeosr.bench.gpu_rung.whole_run import (
    KERNEL,
    PLAIN,
    UNFUSED,
    Order,
    every_case,
    measure_cases,
    order_from_json,
)
from edgeosr.errors import CudaError

DRY_MACHINE = Path(__file__).parents[2] / "gpu" / "dry_machine.py"
WAYS = (PLAIN, KERNEL, UNFUSED)

# A process that measures: what each case's way does stands in ``faults``, by "CASE WAY".
WORKER = """
import json, os, sys, time
report, order = (sys.argv[sys.argv.index(word) + 1] for word in ("--report", "--order"))
order, faults, found = json.loads(order), json.loads({faults!r}), {{"rows": {{}}, "how": "so"}}
def keep(**more):
    found.update(more)
    with open(report, "w") as file:
        json.dump({{"figures": found, "failures": []}}, file)
if "start" in faults:
    sys.exit("no such module")
for case in range(order["begin"], 4):
    times = {{}}
    for way in [*{ways!r}, "timing", "closing"]:
        if way in order["without"].get(str(case), ()):
            continue
        if way == "closing":
            found["rows"][str(case)] = {{"us": times, "labels_that_differ": 0, "not_timed": {{}}}}
        keep(at=[case, way])
        fault = faults.get(f"{{case}} {{way}}")
        if fault == "aborts":
            print("terminate called after throwing an instance of 'c10::Error'", flush=True)
            os.abort()
        if fault == "lost":
            keep(why="RuntimeError: the capture is spoilt")
            sys.exit(0)
        if fault == "hangs":
            time.sleep(60)
        if way in {ways!r}:
            times[way] = 1.0
keep(done=True, clocks={{}})
if "end" in faults:
    os.abort() if faults["end"] == "aborts" else time.sleep(60)
"""


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[StepReport, Any]]:
    def run(**faults: str) -> tuple[StepReport, Any]:
        named = {name.replace("_", " ", 1).strip("c"): what for name, what in faults.items()}
        script = tmp_path / "worker.py"
        script.write_text(WORKER.format(faults=json.dumps(named), ways=WAYS), "utf-8")
        monkeypatch.setattr(overhead, "python_words", lambda: [sys.executable, str(script)])
        report = StepReport(None)
        measure_overhead(report, Namespace(order=None, small=True, compiled=False))
        rows = report.figures.get("rows", [])
        return report, [(set(row.get("us", ())), set(row["not_timed"]), row.get("failed")) for row in rows]

    return run


def faults(**found: str) -> dict[str, str]:
    """``c1_fused="aborts"``: what case 1 does when the fused kernel is captured."""
    names = {"plain": PLAIN, "fused": KERNEL, "unfused": UNFUSED}
    split = (name.partition("_") for name in found)
    return {
        f"{case}_{names.get(way, way)}": what
        for (case, _, way), what in zip(split, found.values(), strict=True)
    }


WHOLE = (set(WAYS), set(), None)


def test_without_a_fault_one_process_measures_every_case(step: Any) -> None:
    report, rows = step()
    assert not report.failures and rows == [WHOLE] * 4
    assert report.figures["rows"][3]["B"] == 2 and report.figures["how"] == "so"


@pytest.mark.parametrize(
    ("fault", "words"), [("aborts", "ended by SIGABRT: terminate called"), ("lost", "the capture is spoilt")]
)
def test_a_way_that_ends_the_process_or_spoils_it_is_left_out_and_all_others_are_timed(
    step: Any, fault: str, words: str
) -> None:
    report, rows = step(**faults(c1_fused=fault, c3_unfused=fault))
    assert rows == [WHOLE, ({PLAIN, UNFUSED}, {KERNEL}, None), WHOLE, ({PLAIN, KERNEL}, {UNFUSED}, None)]
    assert [failure.partition(": ")[0] for failure in report.failures] == [
        f"{every_case(small=True)[1].name}, {KERNEL}", f"{every_case(small=True)[3].name}, {UNFUSED}"
    ]  # fmt: skip
    assert all(words in failure for failure in report.failures)


def test_a_case_whose_timing_ends_the_process_has_its_reason_and_one_that_was_timed_its_times(
    step: Any,
) -> None:
    report, rows = step(**faults(c0_timing="aborts", c2_closing="aborts"))
    assert [row[0] for row in rows] == [set(), set(WAYS), set(WAYS), set(WAYS)]
    assert "SIGABRT" in rows[0][2] and [row[2] for row in rows[1:]] == [None] * 3
    assert len(report.failures) == 2 and "closing" in report.failures[1]


def test_where_every_way_ends_the_process_the_next_case_is_begun_as_long_as_processes_may_be(
    step: Any,
) -> None:
    report, rows = step(**faults(c1_plain="lost", c1_fused="lost", c1_unfused="lost"))
    assert rows[1] == (set(), set(WAYS), None) and rows[2:] == [WHOLE, WHOLE]
    report, rows = step(**{f"c{n}_timing": "lost" for n in range(4)}, **faults(c0_plain="lost"))
    assert len(rows) == 4 and len(report.failures) == 5


def test_a_process_that_hangs_or_never_starts_is_told_with_what_it_was_at(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, _ = step(start="fails")
    assert len(report.failures) == 1 and "no such module" in report.failures[0]
    monkeypatch.setattr(overhead, "ALL_S", 0.3)
    report, rows = step(**faults(c1_fused="hangs"))
    assert rows[0] == WHOLE and KERNEL in rows[1][1] and len(rows) == 2
    assert "B = 2" in report.failures[0] and "not over in" in report.failures[0]


def test_a_process_that_has_measured_all_may_take_long_to_end_but_not_crash(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, rows = step(end="aborts")
    assert rows == [WHOLE] * 4 and "all was measured, then the process was ended by SIG" in report.failures[0]
    monkeypatch.setattr(overhead, "ALL_S", 0.3)
    report, rows = step(end="hangs")
    assert rows == [WHOLE] * 4 and not report.failures


def test_the_step_is_over_before_the_rung_would_end_it() -> None:
    limits = {one.name: one.limit_s for one in STEPS}
    assert limits["overhead"] > overhead.ALL_S + 2 * GRACE_S
    assert limits["compiled"] > overhead.ALL_COMPILED_S + 2 * GRACE_S


def test_an_order_survives_its_json() -> None:
    order = Order(2, {2: (KERNEL, PLAIN)})
    assert order_from_json(order.as_json()) == order


class Device:
    """torch, whose graphs fail as they are told: by way, once."""

    def __init__(self, errors: dict[str, Exception], *, lost: bool = False):
        self.errors, self.lost, self.made = errors, lost, 0
        self.dtype, self.driver = "torch.float16", self
        self.torch = SimpleNamespace(backends=SimpleNamespace(cudnn=SimpleNamespace()))

    def stream(self) -> int:
        return 7

    def synchronize(self, stream: int) -> None:
        if self.lost and self.made > 1:
            raise CudaError("cuStreamSynchronize failed: lost", call="cuStreamSynchronize", code="LOST")

    def graph(self, own: int, name: str) -> Any:
        self.made += 1
        if name in self.errors:
            raise self.errors.pop(name)
        return SimpleNamespace(replay=name)

    @contextlib.contextmanager
    def on(self, stream: int) -> Iterator[None]:
        yield


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run ``measure_cases`` on a Device; its figures."""

    def run(device: Device, **named: Any) -> dict[str, Any]:
        scorer = contextlib.nullcontext(SimpleNamespace(room=lambda batch: SimpleNamespace(close=bool)))
        doubles = {
            "open_driver": lambda: SimpleNamespace(device=lambda ordinal: None),
            "pci_id": lambda driver, found: None,
            "open_torch": lambda driver: device,
            "clocks_meanwhile": lambda card: contextlib.nullcontext({}),
            "built_network": lambda network, device: None,
            "case_scorer": lambda case: None,
            "FusedScorer": lambda scorer_, driver: scorer,
            "Ends": lambda device, batch: None,
            "_contenders": lambda *rest: {name: (lambda name=name: name) for name in WAYS},
            "labels_that_differ": lambda *rest: 0,
            "interleaved_us": lambda driver, own, launches, **turns: {n: np.ones(3) for n in launches},
        }
        for name, double in {**doubles, **named}.items():
            monkeypatch.setattr(whole_run, name, double)
        report = StepReport(None)
        measure_cases(report, Namespace(small=True, compiled=False), Order())
        return report.figures

    return run


def test_a_way_that_cannot_be_run_is_kept_with_its_first_lines_and_the_others_are_timed(
    measured: Any,
) -> None:
    words = "CUDA error: no kernel image\n" + "\n".join(f"frame #{n}: torch" for n in range(100))
    figures = measured(Device({UNFUSED: ValueError(words)}))
    assert figures["done"] and len(figures["rows"]) == 4
    assert figures["rows"]["0"]["not_timed"] == {UNFUSED: "ValueError: CUDA error: no kernel image"}
    assert set(figures["rows"]["0"]["us"]) == {PLAIN, KERNEL} and set(figures["rows"]["1"]["us"]) == set(WAYS)


def test_a_network_that_cannot_be_built_costs_its_own_cases_alone(measured: Any) -> None:
    def built(network: Any, device: Any) -> None:
        if "resnet" in network.name:
            raise RuntimeError("no memory")

    rows = measured(Device({}), built_network=built)["rows"]
    assert rows["0"] == rows["1"] == {"failed": "RuntimeError: no memory"} and "us" in rows["2"]


@pytest.mark.parametrize(
    "device",
    [Device({KERNEL: CaptureFailedError("spoilt")}), Device({KERNEL: RuntimeError("spoilt")}, lost=True)],
    ids=["a capture", "the device"],
)
def test_after_a_failed_capture_and_on_a_lost_device_another_process_has_to_go_on(
    measured: Any, device: Device
) -> None:
    figures = measured(device)
    assert "done" not in figures and "spoilt" in figures["why"] and figures["at"] == [0, KERNEL]
    assert list(figures["rows"]) == ["0"] and set(figures["rows"]["0"]["not_timed"]) == {KERNEL}


def test_a_capture_that_fails_is_told_with_what_spoilt_it() -> None:
    class Graph:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None:
            raise RuntimeError("capture invalidated")

    streams = {name: lambda *stream: contextlib.nullcontext() for name in ("stream", "ExternalStream")}
    cuda = SimpleNamespace(CUDAGraph=object, graph=lambda *_, **named: Graph(), **streams)
    torch = SimpleNamespace(cuda=cuda, inference_mode=contextlib.nullcontext, float16=None)
    device = TorchDevice(SimpleNamespace(synchronize=lambda stream: None), torch)  # type: ignore[arg-type]  # doubles
    calls = []

    def work() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise ValueError("an allocation")

    with pytest.raises(CaptureFailedError, match="ValueError: an allocation; then RuntimeError: capture inv"):
        device.graph(7, work)


@pytest.mark.parametrize(
    ("module", "words"),
    [("rows_and_tangents", []), ("overhead", ["--order", Order(3).as_json()])],
)
def test_a_step_runs_on_a_driver_that_is_as_strict_as_cuda_s(
    module: str, words: list[str], tmp_path: Path
) -> None:
    """Contexts, and page-locked memory that outlives its stream: both were found on a card alone."""
    report = tmp_path / "report.json"
    command = ["-m", f"edgeosr.bench.gpu_rung.{module}", "--small", "--report", str(report), *words]
    done = subprocess.run(
        [sys.executable, str(DRY_MACHINE), *command],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text("utf-8"))["figures"]["rows"]
