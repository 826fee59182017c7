"""``edgeosr verify`` and ``selftest``: each backend that runs here against the golden frames; exit codes."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_double import Result
from engine_double import EngineDouble
from machine import Machine

from edgeosr.bundle.directory import Bundle, read_bundle, write_bundle
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.errors import BundleError, UsageError
from edgeosr.runtime.engines.gpu import GpuProbe
from edgeosr.runtime.golden import Golden, read_golden
from edgeosr.runtime.selftest import selftest
from edgeosr.runtime.verify import verify_bundle
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

TypedBundle = Callable[..., Bundle]


def rewritten(path: Path, **files: bytes) -> None:
    """Write the bundle anew with other files, its engines gone as an export leaves it."""
    bundle = read_bundle(path)
    contents = {**bundle.files, **{f"{name}.npz": data for name, data in files.items()}}
    write_bundle(path, replace(bundle.manifest, engines=()), contents)


def golden_with(path: Path, **changes: Any) -> bytes:
    with np.load(io.BytesIO(read_bundle(path).files["golden.npz"])) as file:
        arrays = {**file, **changes}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def golden_of(path: Path) -> Golden:
    bundle = read_bundle(path)
    return read_golden(bundle.files["golden.npz"], bundle.manifest)


def test_every_backend_that_runs_here_is_compared(machine: Machine, command: Callable[..., Any]) -> None:
    machine.add()
    code, out, _ = command("verify", machine.path)
    assert code == 0
    assert "onnxruntime   ok  128 of 128 verdicts as expected; scores within " in out
    assert ", rounding explains 0.001 (CPUExecutionProvider)" in out
    assert "tensorrt      ok  " in out and "(plan.plan)" in out
    assert "tensorrt_rtx  not available: tensorrt_rtx is not installed" in out
    assert "passed: every backend that runs here decides as expected" in out
    assert out.rstrip().endswith(f"Next: edgeosr predict {machine.path} IMAGE")
    code, out, err = command("verify", machine.path, "--json")
    document = json.loads(out)
    assert (code, err, document["kind"], document["passed"]) == (0, "", "verify", True)
    available = {check["backend"]: check["available"] for check in document["backends"]}
    assert available == {"onnxruntime": True, "openvino": True, "tensorrt": True, "tensorrt_rtx": False}


def test_an_engine_with_a_frame_size_of_its_own_is_compared_with_the_typed_graph_at_that_size(
    machine: Machine, typed_bundle: TypedBundle, command: Callable[..., Any]
) -> None:
    small = EngineDouble(
        machine.cuda, typed_bundle().files[BACKBONE], least=(1, 13, 17, 3), most=(2, 13, 17, 3)
    )
    machine.engine = small
    machine.add(frame=(13, 17))
    code, out, _ = command("verify", machine.path, "--backend", "tensorrt")
    assert code == 0 and "verdicts as expected" in out and "onnxruntime" not in out


def test_wrong_verdicts_are_named_and_end_with_1(machine: Machine, command: Callable[..., Any]) -> None:
    golden = golden_of(machine.path)
    assert golden.typed is not None
    limit = read_bundle(machine.path).manifest.threshold.value
    turned = (2 * limit - golden.portable.score).astype(np.float32)
    turned[0] += 100.0 if turned[0] > limit else -100.0
    rewritten(machine.path, golden=golden_with(machine.path, score=turned, typed_score=turned))
    machine.add()
    code, out, _ = command("verify", machine.path)
    assert code == 1
    assert "onnxruntime   DIFFERS" in out and "tensorrt      DIFFERS" in out
    assert "    golden frame 0 (rgb) alone: expected " in out
    assert "    golden frame 0 (rgb) in a batch of 32, at place 1: expected " in out
    assert "FAILED: do not deploy this bundle here" in out


def test_an_engine_is_compared_with_the_threshold_of_its_own_backbone(machine: Machine) -> None:
    bundle = read_bundle(machine.path)
    backbone, golden = bundle.manifest.backbone, golden_of(machine.path)
    assert backbone is not None and golden.typed is not None
    # Recalibrated: another threshold, with which other frames are accepted.
    limit = float(np.float32(np.quantile(golden.typed.score, 0.2)))
    own = replace(
        backbone, fusion=bundle.manifest.fusion, threshold=replace(bundle.manifest.threshold, value=limit)
    )
    scorer = replace(read_scorer(bundle.files["scorer.npz"]), threshold=limit)
    files = {**bundle.files, "scorer.npz": write_scorer(scorer)}
    write_bundle(machine.path, replace(bundle.manifest, backbone=own), files)
    machine.add()
    onnxruntime, tensorrt = verify_bundle(machine.path, backends=("onnxruntime", "tensorrt")).checks
    assert onnxruntime.passed and tensorrt.passed and tensorrt.agreed > 100


def test_a_verdict_too_near_to_the_threshold_is_a_tie(machine: Machine) -> None:
    golden, bundle = golden_of(machine.path), read_bundle(machine.path)
    # The threshold is moved beside a score, and the expected score to its other side.
    limit = float(np.float32(golden.portable.score[0] + 2e-4))
    moved = golden.portable.score.copy()
    moved[0] += np.float32(5e-4)
    scorer = replace(read_scorer(bundle.files["scorer.npz"]), threshold=limit)
    files = {
        **bundle.files,
        "golden.npz": golden_with(machine.path, score=moved),
        "scorer.npz": write_scorer(scorer),
    }
    threshold = replace(bundle.manifest.threshold, value=limit)
    write_bundle(machine.path, replace(bundle.manifest, threshold=threshold), files)
    (check,) = verify_bundle(machine.path, backends=("onnxruntime",)).checks
    assert check.passed and 2 <= check.ties <= 4 and check.agreed == 128 - check.ties
    assert f"{check.ties} too near to the threshold or to a second class to tell" in check.described()


def test_a_required_backend_that_is_not_there_fails(machine: Machine, command: Callable[..., Any]) -> None:
    code, out, _ = command("verify", machine.path)
    assert code == 0 and "tensorrt      not available: no tensorrt engine" in out
    code, out, _ = command("verify", machine.path, "--backend", "tensorrt,onnxruntime")
    assert code == 1
    assert "FAILED: tensorrt was asked for and is not available" in out
    code, _, err = command("verify", machine.path, "--backend", "tensort")
    assert code == 2 and "the backend must be one of onnxruntime, openvino, tensorrt, tensorrt_rtx" in err
    with pytest.raises(UsageError, match="did you mean 'tensorrt'"):
        verify_bundle(machine.path, backends=("tensort",))


@pytest.mark.parametrize("fault", ["swapped", "unloadable", "lost"])
def test_an_engine_that_breaks_is_a_failure_not_an_absence(
    machine: Machine, command: Callable[..., Any], fault: str
) -> None:
    machine.add()
    if fault == "swapped":
        (machine.path / "engines" / "plan.plan").write_bytes(b"nalp")
    elif fault == "unloadable":
        machine.plans.clear()
    else:
        machine.cuda.lose_at(("cuGraphLaunch", 0), Result.CUDA_ERROR_LAUNCH_FAILED)
    code, out, _ = command("verify", machine.path)
    assert code == 1 and "tensorrt      FAILED" in out and "onnxruntime   ok" in out


def test_golden_frames_without_a_typed_half_are_refused_where_there_is_a_backbone(
    machine: Machine, command: Callable[..., Any]
) -> None:
    rewritten(machine.path, golden=golden_with(machine.path, typed_score=None))
    with pytest.raises(BundleError, match=r"holds no frames with their verdicts: .*typed_score"):
        verify_bundle(machine.path)
    code, out, err = command("verify", machine.path)
    assert (code, out) == (1, "") and "export the bundle again" in err


def test_selftest_on_the_cpu_says_what_it_could_not_prove(
    machine: Machine, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = command("selftest", machine.path)
    assert code == 0
    assert "gpu           none: " in out and "cpu           ok  onnxruntime" in out
    assert (
        "not proved    that the fused kernel and an engine decide the same: edgeosr selftest --device" in out
    )
    code, out, err = command("selftest", machine.path.with_name("no.edgeosr"))
    assert (code, out) == (1, "") and "there is no bundle" in err
    code, out, err = command("selftest", machine.path, "--device")
    assert (code, out) == (1, "")
    assert (
        err.startswith("error: edgeosr selftest --device needs an NVIDIA GPU: ")
        and "run it on the device" in err
    )


@pytest.fixture
def kernel_report(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the kernel's own test says (tests/kernels/selftest runs it); it may be changed."""
    cases = [{"case": "map", "passed": True}, {"case": "z, K5", "passed": True}]
    report: dict[str, Any] = {"passed": True, "cases": cases, "samples": 17, "build": "sm_87.cubin"}
    monkeypatch.setattr("edgeosr.runtime.selftest.run_selftest", lambda settings: report)
    return report


