"""The rung's own promises: a record after every step, faults and time kept inside a step, nothing lost."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeosr.bench.gpu_rung import __main__ as command
from edgeosr.bench.gpu_rung import rung
from edgeosr.bench.gpu_rung.card import require_fit
from edgeosr.bench.gpu_rung.rung import INTERRUPTED, RungSettings, run_rung, scrubbed, without_folders
from edgeosr.bench.gpu_rung.steps import STEPS, Step
from edgeosr.bench.gpu_rung.torch_device import open_torch
from edgeosr.errors import (
    DeviceMemoryError,
    MissingDependencyError,
    NoDeviceError,
    StorageError,
    UsageError,
)
from edgeosr.kernels.driver.driver import Device

# A Python for the rung: what each "module" does stands here.
DOUBLE = """
import json, os, signal, subprocess, sys, time
module, report = sys.argv[2], sys.argv[sys.argv.index("--report") + 1]
def keep(failures=(), not_run="", **figures):
    with open(report, "w") as file:
        json.dump({"figures": figures, "failures": list(failures), "not_run": not_run}, file)
def card(): keep(card={"name": "a card"})
def no_card(): keep(failures=["there is no card; get one"]); sys.exit(3)
def fine(): keep(words=sys.argv[3:], folder="/some/folder/of/mine/file.txt", more="a\\n/home/me/file.txt")
def wrong(): keep(failures=["the moon is wrong"], half=1); sys.exit(1)
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def throws():
    print("terminate called after throwing an instance of 'c10::AcceleratorError'")
    print("  what():  CUDA error: invalid resource handle\\nCompile with `TORCH_USE_CUDA_DSA`")
    print("".join(f"frame #{n}: <unknown function> + 0x2a1ca (0x7f in /lib/x.so)\\n" for n in range(80)))
    print("\\n".join(f"a line of a tool, {n}" for n in range(40)), flush=True)
    os.abort()
def skipped(): keep(not_run="no tool here")
def slow():
    keep(first=1)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    keep(first=1, child=child.pid)
    time.sleep(60)
def interrupts(number=signal.SIGTERM):
    keep(first=2)
    os.kill(os.getppid(), number)
    time.sleep(60)
def hangs_up(): interrupts(signal.SIGHUP)
def half_wrong(): keep(failures=["a wrong verdict"]); time.sleep(60)
def slow_card(): card(); time.sleep(60)
def card_crashes(): card(); crash()
def looks():
    record = os.path.join(os.path.dirname(__file__), "gpu.json")
    with open(record) as file:
        keep(record=json.load(file), beside=os.path.dirname(report) == record + ".steps")
