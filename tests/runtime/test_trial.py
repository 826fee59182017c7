"""A stranger's graph is loaded in a process of its own first: what crashes there is an error message here."""

import subprocess
import sys
from collections.abc import Callable
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
ENDINGS = {
    "crashes": "import os; print('{', flush=True); os.abort()",
    "leaves": "raise SystemExit(0)",
    "hangs": "import time; time.sleep(60)",
    "lies": "print('[1]')",
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
    started, run = [], subprocess.run

    def noted(command: list[str], **more: Any) -> Any:
        started.append(command)
        return run(command, **more)

    monkeypatch.setattr(trial.subprocess, "run", noted)
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


@pytest.mark.parametrize(
    "ending, words", [("crashes", "signal 6"), ("leaves", "exit code 0"), ("lies", "exit code 0")]
)
def test_whatever_does_not_say_that_it_was_tried_is_refused(
    bundle_path: Path, stranger: None, tried_by: Callable[[str], None], trials: list[Any],
    ending: str, words: str,
) -> None:  # fmt: skip
    tried_by(ending)
    for _ in range(2):
        with pytest.raises(BundleError, match=rf"model\.onnx crashed the process.*{words}.*do not open it"):
            Runtime(bundle_path, threads=1)
    # A crash is no trial: it is tried again.
    assert len(trials) == 2


def test_a_trial_that_does_not_end_is_ended(
    bundle_path: Path, stranger: None, tried_by: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_by("hangs")
    monkeypatch.setattr(trial, "LOAD_LIMIT_S", 0.3)
    with pytest.raises(BundleError, match=r"not loaded within 0\.5 s in a process of its own"):
        Runtime(bundle_path, threads=1, warmup_limit_s=0.2)


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
        patch.setattr(trial.subprocess, "run", none)
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
