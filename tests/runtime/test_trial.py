"""A stranger's graph is loaded in a process of its own first: what crashes there is an error message here."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeosr.bench.latency import measure_latency
from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.settings import LatencySettings
from edgeosr.child_python import child_command
from edgeosr.errors import BundleError, InferenceError, UsageError
from edgeosr.runtime import trial
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.verify import verify_bundle

# Ways of a process to end, or not to; each stands in for what tries a graph.
READY = "import os, signal, sys\nprint('{\"ready\": true}', flush=True)\n"
ENDINGS = {
    "crashes": READY + "os.abort()",
    "leaves": READY,
    "lies": READY + "print('[1]', '{}')",
    "speaks": READY + "print('Traceback\\n of many\\nits last line', file=sys.stderr)\nsys.exit(3)",
    "asked": READY + "os.kill(os.getpid(), signal.SIGTERM)",
    "killed": READY + "os.kill(os.getpid(), signal.SIGKILL)",
    "slow": READY + "os.kill(os.getpid(), signal.SIGALRM)",
    "broken": "raise SystemExit('no module named numpy')",
    "hangs": "import time; time.sleep(60)",
}


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was made here, and nothing tried."""
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / "cache-of-another"))


@pytest.fixture
def tried_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a process that ends in a certain way try graphs."""

    def let(ending: str) -> None:
        (tmp_path / f"{ending}_child.py").write_text(ENDINGS[ending])
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(trial, "_MODULE", f"{ending}_child")

    return let


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that were started."""
    started, begin = [], subprocess.Popen

    def noted(command: list[str], **more: Any) -> Any:
        started.append(command)
        return begin(command, **more)

    monkeypatch.setattr(trial.subprocess, "Popen", noted)
    return started


