"""What the steps read from others, NVIDIA's tools and our own commands; and figures that must not be lost."""

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.bench.gpu_rung import cluster_mark, counters, engine, sanitizers, tools
from edgeosr.bench.gpu_rung.child import Ended
from edgeosr.bench.gpu_rung.command import document_in
from edgeosr.bench.gpu_rung.counters import METRICS, counted
from edgeosr.bench.gpu_rung.kernel_check import summed, words_of, worst_of_allowed
from edgeosr.bench.gpu_rung.rows_and_tangents import LISTS, with_rows_of
from edgeosr.bench.gpu_rung.sanitizers import judged
from edgeosr.bench.gpu_rung.small_cases import CASES
from edgeosr.bench.gpu_rung.step_report import NotRunHereError, StepReport, step_main
from edgeosr.bench.gpu_rung.training import images_per_second, write_pictures
from edgeosr.data.cifar_binary import read_cifar
from edgeosr.errors import CudaError, DataError, KernelBuildError, UsageError
from edgeosr.kernels.driver.driver import Device
from edgeosr.kernels.packing import pack_scorer
from edgeosr.kernels.selftest.cases import SelftestCase, case_scorer


def ended(tail: str, *, code: int = 0, timed_out: bool = False) -> Ended:
    return Ended(code, 12.0, 1.0, timed_out, tail)


NEVER_IN = "Target application terminated before first instrumented API call"
CRASH = "Traceback (most recent call last):\n  File ...\nNameError: name 'x' is not defined"


def kept(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (ended("========= ERROR SUMMARY: 0 errors"), {"errors": 0}),
        (ended("RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)"), {"errors": 0}),
        (ended("========= Error: Device not supported", code=1), "not_run"),
        (ended(f'"passed": true\n========= {NEVER_IN}', code=1), "not_run"),
        (ended("half way", code=-15, timed_out=True), "not_run"),
    ],
)
def test_a_sanitizer_that_found_nothing_or_cannot_work_here_fails_nothing(found: Ended, word: Any) -> None:
    assert judged(found) == word if isinstance(word, dict) else set(judged(found)) == {word}


@pytest.mark.parametrize(
    "found",
    [
        ended("Invalid __global__ read of size 4\n========= ERROR SUMMARY: 3 errors", code=9),
        ended("RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)", code=9),
        ended("a wrong score\n========= ERROR SUMMARY: 0 errors", code=1),
        ended("Traceback", code=1),
        ended(f"{CRASH}\n========= {NEVER_IN}\n", code=1),
        ended("CUDA_ERROR_NOT_SUPPORTED: operation not supported", code=1),
        ended("cuInit failed: Permission denied", code=1),
        ended(f"========= {NEVER_IN}", code=139),
    ],
)
def test_a_sanitizer_s_finding_and_a_process_that_fails_under_it_are_failures(found: Ended) -> None:
    assert judged(found)["failed"]


def test_what_a_sanitizer_found_first_is_kept_and_which_case_failed(tmp_path: Path) -> None:
    stack = [f"=========     Host Frame: call in calls.py:{line}" for line in range(50)]
    found = ["========= Invalid __shared__ read of size 16 bytes", "=========     at k+0x10 in mail.cuh:9"]
    printed = "\n".join([*found, "========= ", *stack, '  "passed": false,', *stack])
    assert sanitizers.said(printed) == found
    assert len(sanitizers.said("\n".join(found * 50))) == 40
    assert sanitizers.kept_in(tmp_path / "none")["failures"] == []
    report = StepReport(tmp_path / "kept")
    report.fail("map: wrong")
    assert sanitizers.kept_in(tmp_path / "kept")["failures"] == ["map: wrong"]


NOTHING: dict[str, Any] = {"figures": {}, "failures": [], "not_run": ""}


def test_a_slow_tool_costs_the_later_ones_their_time_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, limits = [0.0], []

    def run(program: str, tool: str, words: list[str], limit_s: float) -> Any:
        limits.append(limit_s)
        now[0] += limit_s
        return ended("half way", code=-15, timed_out=True), NOTHING

    monkeypatch.setattr(sanitizers, "find_tool", lambda name: name)
    monkeypatch.setattr(sanitizers, "_run", run)
    monkeypatch.setattr(sanitizers.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sanitizers, "ALL_S", 70.0)
    report = StepReport(None)
    with pytest.raises(NotRunHereError, match="the tools' 70 seconds are over"):
        sanitizers.sanitize(report, argparse.Namespace(small=False))
    assert limits == [30.0, 30.0, 10.0] and report.failures == []
    whole = report.figures["tools"]["initcheck"]
    assert list(whole.values()) == [{"not_run": "the tools' 70 seconds are over"}] * 7