def on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the selftest see the machine's GPU."""
    probe = GpuProbe(gpus=(machine.gpu,), driver=(13, 0), reason="")
    monkeypatch.setattr(selftest, "__kwdefaults__", {**selftest.__kwdefaults__, "probe": lambda: probe})


def test_selftest_on_the_device_tests_the_kernel_builds_and_verifies(
    machine: Machine,
    command: Callable[..., Any],
    kernel_report: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(machine, monkeypatch)
    code, out, err = command("selftest", machine.path, "--device")
    assert (code, err, machine.builds) == (0, "", 1)
    assert "gpu           Orin (sm_87, 8192 MiB)" in out and "driver        CUDA 13.0" in out
    assert "kernel        ok  2 cases, 17 samples against the float64 reference; sm_87.cubin" in out
    assert "engine        ok  tensorrt runs built.plan" in out
    assert "verify        ok  onnxruntime   ok" in out and "tensorrt      ok" in out
    code, out, _ = command("selftest", machine.path, "--device", "--json")
    document = json.loads(out)
    assert (code, document["passed"], machine.builds) == (0, True, 1)
    assert [step["name"] for step in document["steps"]] == ["kernel", "engine", "verify"]


@pytest.mark.parametrize("fault", ["kernel", "engine", "verdicts"])
def test_a_step_that_fails_does_not_hide_the_others(
    machine: Machine,
    command: Callable[..., Any],
    kernel_report: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    on(machine, monkeypatch)
    if fault == "kernel":
        kernel_report["passed"] = kernel_report["cases"][1]["passed"] = False
    elif fault == "engine":
        machine.engine.fails = {"create_execution_context"}
    else:
        machine.engine.fails = {"execute_async_v3"}
    code, out, _ = command("selftest", machine.path, "--device")
    assert code == 1
    lines = [line for line in out.splitlines() if line.startswith(("kernel", "engine", "verify"))]
    failed = [line.split()[0] for line in lines if line.split()[1] == "FAILED"]
    if fault == "kernel":
        assert failed == ["kernel"] and "wrong: z, K5; run: python -m edgeosr.kernels.selftest" in lines[0]
    else:
        assert failed == ["engine", "verify"] and "tensorrt: TensorRT" in lines[1]