def ptx_card(): keep(card={"name": "a card", "architecture": "sm_90", "driver_cuda": "12.4"}, build="a.ptx")
globals()[module]()
"""


def step(module: str, *, limit_s: float = 30.0, gates: bool = True, arguments: tuple[str, ...] = ()) -> Step:
    return Step(name=module, what="a test", module=module, limit_s=limit_s, gates=gates, arguments=arguments)


Run = Callable[..., tuple[int, dict[str, Any], list[str]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    script = tmp_path / "double.py"
    script.write_text(DOUBLE, "utf-8")

    def runs(
        *steps: Step, machine: str = "card", machine_limit_s: float = 30.0, **settings: Any
    ) -> tuple[int, dict[str, Any], list[str]]:
        monkeypatch.setattr(rung, "MACHINE", step(machine, limit_s=machine_limit_s))
        said: list[str] = []
        out = tmp_path / "gpu.json"
        python = (sys.executable, str(script))
        chosen = RungSettings(out=out, folder=tmp_path, python=python, **{"say": said.append, **settings})
        code = run_rung(chosen, steps)
        return code, json.loads(out.read_text("utf-8")), said

    return runs


def test_a_step_that_fails_or_crashes_does_not_keep_the_next_ones_from_running(run: Run) -> None:
    code, record, said = run(step("wrong"), step("crash"), step("skipped"), step("fine"))
    assert code == 1
    assert [found["outcome"] for found in record["steps"]] == ["failed", "failed", "not run", "passed"]
    assert record["steps"][0]["figures"] == {"half": 1}
    assert record["steps"][0]["failures"] == ["the moon is wrong"]
    assert record["not_run"] == {"skipped": "no tool here"}
    assert record["machine"] == {"card": {"name": "a card"}}
    assert said[0].startswith("a card, ?, driver of CUDA ?; kernel: ?")
    assert "the moon is wrong" in said[1] and "no tool here" in said[3]
    assert [found["ended_by"] for found in record["steps"]] == ["", "SIGSEGV", "", ""]
    assert said[2].endswith("ended by SIGSEGV")


def test_the_reason_of_an_uncaught_c_exception_is_told_though_a_backtrace_follows(run: Run) -> None:
    code, record, said = run(step("throws"))
    reason = "CUDA error: invalid resource handle"
    assert code == 1 and reason in record["steps"][0]["printed"] and reason in said[1]
    assert "frame #" not in record["steps"][0]["printed"] and "ended by SIGABRT" in said[1]


def test_what_only_is_timed_fails_nothing(run: Run) -> None:
    assert run(step("wrong", gates=False), step("fine"))[0] == 0
    assert run(step("skipped"))[0] == 0


def test_a_step_out_of_time_is_ended_with_its_children_and_its_figures_stay(run: Run) -> None:
    started = time.monotonic()
    code, record, _ = run(step("slow", limit_s=3.0), step("fine"))
    assert code == 1 and time.monotonic() - started < 20
    slow, fine = record["steps"]
    assert slow["outcome"] == "out of time" and slow["figures"]["first"] == 1 and fine["outcome"] == "passed"
    for _ in range(50):
        if gone(slow["figures"]["child"]):
            break
        time.sleep(0.1)
    assert gone(slow["figures"]["child"])


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state == "Z"  # ended, and not yet waited for by init


def test_when_the_time_is_over_the_rest_is_listed_as_not_run(run: Run) -> None:
    code, record, _ = run(step("fine"), step("skipped"), seconds=4.0)
    assert record["steps"] == [] and code == 1, "a rung in which nothing has run has shown nothing"
    assert record["not_run"] == {name: "the 4 seconds are over" for name in ("fine", "skipped")}


def test_a_step_that_the_rung_s_own_time_cuts_short_is_no_failure(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rung, "LEAST_S", 0.5)
    code, record, _ = run(step("slow", limit_s=60.0), seconds=2.5)
    (found,) = record["steps"]
    assert code == 0 and found["outcome"] == "cut short" and found["figures"]["first"] == 1


def test_an_interrupted_rung_keeps_what_was_measured(run: Run) -> None:
    code, record, said = run(step("fine"), step("interrupts"), step("skipped"))
    assert code == INTERRUPTED == 130
    assert [found["outcome"] for found in record["steps"]] == ["passed", "interrupted"]
    assert record["steps"][1]["figures"] == {"first": 2}
    assert record["not_run"] == {"skipped": "not begun"} and "running" not in record
    assert "interrupted in interrupts" in said[-1]


def test_a_terminal_that_is_gone_ends_it_as_ctrl_c_does(run: Run) -> None:
    code, record, _ = run(step("fine"), step("hangs_up"), step("skipped"))
    assert code == INTERRUPTED
    assert [found["outcome"] for found in record["steps"]] == ["passed", "interrupted"]
    assert record["steps"][1]["figures"] == {"first": 2} and record["not_run"] == {"skipped": "not begun"}


def test_while_a_step_runs_the_record_has_the_machine_and_its_figures_lie_beside(
    run: Run, tmp_path: Path
) -> None:
    _, record, _ = run(step("fine"), step("looks"))
    then = record["steps"][1]["figures"]
    assert then["beside"], "a rung that is killed must leave a step's figures where a user finds them"
    assert then["record"]["running"] == "looks" and then["record"]["machine"] == {"card": {"name": "a card"}}
    assert [found["name"] for found in then["record"]["steps"]] == ["fine"]
    assert not (tmp_path / "gpu.json.steps").exists(), "at the end all of it is in the record"


def test_a_record_that_cannot_be_written_is_told_before_a_step_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    settings = RungSettings(out=tmp_path / "file" / "gpu.json", folder=tmp_path, python=("no-such-python",))
    with pytest.raises(StorageError, match="cannot write"):  # and not that this Python cannot be started
        run_rung(settings, [step("fine")])


def test_an_earlier_record_is_kept_beside_the_new_one(run: Run, tmp_path: Path) -> None:
    measured = {
        "kind": "gpu-rung",
        "date": "2026-11-26T23:00:00+00:00",
        "made_up": "",
        "steps": [{"name": "x"}],
    }
    for number in (1, 2):
        (tmp_path / "gpu.json").write_text(json.dumps(measured), "utf-8")
        said = run(step("fine"), machine="no_card")[2]  # of a start that is refused too
        assert said[0].endswith("gpu-20261126T230000.json" if number == 1 else "-2.json")
    assert run(step("fine"))[2][0].startswith("a card"), "a refused start has measured nothing"
    kept = sorted(path.name for path in tmp_path.glob("gpu-*.json"))
    assert kept == ["gpu-20261126T230000-2.json", "gpu-20261126T230000.json"]
    assert json.loads((tmp_path / kept[1]).read_text("utf-8")) == measured


def test_what_is_no_record_of_the_rung_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"my": "notes"}', "utf-8")
    (tmp_path / "text").write_text("mine", "utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    for name in ("notes.json", "text", "folder", "link", "pipe"):
        before = os.lstat(tmp_path / name)[:4]
        with pytest.raises(UsageError, match="must be new, or a record of the hardware rung"):
            run_rung(RungSettings(out=tmp_path / name, folder=tmp_path, python=("no-such-python",)), [])
        assert os.lstat(tmp_path / name)[:4] == before


def test_a_terminal_that_takes_no_line_loses_no_step(run: Run, tmp_path: Path) -> None:
    def say(line: str) -> None:
        raise BrokenPipeError

    assert run(step("fine"), say=say)[1]["steps"][0]["outcome"] == "passed"


def test_what_was_found_wrong_before_the_time_was_over_is_a_failure(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rung, "LEAST_S", 0.5)
    code, record, _ = run(step("half_wrong", limit_s=60.0), seconds=2.5)
    assert code == 1 and record["steps"][0]["outcome"] == "failed"


@pytest.mark.parametrize("machine", ["slow_card", "card_crashes"])
def test_a_card_that_was_found_fit_is_used_whatever_becomes_of_its_description(
    run: Run, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    code, record, _ = run(step("fine"), machine=machine, machine_limit_s=1.5)
    assert code == 0 and [found["outcome"] for found in record["steps"]] == ["passed"]
    assert record["machine"]["card"] == {"name": "a card"}
    assert record["machine"]["trouble"].startswith("out of time" if machine == "slow_card" else "failed")


def test_times_of_ptx_are_said_to_be_of_ptx(run: Run) -> None:
    said = run(step("fine"), machine="ptx_card")[2]
    assert said[0].startswith("a card, sm_90, driver of CUDA 12.4; kernel: a.ptx, compiled by the driver")


def test_a_machine_that_cannot_take_it_ends_it_with_its_own_words_and_code(run: Run) -> None:
    code, record, said = run(step("fine"), machine="no_card")
    assert code == 3 and said == ["error: there is no card; get one"]
    assert record["steps"] == [] and record["not_run"] == {"fine": "there is no card; get one"}


def test_a_record_names_no_folder_of_the_machine_and_fills_in_the_archive_s(run: Run, tmp_path: Path) -> None:
    _, record, _ = run(step("fine", arguments=("--phases", "{phases}", "--tests", "{tests}")))
    (found,) = record["steps"]
    assert str(tmp_path) not in json.dumps(record)
    assert found["figures"]["folder"] == ".../file.txt" and found["figures"]["more"] == "a\n.../file.txt"
    assert found["figures"]["words"][-4:] == ["--phases", ".../phases", "--tests", ".../gpu"]
    assert found["command"].startswith("python -m fine --report .../fine.json")
    assert scrubbed({"/a/b/c": ["boom\n/home/someone/x.py", "a\t/x/y/z", 3]}) == {
        ".../c": ["boom\n.../x.py", "a\t.../z", 3]
    }
    assert without_folders('a/b c:/d 1/2, File "/x/y/z.py", ratio 3/4') == (
        'a/b c:/d 1/2, File ".../z.py", ratio 3/4'
    )


def test_only_the_steps_that_were_asked_for_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--only must be one of kernel, phases.*got 'kernal'; did you mean"):
        run(only=("kernal",))
    with pytest.raises(UsageError, match="--seconds must be above 0; got 0"):
        run(seconds=0)
    named = [Step(name=name, what="", module="fine", limit_s=9) for name in ("kernel", "phases")]
    _, record, _ = run(*named, only=("phases",))
    assert [found["name"] for found in record["steps"]] == ["phases"]
    assert record["not_run"] == {"kernel": "not asked for"}


def test_a_card_that_is_too_old_or_too_full_is_refused_in_words() -> None:
    def card(*architecture: int) -> Device:
        return Device(0, "a card", architecture, False, (13, 0))  # type: ignore[arg-type]  # two of them

    require_fit(card(7, 5), 3.0)
    with pytest.raises(NoDeviceError, match=r"needs a card of sm_75 or later; a card is sm_72"):
        require_fit(card(7, 2), 8.0)
    with pytest.raises(
        DeviceMemoryError, match=r"needs 3 GiB of the card's memory; 1.0 GiB are free on a card"
    ):
        require_fit(card(9, 0), 1.0)


def test_no_torch_and_a_torch_without_a_device_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        __version__ = "2.11"
        cuda = SimpleNamespace(is_available=lambda: False)

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"the hardware rung.* needs the package 'torch'"):
        open_torch(None)  # type: ignore[arg-type]  # it is not asked
    monkeypatch.setitem(sys.modules, "torch", Torch)  # type: ignore[arg-type]  # a double of it
    with pytest.raises(UsageError, match=r"torch 2\.11 sees no CUDA device; install a build"):
        open_torch(None)  # type: ignore[arg-type]  # it is not asked


def test_here_without_a_card_it_says_so_and_lists_every_step_as_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    words = [sys.executable, "-m", "edgeosr.bench.gpu_rung", "--out", str(out)]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # of a machine that has one
    done = subprocess.run(words, capture_output=True, text=True, env=hidden)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    record = json.loads(out.read_text("utf-8"))
    assert set(record["not_run"]) == {found.name for found in STEPS} and record["steps"] == []
    assert command.main(["--only", "nothing"]) == 2
    assert "must be one of kernel" in capsys.readouterr().err


def test_the_steps_limits_and_their_order() -> None:
    assert [found.name for found in STEPS][:5] == ["kernel", "phases", "rivals", "runner", "engine"]
    # What waits for another's compiler gates nothing: a slow one is no fault of ours.
    assert [found.name for found in STEPS if not found.gates] == ["rivals", "compiled", "rows"]
    assert len({found.name for found in STEPS}) == len(STEPS)
    page = (Path(__file__).parents[3] / "docs" / "gpu.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) s \| (.*) \|$", page, re.MULTILINE)
    assert [(name, float(limit)) for name, limit, _ in rows] == [(one.name, one.limit_s) for one in STEPS]
    assert [name for name, _, words in rows if words.startswith("timed, and no failure")] == [
        found.name for found in STEPS if not found.gates
    ]