def test_each_small_case_has_a_process_of_its_own_under_each_tool_and_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, marks = [], {"in clusters": {"marked": [0]}}

    def run_child(command: list[str], *, limit_s: float, log: Path) -> Ended:
        lines.append(command)
        at = command.index("--report")
        kept = {**NOTHING, "figures": marks} if command[at - 1].endswith("cluster_mark") else NOTHING
        Path(command[at + 1]).write_text(json.dumps(kept), "utf-8")
        clean = "--case" not in command or command[-1] != "3" or "initcheck" not in command
        said = "" if clean else "========= Uninitialized __global__ memory read of size 4 bytes\n"
        errors = 0 if clean else 7
        log.write_text(f"{said}========= ERROR SUMMARY: {errors} errors", "utf-8")
        return ended(log.read_text("utf-8"), code=0 if clean else 9)

    monkeypatch.setattr(sanitizers, "find_tool", lambda name: name)
    monkeypatch.setattr(sanitizers, "python_words", lambda: ["python"])
    monkeypatch.setattr(sanitizers, "run_child", run_child)
    report = StepReport(None)
    sanitizers.sanitize(report, argparse.Namespace(small=False))
    found = report.figures["tools"]
    assert list(found) == ["no tool", "memcheck", "racecheck", "initcheck", "synccheck"]
    assert len(lines) == 5 * (1 + len(CASES)), "and whether a launch in clusters is marked as one"
    assert all(runs["cluster_mark"]["marks"] == marks for runs in found.values())
    assert not any("--tool" in line for line in lines[:7])
    races = [line for line in lines if "racecheck" in line]
    assert all(line[line.index("--racecheck-report") + 1] == "all" for line in races) and len(races) == 7
    (words,) = report.failures
    assert words.startswith(f"initcheck, {CASES[3].name}: 7 errors") and "Uninitialized" in words
    assert "Uninitialized" in found["initcheck"][CASES[3].name]["failed"]


def test_a_case_that_fails_without_a_tool_fails_too() -> None:
    assert sanitizers.judged_plain(ended("")) == {"errors": 0}
    assert "map: wrong" in sanitizers.judged_plain(ended("map: wrong", code=1))["failed"]
    assert set(sanitizers.judged_plain(ended("", code=-15, timed_out=True))) == {"not_run"}