def larger_window(graph: bytes) -> bytes:
    """A graph with a convolution larger than its input, and a Slice behind it that nobody reads."""
    import onnx

    model = onnx.load_from_string(graph)
    constants = {
        "w_shape": np.array([-1, 3, 4, 4]), "w_kernel": np.ones((2, 3, 9, 9), np.float32),
        "w_zero": np.array([0]), "w_end": np.array([-1]), "w_axis": np.array([2]),
    }  # fmt: skip
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    nodes = [
        helper.make_node("Cast", ["frames"], ["w_float"], to=1),
        helper.make_node("Transpose", ["w_float"], ["w_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["w_planes", "w_shape"], ["w_small"]),
        helper.make_node("Conv", ["w_small", "w_kernel"], ["w_less"], kernel_shape=[9, 9]),
        helper.make_node("Slice", ["w_less", "w_zero", "w_end", "w_axis"], ["w_none"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    return model.SerializeToString()


def test_a_graph_that_ends_the_process_when_it_is_loaded_is_refused(
    make_bundle: Any, graph_bytes: Callable[..., bytes], stranger: None
) -> None:
    bundle = make_bundle(model=larger_window(graph_bytes()))
    # In a process of its own, for without the trial it is the one that ends.
    code = (
        "import edgeosr, sys\n"
        "try: edgeosr.Runtime(sys.argv[1], threads=1, trial=True)\n"
        "except edgeosr.EdgeosrError as error: print(type(error).__name__, error)\n"
        "else: print('opened')"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True)
    assert ended.returncode == 0, ended
    # onnxruntime 1.32 aborts; others say that they cannot load it.
    assert ended.stdout.startswith(("BundleError", "InferenceError")), ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_strangers_bundle_is_tried_once_and_ones_own_is_not(
    bundle_path: Path, make_bundle: Any, stranger: None, trials: list[Any]
) -> None:
    for _ in range(2):
        Runtime(bundle_path, threads=1).close()
    assert len(trials) == 1
    own = make_bundle(name="own")
    Runtime(own, threads=1).close()
    assert len(trials) == 1
    Runtime(own, threads=1, trial=True).close()
    assert len(trials) == 2


def test_a_bundle_that_is_trusted_is_not_tried(bundle_path: Path, stranger: None, trials: list[Any]) -> None:
    Runtime(bundle_path, threads=1, trial=False).close()
    assert not trials


def test_a_graph_is_tried_on_what_will_run_it(
    bundle_path: Path, stranger: None, trials: list[Any], tried_by: Callable[[str], None]
) -> None:
    for backend in ("openvino", "onnxruntime", "openvino"):
        Runtime(bundle_path, threads=1, backend=backend).close()
    assert len(trials) == 2
    tried_by("crashes")
    with pytest.raises(BundleError, match=r"crashed the process.*while openvino 20.* loaded or ran it"):
        Runtime(bundle_path, threads=1, backend="openvino", trial=True)


@pytest.mark.parametrize(
    "ending, kind, words",
    [
        ("crashes", BundleError, r"crashed the process.*by SIGABRT.*do not open it"),
        ("leaves", BundleError, r"crashed the process.*with exit code 0"),
        ("lies", BundleError, r"crashed the process.*with exit code 0"),
        ("speaks", BundleError, r"with exit code 3.*its last words: its last line;"),
        ("slow", BundleError, r"not loaded and judged in time.*90 s for onnxruntime 1.* to load it"),
        # None of these accuses the bundle.
        ("asked", InferenceError, r"told to end by SIGTERM; of a bundle that you trust.*trial=False"),
        ("killed", InferenceError, r"by SIGKILL, perhaps for lack of memory.*trial=False"),
        ("broken", InferenceError, r"before it came to the graph.*no module named numpy.*edgeosr verify"),
    ],
)
def test_whatever_does_not_say_that_it_was_tried_is_refused(
    bundle_path: Path, stranger: None, tried_by: Callable[[str], None], trials: list[Any],
    ending: str, kind: type[Exception], words: str,
) -> None:  # fmt: skip
    tried_by(ending)
    for _ in range(2):
        with pytest.raises(kind, match=words):
            Runtime(bundle_path, threads=1)
    # A crash is no trial: it is tried again.
    assert len(trials) == 2


def test_a_trial_that_does_not_end_is_ended(
    bundle_path: Path, stranger: None, tried_by: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_by("hangs")
    monkeypatch.setattr(trial, "LOAD_LIMIT_S", 0.2)
    monkeypatch.setattr(trial, "START_LIMIT_S", 0.1)
    with pytest.raises(BundleError, match=r"not loaded and judged in time"):
        Runtime(bundle_path, threads=1, warmup_limit_s=0.2)


def test_a_graph_that_takes_long_to_load_is_ended_whatever_its_first_frame_may_take(
    bundle_path: Path, stranger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LOAD_LIMIT_S", 1e-6)
    for limits in ({"warmup_limit_s": math.inf}, {"warmup": 0}):
        with pytest.raises(BundleError, match=r"not loaded and judged in time"):
            Runtime(bundle_path, threads=1, **limits)


def test_what_was_tried_is_known_by_all_that_changes_what_a_graph_does(
    make_bundle: Any, manifest: Any, stranger: None, trials: list[Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    larger = make_bundle(preprocessing=replace(manifest.preprocessing, height=32, width=32))
    bundle = make_bundle()
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / "cache-of-a-third"))

    def tried(path: Path = bundle, **arguments: Any) -> int:
        before = len(trials)
        Runtime(path, **{"threads": 1, **arguments}).close()
        return len(trials) - before

    # A graph that was only loaded was not tried on a frame; the other way round it was.
    assert [tried(warmup=0), tried(), tried(), tried(warmup=0)] == [1, 1, 0, 0]
    assert [tried(threads=2), tried(threads=2), tried(larger), tried()] == [1, 0, 1, 0]


def test_the_child_runs_a_graph_with_as_many_threads_as_it_will_have(
    bundle_path: Path, stranger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A convolution of constants tells by its last bits how many there are.
    asked, begin = [], subprocess.Popen.communicate

    def noted(self: Any, data: bytes, timeout: float) -> Any:
        asked.append(json.loads(data.splitlines()[0])["threads"])
        return begin(self, data, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", noted)
    for threads in (1, 2, None):
        Runtime(bundle_path, threads=threads, trial=True).close()
    assert asked == [1, 2, None]


def test_a_child_ends_with_who_started_it() -> None:
    code = (
        "import os, subprocess\n"
        "from edgeosr.child_python import child_command\n"
        "child = subprocess.Popen(child_command('edgeosr.runtime.trial_child'), stdout=subprocess.DEVNULL)\n"
        "while open(f'/proc/{child.pid}/oom_score_adj').read() != '1000\\n': pass\n"
        "print(child.pid, flush=True)\n"
        "input()\n"
    )
    pipe = subprocess.PIPE
    # The child waits for a graph on the standard input, which stays open here.
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        until = time.monotonic() + 10
        while time.monotonic() < until and _is_running(child):
            time.sleep(0.02)
        assert not _is_running(child)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_refusal_in_the_trial_is_the_same_refusal_here(make_bundle: Any, stranger: None) -> None:
    bundle = make_bundle()
    reason = "did not judge its first frame within 1e-07 s"
    for way in (True, False):
        with pytest.raises(InferenceError, match=reason):
            Runtime(bundle, threads=1, warmup_limit_s=1e-7, trial=way)


@pytest.mark.parametrize(
    "use",
    [
        lambda bundle, out: Runtime(bundle, threads=1),
        lambda bundle, out: evaluate_bundle(bundle),
        lambda bundle, out: measure_latency(bundle, LatencySettings(threads=1)),
    ],
    ids=["Runtime", "evaluate", "bench"],
)
def test_whatever_loads_a_strangers_graph_tries_it_first(
    digits_bundle: Path, stranger: None, tried_by: Callable[[str], None], tmp_path: Path, use: Any
) -> None:
    tried_by("crashes")
    with pytest.raises(BundleError, match="crashed the process that tried it first"):
        use(digits_bundle, tmp_path)


def test_verify_says_that_the_trial_crashed(
    bundle_path: Path, stranger: None, tried_by: Callable[[str], None]
) -> None:
    tried_by("crashes")
    report = verify_bundle(bundle_path, backends=("onnxruntime",))
    assert not report.passed
    assert "crashed the process" in report.checks[0].detail


def test_where_no_process_can_be_started_the_way_out_is_named(
    bundle_path: Path, stranger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(trial.subprocess, "Popen", none)
        with pytest.raises(InferenceError, match=r"cannot be started: .*unavailable.*trial=False"):
            Runtime(bundle_path, threads=1)
    monkeypatch.setattr(sys, "executable", "camera-app")
    with pytest.raises(InferenceError, match=r"part of another program.*trial=False"):
        Runtime(bundle_path, threads=1)
    Runtime(bundle_path, threads=1, trial=False).close()


def test_a_trial_is_yes_no_or_left_to_us(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match="trial must be True, False or None; got 'no'"):
        Runtime(bundle_path, trial="no")  # type: ignore[arg-type]  # that is what is tested


def test_a_module_in_the_working_directory_is_not_run_by_a_child(
    bundle_path: Path, stranger: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in ("numpy", "json", "runpy", "onnxruntime"):
        (folder / f"{name}.py").write_text("raise SystemExit('code of the working directory was run')")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    Runtime(bundle_path, threads=1).close()


def test_a_child_has_limits_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limited_child.py").write_text(
        "import resource\n"
        "from edgeosr.runtime import trial_child\n"
        "trial_child._limit_this_process()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0], resource.getrlimit(resource.RLIMIT_AS)[0])\n"
        "print(open('/proc/self/oom_score_adj').read())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = child_command("limited_child")
    assert command is not None
    core, memory, score = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert (core, score) == ("0", "1000")
    assert int(memory) >= 4 << 30