class MarkingDriver:
    """A device that says of each block what the launch was marked as; ``lost``: it never says clusters."""

    def __init__(self, *, lost: bool = False, architecture: tuple[int, int] = (9, 0)):
        self.lost, self.architecture = lost, architecture
        self.image, self.room = b"", np.zeros(0, np.uint32)

    def device(self, ordinal: None) -> Device:
        return Device(0, "H100", self.architecture, False, (13, 0))

    def load(self, image: bytes) -> str:
        self.image = image
        return "module"

    def function(self, module: str, entry: str, shared_bytes: int) -> str:
        assert f".entry {entry}(".encode() in self.image
        return entry

    def allocate(self, size: int) -> int:
        self.room = np.full(size // 4, 0xFFFFFFFF, np.uint32)
        return 4096

    def free(self, address: int) -> None:
        assert address == 4096

    def launch(self, function: str, blocks: int, *size: Any, cluster: int) -> None:
        params = size[-1]
        assert params.verdicts == 4096 and f"[params+{type(params).verdicts.offset}]" in self.image.decode()
        marked = cluster > 1 and not self.lost
        self.room[:] = np.array([(marked, cluster, at % cluster) for at in range(blocks)]).reshape(-1)

    def read(self, address: int, into: memoryview, stream: int) -> None:
        np.asarray(into).reshape(-1)[:] = self.room.view(np.uint8)


def test_a_launch_in_clusters_that_the_device_does_not_mark_as_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def marks(driver: MarkingDriver) -> StepReport:
        monkeypatch.setattr(cluster_mark, "open_driver", lambda: driver)
        report = StepReport(None)
        cluster_mark.look_at_marks(report, argparse.Namespace(small=False))
        return report

    right = marks(MarkingDriver())
    assert right.failures == []
    assert right.figures["in clusters"] == {"marked": [1], "blocks": [8], "rank": list(range(8))}
    assert right.figures["without clusters"] == {"marked": [0], "blocks": [1], "rank": [0]}
    (words,) = marks(MarkingDriver(lost=True)).failures
    assert words.startswith("in clusters the device says {'marked': [0]")
    with pytest.raises(NotRunHereError, match="sm_87 has no clusters"):
        marks(MarkingDriver(architecture=(8, 7)))


NCU = """==PROF== Connected to process 7
what a process prints
"ID","Process ID","Kernel Name","{metrics}"
"","","","inst","ns"
"0","7","fused_score_map_mma_f16","445,171","26,200.5"
"1","7","vectorized_elementwise_kernel","1","1"
"2","7","fused_score_map_mma_f16","3,692,242","n/a"
"""


def test_the_profiler_s_table_is_read_among_other_lines_with_one_row_a_launch_of_ours() -> None:
    metrics = '","'.join((METRICS["warp_instructions"], METRICS["duration_ns"]))
    first, second = counted(NCU.format(metrics=metrics))
    assert first == {"warp_instructions": 445171.0, "duration_ns": 26200.5}
    assert second == {"warp_instructions": 3692242.0}, "what a card cannot count is left out"
    assert counted("==ERROR== ERR_NVGPUCTRPERM - no permission") == []
    assert "ERR_NVGPUCTRPERM" in tools.forbidden("==ERROR== ERR_NVGPUCTRPERM - no permission")


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        (f"{CRASH}\n==WARNING== No kernels were profiled.\n", DataError),
        (f"{CRASH}\n==ERROR== Profiling failed\n", DataError),
        ("error: Permission denied: /x\n", DataError),
        ("==WARNING== No kernels were profiled.\n", DataError),
        ("==ERROR== ERR_NVGPUCTRPERM - no permission\n", NotRunHereError),
    ],
)
def test_only_the_profiler_s_own_words_say_that_it_may_not_count(
    monkeypatch: pytest.MonkeyPatch, printed: str, error: type[Exception]
) -> None:
    runs = []

    def profiled(program: str, metrics: Any, small: bool) -> tuple[Ended, str]:
        runs.append(metrics)
        return ended(printed, code=1), printed

    monkeypatch.setattr(counters, "find_tool", lambda name: name)
    monkeypatch.setattr(counters, "_profiled", profiled)
    with pytest.raises(error):
        counters.count(StepReport(None), argparse.Namespace(small=True, launches=False))
    assert len(runs) == (1 if CRASH in printed or error is NotRunHereError else 2)


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    monkeypatch.setattr(tools, "_FOLDERS", ())
    with pytest.raises(NotRunHereError, match="ncu is not on the PATH"):
        tools.find_tool("ncu")


def test_a_step_keeps_every_figure_at_once_and_words_its_end(tmp_path: Path) -> None:
    path = tmp_path / "report.json"

    def run(raised: Exception | None) -> int:
        def work(report: StepReport, options: argparse.Namespace) -> None:
            report.put("first", 1)
            assert kept(path)["figures"] == {"first": 1}, "not in the file before the step goes on"
            if raised is not None:
                raise raised

        return step_main("a step", work, ["--report", str(path)])

    assert run(None) == 0 and kept(path)["failures"] == []
    assert run(NotRunHereError("no tool")) == 0 and kept(path)["not_run"] == "no tool"
    assert run(KernelBuildError("no build; make one")) == 1
    assert kept(path)["failures"] == ["no build; make one"]
    assert run(UsageError("a wrong option")) == 2
    assert run(ZeroDivisionError("ours")) == 1 and kept(path)["failures"] == ["ZeroDivisionError: ours"]
    assert kept(path)["figures"] == {"first": 1}


def test_what_goes_wrong_while_a_step_is_broken_off_is_no_failure(tmp_path: Path) -> None:
    def work(report: StepReport, options: argparse.Namespace) -> None:
        report.put("first", 1)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            raise CudaError("memory freed while a kernel may use it")

    assert step_main("a step", work, ["--report", str(tmp_path / "report.json")]) == 130
    assert kept(tmp_path / "report.json") == {"figures": {"first": 1}, "failures": [], "not_run": ""}


def test_a_number_that_json_cannot_say_is_none_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    StepReport(path).put("us", {"a": [float("nan"), 1.5], "b": float("inf")})
    assert "NaN" not in path.read_text("utf-8") and kept(path)["figures"] == {
        "us": {"a": [None, 1.5], "b": None}
    }


def checked(name: str, error: float, *, passed: bool = True, differ: int = 0, of: float = 0.1) -> Any:
    return {
        "case": name,
        "score_error": error,
        "passed": passed,
        "decisions_that_differ": differ,
        "labels_that_differ": differ,
        "labels_too_near": 1,
        "value_errors": {"max_logit": {"error": 1e-7, "of_allowed": of}},
        "values_that_differ": [] if of <= 1 else ["max_logit"],
        "again": {
            "launches": 32,
            "differed": differ,
            "told": [{"launch": 7, "fields": {"score": {}}}] * differ,
        },
    }


def test_the_self_test_s_cases_are_summed_up() -> None:
    bad = checked("b, 16-bit weights", 0.5, passed=False, differ=2, of=float("nan"))
    cases = [
        checked("a, 16-bit weights, 32-bit input", 0.004),
        bad,
        checked("c, 16-bit weights", 0.001, of=0.3),
    ]
    found = summed({"passed": False, "samples": 9, "cases": cases, "timings": [{"case": "a"}]})
    assert found["cases"] == 3 and found["cases_that_failed"] == 1 and found["decisions_that_differ"] == 2
    assert found["worst_score_error, 16-bit weights"] == 0.5
    assert found["worst_score_error, 32-bit weights"] is None
    assert found["samples"] == 9 and found["timings"] == [{"case": "a"}]
    assert (found["labels_that_differ"], found["labels_too_near"]) == (2, 3)
    assert (found["launches_again"], found["launches_that_differ"]) == (96, 2)
    assert found["failed"] == [bad], "with the bytes of both verdicts"
    assert worst_of_allowed(cases[::2]) == {"max_logit": 0.3}
    assert np.isnan(worst_of_allowed(cases[:2])["max_logit"])
    assert np.isnan(worst_of_allowed(cases[1::-1])["max_logit"])


def test_what_is_wrong_with_a_case_of_the_self_test_is_said_in_one_line() -> None:
    words = words_of(checked("map", 0.5, passed=False, differ=2, of=3.0))
    assert words == (
        "map: score off by 0.5; 2 decisions and 2 labels differ; max_logit off by 1e-07, 3 times what is "
        "allowed; 2 of 32 launches more have other bits; launch 7: score"
    )


def test_a_command_s_document_is_found_among_its_progress() -> None:
    assert document_in('epoch 1/2\n{not json\n{\n "a": {"b": 1}\n}\nthen: edgeosr export') == {"a": {"b": 1}}
    with pytest.raises(UsageError, match="must print a JSON document"):
        document_in("nothing")


def test_an_engine_is_tried_only_where_tensorrt_is_installed_and_in_a_copy_of_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, asked = tmp_path / "small.edgeosr", []
    options = argparse.Namespace(bundle=bundle, small=True)
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotRunHereError, match="neither tensorrt nor tensorrt_rtx is installed"):
        engine.prove_engine(StepReport(None), options)
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: name == "tensorrt" or None)
    with pytest.raises(NotRunHereError, match="has no bundle"):
        engine.prove_engine(StepReport(None), options)

    def run_command(report: StepReport, options: Any, folder: Path, *words: str) -> Any:
        assert Path(words[1], "manifest.json").is_file() and Path(words[1]) != bundle
        asked.append((words[0], words[2]))
        return {"passed": True}

    monkeypatch.setattr(engine, "run_command", run_command)
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}", "utf-8")
    report = StepReport(None)
    engine.prove_engine(report, options)
    assert asked == [("selftest", "--device")] and report.figures["selftest"] == {"passed": True}


def test_made_up_pictures_are_cifar_10_in_its_binary_form(tmp_path: Path) -> None:
    train, test = read_cifar(write_pictures(tmp_path / "pictures", 20))
    assert len(train.labels) == 100 and len(test.labels) == 20 and len(train.class_names) == 10
    (tmp_path / "log.jsonl").write_text('{"images_per_second": 5.0}\n{"images_per_second": 7.5}\n', "utf-8")
    assert images_per_second(tmp_path) == [5.0, 7.5]


def test_each_list_of_rows_has_the_rows_of_its_part_alone() -> None:
    case = SelftestCase(dimension=40, batch=2, size=2, classes=3, images=12)
    whole = case_scorer(case)
    rows = {what: pack_scorer(with_rows_of(whole, parts), half=True).rows for what, parts in LISTS.items()}
    least = rows["no more rows"]
    assert rows["C rows more"] == least + 16, "three classes, padded to a tile"
    assert rows["the bank's 256 rows"] == least + 16, "twelve rows, padded to a tile"
    assert rows.keys() == LISTS.keys()
    bank = with_rows_of(whole, ("bank",))
    assert set(bank.constants) == {"bank"} and "class_jacobian" not in bank.fusion.parts
    assert np.isfinite(bank.fusion.weights).all() and len(bank.fusion.weights) == len(bank.fusion.parts)
